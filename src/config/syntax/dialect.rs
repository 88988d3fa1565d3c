//! What the protocols of an inetd.conf mean to the server in whose place this one reads it.

use crate::config::model::protocol::Families;

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
