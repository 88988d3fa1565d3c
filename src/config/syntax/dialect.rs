//! What the protocols of an inetd.conf mean to the server in whose place this one reads it.

use super::entry::Entry;
use crate::config::model::protocol::Families;
use crate::config::model::{Endpoint, SocketSpec};
use crate::config::resolve::EntryOutcome;
use crate::config::resolve::fields::has_one_family;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// This server's: `tcp` and `udp` are both families, what ends in a number is one.
    #[default]
    Own,
    /// OpenBSD's inetd as Debian has it: `udp6` takes IPv4 too.
    OpenBsd,
    /// GNU's: `tcp` and `udp` are IPv4, `tcp6` and `udp6` take IPv4 too.
    Gnu,
}

impl Dialect {
    /// The families of a protocol, where it is not what this server means by it.
    pub(in crate::config) fn families(self, protocol: &str) -> Option<Families> {
        let name = protocol.split(',').next().unwrap_or_default();
        match (self, name) {
            (Self::Gnu, "tcp" | "udp") => Some(Families::V4),
            (Self::Gnu, "tcp6") | (Self::Gnu | Self::OpenBsd, "udp6") => Some(Families::Both),
            _ => None,
        }
    }
}

/// What says `udp6` and takes IPv4 too leaves it to a line that is for it.
pub(in crate::config) fn leave_ipv4(entries: &[Entry], outcomes: &mut [EntryOutcome]) {
    let is_wide = |entry: &Entry| entry.families == Some(Families::Both);
    if !entries.iter().any(is_wide) {
        return;
    }
    let all = entries.iter().zip(&*outcomes).filter(|(entry, _)| !is_wide(entry));
    let taken: Vec<SocketSpec> = all
        .flat_map(|(_, outcome)| outcome.sockets().iter().filter(|it| is_ipv4(it)).cloned())
        .collect();
    for (entry, outcome) in entries.iter().zip(outcomes) {
        if is_wide(entry)
            && has_one_family(&entry.protocol)
            && let Some(sockets) = outcome.sockets_mut()
        {
            sockets.retain(|socket| !(is_ipv4(socket) && taken.contains(socket)));
        }
    }
}

fn is_ipv4(socket: &SocketSpec) -> bool {
    matches!(socket.endpoint, Endpoint::Inet(address) if address.is_ipv4())
}
