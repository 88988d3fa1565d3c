//! Who is at the other end of a connection, small enough to be kept by the thousand.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::vsock::VsockAddress;

/// The address of a peer as logs, lists and environments show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Address {
    /// A TCP or UDP peer.
    Inet(#[serde(with = "super::socket_address::one")] SocketAddr),
    /// The process at the other end of a unix socket (SO_PEERCRED, when it connected).
    Unix {
        /// Its process id.
        pid: u32,
        /// Its effective user id.
        uid: u32,
    },
    /// A machine at the other end of a virtual socket: this one, its host or a guest.
    Vsock(VsockAddress),
    /// Nobody in particular: a `wait` service, whose program meets its peers itself.
    #[default]
    None,
}

impl Address {
    /// The IP address, if it has one; an IPv4-mapped IPv6 address is the IPv4
    /// address that it stands for (RFC 4291 section 2.5.5.2).
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip().to_canonical()),
            Self::Unix { .. } | Self::Vsock(_) | Self::None => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(canonical(address))
    }
}

/// An IPv4-mapped address, as an IPv6 socket that takes both families gives it, as the
/// IPv4 address that it stands for; others as they are.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

impl fmt::Display for Address {
    /// `127.0.0.1:4711`, `[::1]:4711`, `unix:pid=12,uid=0`, `vsock:2:4711`, `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix { pid, uid } => write!(f, "unix:pid={pid},uid={uid}"),
            Self::Vsock(address) => address.fmt(f),
            Self::None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    #[test]
    fn reads_as_in_the_log() {
        assert_eq!(inet("127.0.0.1:4711").to_string(), "127.0.0.1:4711");
        assert_eq!(inet("[::1]:4711").to_string(), "[::1]:4711");
        assert_eq!(Address::Unix { pid: 12, uid: 0 }.to_string(), "unix:pid=12,uid=0");
        let host = VsockAddress { cid: 2, port: 4711 };
        assert_eq!(Address::Vsock(host).to_string(), "vsock:2:4711");
        assert_eq!(Address::None.to_string(), "-");
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        assert_eq!(inet("[::ffff:10.0.0.1]:1").ip(), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(inet("[2001:db8::1]:1").ip(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(Address::Unix { pid: 1, uid: 2 }.ip(), None);
    }

    #[test]
    fn an_address_takes_32_bytes_at_most() {
        assert!(size_of::<Address>() <= 32);
    }
}
