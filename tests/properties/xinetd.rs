//! A file in the language of xinetd.conf, served and imported.

use std::path::{Path, PathBuf};

use crate::fake::FakeLookup;
use oxinetd::config::model::{Config, Service};
use oxinetd::config::{import, load, summary};

use super::{findings, machine};

/// It is read without harm, and what is imported means the same.
pub(super) fn holds(bytes: &[u8]) {
    let place = Path::new("/etc/xinetd.conf");
    let mut machine = machine::with_file("/etc/xinetd.conf", bytes);
    let here = load(place, &[], &machine);
    findings::are_sound(&here.diagnostics);
    // An import may be for another machine: all that it asks for is there.
    machine.every_program = true;
    (machine.ipv6, machine.landlock, machine.own_uid) = (true, true, 0);
    let there = load(place, &[], &machine);
    let imported = import(place, &machine);
    findings::are_sound(&imported.diagnostics);
    let control = |it: char| it.is_control() && it != '\n' && it != '\t';
    assert!(!imported.text.contains(control), "{:?}", imported.text);
    means_the_same(&there.config, &imported.text, machine);
}

fn means_the_same(before: &Config, text: &str, mut machine: FakeLookup) {
    machine.files.insert(PathBuf::from("/etc/inetd.conf"), text.into());
    let after = load(Path::new("/etc/inetd.conf"), &[], &machine);
    assert_eq!(summary(&after.diagnostics).0, 0, "{text}\n{:#?}", after.diagnostics);
    assert_eq!(services(before), services(&after.config), "{text}");
}

/// A line has another place than a block, and neither an id nor the name beside it.
fn services(config: &Config) -> Vec<Service> {
    let all = config.services.iter().chain(&config.disabled);
    let mut all: Vec<Service> = all
        .map(|service| Service {
            origin: Default::default(),
            id: None,
            name: None,
            ..(**service).clone()
        })
        .collect();
    all.sort_by(|a, b| (&a.label, &a.sockets).cmp(&(&b.label, &b.sockets)));
    all
}
