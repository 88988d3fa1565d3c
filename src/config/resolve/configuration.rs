//! All entries of a configuration, one after the other, and what no single one can know.

use super::duplicates::{self, TakenEndpoints};
use super::outcome::EntryOutcome;
use super::relay_loops;
use super::resolver::Resolver;
use super::unavailable::Costs;
use crate::config::attribute::Draft;
use crate::config::diagnostic::Diagnostic;
use crate::config::diagnostic::cause::Cause;
use crate::config::diagnostic::report::Report;
use crate::config::facts::Lookup;
use crate::config::model::{Action, Config};
use crate::config::syntax::entry::Entry;

/// Entries become the configuration; all findings, sorted. `command_line`: what the draft of the
/// one entry starts from.
pub(in crate::config) fn resolve(
    entries: &[Entry],
    lookup: &dyn Lookup,
    mut report: Report,
    command_line: Option<Draft>,
) -> (Config, Vec<Diagnostic>) {
    let mut config = Config::default();
    let mut taken = TakenEndpoints::default();
    let mut relays = relay_loops::Relays::new();
    let mut resolver = Resolver::new(lookup, &mut report, command_line);
    let all = resolver.report.contains();
    let mut outcomes = Vec::with_capacity(entries.len());
    let mut reasons = Vec::with_capacity(entries.len());
    let mut costs = Costs::default();
    for entry in entries {
        // That is a file of xinetd.
        resolver.report.contain(all || entry.id.is_some());
        let mark = resolver.report.mark();
        resolver.causes.next();
        let outcome = resolver.resolve(entry);
        reasons.push(resolver.reason(entry, &outcome, mark, &mut costs));
        if entry.off {
            resolver.report.hush(mark);
        }
        outcomes.push(outcome);
    }
    resolver.say_causes();
    costs.say(resolver.report);
    duplicates::leave_ipv4(entries, &mut outcomes);
    duplicates::give_way(entries, &mut outcomes);
    if all {
        duplicates::last_counts(entries, &mut outcomes, &mut report);
    }
    for ((entry, outcome), reason) in entries.iter().zip(outcomes).zip(reasons) {
        let mark = report.mark();
        let contained = all || entry.id.is_some();
        report.contain(contained);
        match taken.claim(entry, outcome, &mut report) {
            EntryOutcome::Service(service) => {
                if matches!(service.action, Action::Relay(_)) {
                    relays.push((config.services.len(), entry.endpoint.span.clone(), contained));
                }
                config.services.push(service.into());
            }
            other => {
                let twice = || Cause::since(&report, mark).map(|cause| cause.told());
                config.does_without(entry, other, reason.or_else(twice));
            }
        }
    }
    check_together(&mut config, (&taken, &relays), lookup, &mut report);
    warn_of_exposed(lookup, &mut report);
    (config, report.into_sorted())
}

/// What can be wrong with services that are right, each for itself.
fn check_together(
    config: &mut Config,
    (taken, relays): (&TakenEndpoints, &relay_loops::Relays),
    lookup: &dyn Lookup,
    report: &mut Report,
) {
    relay_loops::check(config, relays, lookup, report);
    let served: Vec<_> = config.services.iter().map(|service| service.action.clone()).collect();
    taken.check_tcpmux(&served, report);
    // It takes some away, which others know by their numbers.
    super::tls::check_users(config, report);
}

/// What others can write decides what is served, and it is for whoever serves to know.
fn warn_of_exposed(lookup: &dyn Lookup, report: &mut Report) {
    for (path, by) in lookup.exposed() {
        let path = path.display();
        report
            .warning_without_place(format!(
                "{by} can write to `{path}`, and decides what the server reads there"
            ))
            .help(format!(
                "change its owner or mode (`chown root {path}`, `chmod go-w {path}`), or read another one"
            ));
    }
}
