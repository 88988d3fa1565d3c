//! Looking at configurations without serving them.

use std::io::{self, Write as _};

use oxinetd::cli::{Check, Import};
use oxinetd::config;
use oxinetd::lookup::System;

use super::{CONFIGURATION, Failure};

/// `oxinetd check`.
pub(super) fn check(check: &Check) -> Result<(), Failure> {
    let loaded = config::load(&check.file, &check.defaults, &System::new());
    let (errors, warnings) = config::summary(&loaded.diagnostics);
    let mut out = io::stdout().lock();
    let said = loaded
        .diagnostics
        .iter()
        .try_for_each(|diagnostic| writeln!(out, "{}", diagnostic.render()))
        .and_then(|()| {
            let file = check.file.display();
            writeln!(out, "{}", summed_up(&file, loaded.config.services.len(), errors, warnings))
        });
    // A reader that has seen enough (head) is no failure of ours.
    if said.is_err() || errors == 0 { Ok(()) } else { Err(Failure::silent(CONFIGURATION)) }
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
    let imported = config::import(&import.file, &System::new());
    // A reader that has seen enough (head) is no failure of ours.
    let _ = io::stdout().lock().write_all(imported.text.as_bytes());
    let (errors, warnings) = config::summary(&imported.diagnostics);
    let file = import.file.display();
    let services = imported.services;
    let summary = summed_up(&file, services, errors, warnings);
    let _ = writeln!(io::stderr(), "{summary}");
    if imported.has_errors() { Err(Failure::silent(CONFIGURATION)) } else { Ok(()) }
}
