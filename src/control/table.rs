//! Answers for people.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::net::fronted::Encryption;

use super::answer::{PeerStatus, PeersAnswer, Reloaded, ServiceStatus, Status};
use super::history::WatchedRates;
use super::rows::Rows;
use super::statistics::LastError;
pub use super::text::{counted, printable, printable_json, printable_lines, span};

/// How long ago a moment was that is told in seconds since 1970.
fn ago(time: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} ago", span(now.saturating_sub(Duration::from_secs(time))))
}

/// A certificate that ends so soon, in seconds, is worth a word, as `check` has it.
const SOON: i64 = 14 * 86_400;

/// How many seconds a certificate has left, whose end is told in seconds since 1970.
fn left_until(ends: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    ends.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
}

/// What is wrong with a service, or will be soon.
fn trouble(service: &ServiceStatus) -> String {
    let ends = service.tls_certificate_expiry.filter(|ends| left_until(*ends) < SOON);
    let certificate = ends.map(|ends| format!("its certificate {}", until(ends)));
    let error = service.last_error.as_ref();
    let error = error.map(|error| format!("{} ({})", error.message, ago(error.time)));
    let all: Vec<String> = certificate.into_iter().chain(error).collect();
    all.join("; ")
}

/// When a certificate ends, which is told in seconds since 1970.
fn until(ends: i64) -> String {
    let left = left_until(ends);
    let time = span(Duration::from_secs(left.unsigned_abs()));
    if left > 0 { format!("ends in {time}") } else { format!("ended {time} ago") }
}

/// Nobody would look for it in a log that lacks lines.
fn lost_lines(status: &Status) -> String {
    let error = status.log_error.as_ref();
    let error = error.map(|error| {
        format!("the log is not written: {} ({})\n", printable(&error.message), ago(error.time))
    });
    let lost = match status.log_dropped {
        0 => String::new(),
        count => format!("{} of the log lost, which nobody took\n", counted(count, "line")),
    };
    error.unwrap_or_default() + &lost
}

/// A configuration that does not hold is easily taken for one that does.
fn refused_reload(refusal: Option<&LastError>) -> String {
    let refusal = refusal.map(|refusal| {
        let (when, why) = (ago(refusal.time), printable(&refusal.message));
        format!("the last reload was refused {when}: {why}\n")
    });
    refusal.unwrap_or_default()
}

/// Nobody would look for them among the services that there are.
fn clients_of_the_gone(status: &Status) -> String {
    let gone = status.gone.iter().map(|(label, count)| format!("{} {count}", printable(label)));
    let gone: Vec<String> = gone.collect();
    match gone.is_empty() {
        true => String::new(),
        false => format!("still served of services that were taken out: {}\n", gone.join(", ")),
    }
}

/// What is left of those who were served, if anything is.
fn left_over(status: &Status) -> String {
    let left = status.left_behind.unwrap_or_default();
    let parts = [(status.lingering, "lingering"), (left, "left behind")];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, what)| format!(", {count} {what}")).collect()
}

/// The whole server; and how often clients were let in, for whoever has watched that.
#[must_use]
pub fn status(status: &Status, seen: Option<WatchedRates<'_>>) -> String {
    let mut out = format!(
        "oxinetd {}, pid {}, {}\n{} of {} programs{}, {}{}; {} accepted, {} refused, {} failed\n{}{}{}{}\n",
        printable(&status.version),
        status.pid,
        since_when(status),
        status.running,
        status.max_children,
        reached(&status.limits),
        counted(status.conversations, "conversation"),
        left_over(status),
        status.accepted,
        status.refused,
        status.failed,
        lost_lines(status),
        refused_reload(status.reload_refused.as_ref()),
        clients_of_the_gone(status),
        seen.map(in_all).unwrap_or_default(),
    );
    let head = ["SERVICE", "ADDRESS", "STATE", "RUNNING", "ACCEPTED", "REFUSED", "FAILED", "ERROR"];
    let mut head = head.to_vec();
    if seen.is_some() {
        head.insert(RATE, "A SECOND");
    }
    let mut table = Rows::new(&head);
    for service in &status.services {
        let mut row = service_row(service);
        if let Some(seen) = seen {
            row.insert(RATE, seen.shown(&seen.history.of_service(service)));
            if seen.width > 0 {
                row.iter_mut().take(NAMES).for_each(shorten);
            }
        }
        table.add(&row);
    }
    out.push_str(&table.render());
    if !status.not_served.is_empty() {
        let mut table = Rows::new(&["NOT SERVED", "WHY"]);
        for label in &status.not_served {
            let why = status.reasons.get(label).cloned().unwrap_or_default();
            table.add(&[called(label, status.ids.get(label)), why]);
        }
        let _ = write!(out, "\n{}", table.render());
    }
    out
}

