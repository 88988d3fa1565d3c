//! Looking at configurations without serving them.

use std::io::{self, Write as _};

use crate::cli::{Check, Import};
use crate::config::lookup::{AT_LEISURE, Manner, System};
use crate::config::{self, model::Config};

use super::collisions;
use super::failure::{CONFIGURATION, CommandFailure, USAGE};
use super::output::{show, write};

/// `oxinetd check`.
pub(super) fn check(check: &Check) -> Result<(), CommandFailure> {
    check_defaults(&check.defaults)?;
    let manner = Manner::within(AT_LEISURE);
    let read = |system: &System| config::load(&check.file, &check.defaults, system);
    let (mut loaded, _) = System::read(manner, read);
    let Check { metrics, page, control, .. } = check;
    let ours = collisions::said(metrics.as_deref(), page.as_deref(), control.as_deref());
    collisions::warn(&mut loaded, &ours);
    let (errors, warnings) = config::summary(&loaded.diagnostics);
    // What is not served now may be as soon as the machine has what it lacks: the server would
    // take the file.
    let is_wrong = errors > 0 || check.strict && warnings > 0;
    for diagnostic in &loaded.diagnostics {
        // Whether anybody has read it or not, a mistake is one.
        if !write(&format!("{}\n", diagnostic.render()))? {
            return verdict(is_wrong);
        }
    }
    let summary = summed_up(&check.file.display(), &loaded.config, (errors, warnings));
    show(&format!("{summary}\n"))?;
    verdict(is_wrong)
}

fn verdict(is_wrong: bool) -> Result<(), CommandFailure> {
    if is_wrong { Err(CommandFailure::silent(CONFIGURATION)) } else { Ok(()) }
}

/// What `--default` says is wrong: that is no matter of the file.
pub(super) fn check_defaults(defaults: &[String]) -> Result<(), CommandFailure> {
    let wrong = config::wrong_defaults(defaults);
    let Some(first) = wrong.first() else { return Ok(()) };
    let texts: String = wrong.iter().map(|one| format!("{}\n", one.render())).collect();
    let _ = io::stderr().write_all(texts.as_bytes());
    Err(CommandFailure::new(USAGE, format!("the command line is wrong: {}", first.message)))
}

/// `FILE: 2 services, 1 off, 1 not served, 1 error, 0 warnings`.
fn summed_up(
    file: &dyn std::fmt::Display,
    config: &Config,
    (errors, warnings): (usize, usize),
) -> String {
    let counted = |number: usize, what: &str| {
        format!("{number} {what}{}", if number == 1 { "" } else { "s" })
    };
    let some = |number: usize, what: &str| match number {
        0 => String::new(),
        _ => format!(", {number} {what}"),
    };
    let services = counted(config.services.len(), "service");
    let rest = some(config.off, "off") + &some(config.not_served().count(), "not served");
    let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
    format!("{file}: {services}{rest}, {errors}, {warnings}")
}

/// `oxinetd import`.
pub(super) fn import(import: &Import) -> Result<(), CommandFailure> {
    let manner = Manner::within(AT_LEISURE);
    let (imported, _) = System::read(manner, |system| config::import(&import.file, system));
    show(&imported.text)?;
    let mut err = io::stderr().lock();
    // They stand in the text, too, where nobody may look who has sent it to a file.
    for one in imported.diagnostics.iter().filter(|one| one.costs_a_service()) {
        let _ = writeln!(err, "{}", one.one_line());
    }
    let file = import.file.display();
    let counts = config::summary(&imported.diagnostics);
    let _ = writeln!(err, "{}", summed_up(&file, &imported.config, counts));
    verdict(imported.has_errors())
}
