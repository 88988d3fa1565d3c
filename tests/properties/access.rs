//! A file of addresses that `only_from = @FILE` names, and each of its lines by itself.

use std::path::{Path, PathBuf};

use oxinetd::config::load;
use oxinetd::config::model::{Prefix, parse_item};

use super::{findings, machine};

const CONFIGURATION: &[u8] = b"80 stream tcp nowait - cat\n    only_from = @list\n";

/// It is read without harm, and the addresses are what prints as the same addresses.
pub(super) fn holds(bytes: &[u8]) {
    let mut machine = machine::with_file("inetd.conf", CONFIGURATION);
    machine.files.insert(PathBuf::from("list"), bytes.to_vec());
    let loaded = load(Path::new("inetd.conf"), &[], &machine);
    findings::are_sound(&loaded.diagnostics);
    findings::prints_and_reads_back(&loaded.config, &machine);
    for service in &loaded.config.services {
        service.attributes.access.only_from.iter().flat_map(|list| list.iter()).for_each(is_sound);
    }
    for line in String::from_utf8_lossy(bytes).lines() {
        match parse_item(line) {
            Ok(prefixes) => prefixes.iter().for_each(is_sound),
            Err(why) => assert!(!why.is_empty()),
        }
    }
}

/// Its ends are in it, and it is written as it is read. The last may be an IPv4-mapped one,
/// which is no address of IPv6.
fn is_sound(prefix: &Prefix) {
    let of_ipv4 = prefix.last().to_canonical().is_ipv4() && prefix.first().is_ipv6();
    assert!(prefix.contains(prefix.first()), "{prefix:?}");
    assert!(of_ipv4 || prefix.contains(prefix.last()), "{prefix:?}");
    assert_eq!(parse_item(&prefix.to_string()), Ok(vec![*prefix]));
}