/// The place of a service's rate in its row.
const RATE: usize = 5;

/// Columns that may be too long to leave room for plots, and how long they are then.
const NAMES: usize = 2;
const SHORT: usize = 24;

fn shorten(cell: &mut String) {
    if cell.chars().count() > SHORT {
        *cell = cell.chars().take(SHORT - 3).chain("...".chars()).collect();
    }
}

fn in_all(seen: WatchedRates<'_>) -> String {
    format!("accepted a second: {}\n", seen.shown(&seen.history.of_all()).trim())
}

/// What a service is called, and what else, as `45101/tcp (hello)`.
fn named(service: &ServiceStatus) -> String {
    called(&service.service, service.id.as_ref())
}

fn called(label: &str, id: Option<&String>) -> String {
    let is_said = |id: &&String| label.split_once('/').is_none_or(|(name, _)| name != id.as_str());
    match id.filter(is_said) {
        Some(id) => format!("{label} ({id})"),
        None => label.to_owned(),
    }
}

fn service_row(service: &ServiceStatus) -> Vec<String> {
    let more = match service.addresses.len().saturating_sub(1) {
        0 => String::new(),
        others => format!(" +{others}"),
    };
    let address = service.addresses.first().map_or("-", String::as_str);
    vec![
        named(service),
        format!("{address}{more}"),
        state(service),
        service.running.to_string(),
        service.accepted.to_string(),
        reasons(service),
        service.failed.to_string(),
        trouble(service),
    ]
}

/// `serving for 2h 5m`, or `draining, 25s left, started 2h 5m ago`.
fn since_when(status: &Status) -> String {
    let (state, up) = (printable(&status.state), span(Duration::from_secs(status.uptime)));
    match status.drain_left {
        None => format!("{state} for {up}"),
        Some(left) => {
            format!("{state}, {} left, started {up} ago", span(Duration::from_secs(left)))
        }
    }
}

/// Limits of all services together.
fn reached(limits: &[String]) -> String {
    match limits {
        [] => String::new(),
        limits => format!(" ({} is reached)", printable(&limits.join(", "))),
    }
}

/// `listening`, `resting (instances; 3 waiting)` or `stopped (max_clients)`.
fn state(service: &ServiceStatus) -> String {
    let stopped = service.stopped.as_ref().filter(|reason| *reason != "command").cloned();
    let limits = Some(service.limits.join(", "));
    let limits = limits.filter(|it| service.state == "resting" && !it.is_empty());
    let waiting = service.waiting.filter(|waiting| *waiting > 0);
    let waiting = waiting.map(|waiting| format!("{waiting} waiting"));
    let all: Vec<String> = stopped.into_iter().chain(limits).chain(waiting).collect();
    match all.is_empty() {
        true => service.state.clone(),
        false => format!("{} ({})", service.state, all.join("; ")),
    }
}

/// `0`, or `12 (rate 10, access 2)`.
fn reasons(service: &ServiceStatus) -> String {
    let total = service.refused.values().fold(0u64, |sum, count| sum.saturating_add(*count));
    if total == 0 {
        return "0".to_owned();
    }
    format!("{total} ({})", listed(service.refused.iter()))
}

fn listed<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    let words: Vec<String> = counts.map(|(word, count)| format!("{word} {count}")).collect();
    words.join(", ")
}

/// How programs have ended, and how often: `status 0: 12, SIGTERM: 1`.
fn exits(service: &ServiceStatus) -> String {
    let number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let words: Vec<String> = service
        .exits
        .iter()
        .map(|(how, count)| match number(how) {
            true => format!("status {how}: {count}"),
            false => format!("{how}: {count}"),
        })
        .collect();
    words.join(", ")
}

