//! A file in the language of inetd.conf, in any of its spellings.

use std::path::Path;

use oxinetd::config::load;

use super::{findings, machine};

/// It is read without harm, and what it means is printed so that it means the same.
pub(super) fn holds(bytes: &[u8]) {
    let machine = machine::with_file("inetd.conf", bytes);
    let loaded = load(Path::new("inetd.conf"), &[], &machine);
    findings::are_sound(&loaded.diagnostics);
    findings::prints_and_reads_back(&loaded.config, &machine);
}
