//! Looking at configurations without serving them.

use std::io::{self, Write as _};

use oxinetd::cli::{Check, Import};
use oxinetd::config;
use oxinetd::lookup::{AT_LEISURE, Manner, System};

use super::output::{show, write};
use super::{CONFIGURATION, Failure};

/// `oxinetd check`.
pub(super) fn check(check: &Check) -> Result<(), Failure> {
    let manner = Manner::within(AT_LEISURE);
    let read = |system: &System| config::load(&check.file, &check.defaults, system);
    let (loaded, _) = System::read(manner, read);
    let (errors, warnings) = config::summary(&loaded.diagnostics);
    for diagnostic in &loaded.diagnostics {
        // Whether anybody has read it or not, a mistake is one.
        if !write(&format!("{}\n", diagnostic.render()))? {
            return verdict(errors > 0);
        }
    }
    let summary = summed_up(&check.file.display(), loaded.config.services.len(), errors, warnings);
    show(&format!("{summary}\n"))?;
    verdict(errors > 0)
}

fn verdict(is_wrong: bool) -> Result<(), Failure> {
    if is_wrong { Err(Failure::silent(CONFIGURATION)) } else { Ok(()) }
}

/// `FILE: 2 services, 1 error, 0 warnings`.
fn summed_up(
    file: &dyn std::fmt::Display,
    services: usize,
    errors: usize,
    warnings: usize,
) -> String {
    let counted = |number: usize, what: &str| {
        format!("{number} {what}{}", if number == 1 { "" } else { "s" })
    };
    let (services, errors) = (counted(services, "service"), counted(errors, "error"));
    format!("{file}: {services}, {errors}, {}", counted(warnings, "warning"))
}

/// `oxinetd import`.
pub(super) fn import(import: &Import) -> Result<(), Failure> {
    let manner = Manner::within(AT_LEISURE);
    let (imported, _) = System::read(manner, |system| config::import(&import.file, system));
    show(&imported.text)?;
    let (errors, warnings) = config::summary(&imported.diagnostics);
    let file = import.file.display();
    let services = imported.services;
    let summary = summed_up(&file, services, errors, warnings);
    let _ = writeln!(io::stderr(), "{summary}");
    verdict(imported.has_errors())
}