/// One service and its peers, likewise.
#[must_use]
pub fn service(service: &ServiceStatus, seen: Option<WatchedRates<'_>>) -> String {
    let mut out = String::new();
    let mut say = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:>12}: {}", printable(value));
    };
    say("service", &named(service));
    say("from", &service.origin);
    say("addresses", &service.addresses.join(", "));
    say("server", &service.server);
    say("state", &state(service));
    say("running", &service.running.to_string());
    say("accepted", &service.accepted.to_string());
    if let Some(seen) = seen {
        say("a second", &seen.shown(&seen.history.of_service(service)));
    }
    say("refused", &reasons(service));
    say("failed", &service.failed.to_string());
    if !service.exits.is_empty() {
        say("exits", &exits(service));
    }
    say("run time", &format!("{:.3}s in all", service.run_seconds));
    if service.stderr_dropped > 0 {
        say("stderr", &format!("{} bytes are not in the log", service.stderr_dropped));
    }
    if let Some(ends) = service.tls_certificate_expiry {
        say("certificate", &until(ends));
    }
    if let Some(error) = &service.last_error {
        say("error", &format!("{} ({})", error.message, ago(error.time)));
    }
    if let Some(peers) = service.peers.as_deref().filter(|peers| !peers.is_empty()) {
        out.push('\n');
        out.push_str(&peer_table(peers));
    }
    for other in &service.others {
        out.push('\n');
        out.push_str(&self::service(other, seen));
    }
    out
}

/// Everybody.
#[must_use]
pub fn peers(answer: &PeersAnswer) -> String {
    let counts = format!("{} since the start, {} now\n", answer.total, answer.running);
    if answer.peers.is_empty() { counts } else { counts + "\n" + &peer_table(&answer.peers) }
}

fn peer_table(peers: &[PeerStatus]) -> String {
    let has_tls = peers.iter().any(|peer| peer.tls.is_some());
    let mut head = vec!["N", "PEER", "SERVICE", "PID", "STATE", "AGE"];
    head.extend(has_tls.then_some("TLS"));
    let mut table = Rows::new(&head);
    for peer in peers {
        let mut row = vec![
            peer.n.to_string(),
            peer.address.clone(),
            peer.service.clone(),
            peer.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            peer.state.clone(),
            peer.age.map(age).unwrap_or_default(),
        ];
        row.extend(has_tls.then(|| peer.tls.as_deref().map(encryption).unwrap_or_default()));
        table.add(&row);
    }
    table.render()
}

/// `TLSv1.3 server_name=www.example.org subject=CN=alice`.
fn encryption(tls: &Encryption) -> String {
    let named = [
        ("server_name", &tls.server_name),
        ("subject", &tls.subject),
        ("common_name", &tls.common_name),
        ("fingerprint", &tls.fingerprint),
    ];
    let named = named.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let named: String = named.map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{}{named}", tls.version.as_deref().unwrap_or("-"))
}

/// How old somebody is, whatever number the answer has for it.
fn age(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// The end of a reload: findings first, then what changed.
#[must_use]
pub fn reloaded(answer: &Reloaded) -> String {
    let mut out = String::new();
    for finding in &answer.diagnostics {
        // They are made to be printed, on several lines; whoever answers may not know that.
        finding
            .text
            .trim_end()
            .split('\n')
            .for_each(|line| _ = writeln!(out, "{}", printable(line)));
        out.push('\n');
    }
    if !answer.reloaded {
        let errors = answer.diagnostics.iter().filter(|finding| finding.severity == "error");
        let why = match &answer.reason {
            Some(reason) => printable(reason),
            None => counted(errors.count(), "error"),
        };
        let _ = writeln!(out, "not reloaded: {why}; everything is as it was");
        return out;
    }
    let Reloaded { kept, opened, closed, updated, .. } = *answer;
    let _ = writeln!(
        out,
        "reloaded: {} kept, {opened} opened, {closed} closed; {} changed",
        counted(kept, "socket"),
        counted(updated, "service"),
    );
    out
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
