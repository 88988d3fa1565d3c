//! Looking up again what a server waits for.

use std::time::Instant;

use super::machine::device_index;
use super::question::{NameAnswer, NameQuestion};
use super::worker::ask_together;
use crate::config::model::Known;

/// A name that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedName {
    /// The name.
    pub name: String,
    /// Whether it may be a network device.
    pub device: bool,
    /// Whether it may be a host.
    pub host: bool,
}

/// Looks up names, all at the same time and until `by`; hands over each that is something, as
/// soon as that is known.
pub fn seek(names: Vec<AwaitedName>, by: Instant, mut found: impl FnMut(String, Known)) {
    let mut hosts = Vec::new();
    for AwaitedName { name, device, host } in names {
        match device_index(&name).filter(|_| device) {
            Some(index) => found(name, Known::Device(index)),
            None if host => hosts.push(NameQuestion::Host(name)),
            None => {}
        }
    }
    ask_together(hosts, by, |question, answer| {
        if let (NameQuestion::Host(name), NameAnswer::Host(Ok(known))) = (question, answer) {
            found(name, Known::Host(known));
        }
    });
}
