//! Addresses of virtual sockets (vsock(7)), which join a virtual machine and its host: a
//! number for the machine (CID), and a port of 32 bits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How they are written: `vsock:CID:PORT`.
pub(crate) const PREFIX: &str = "vsock:";

/// All CIDs of this machine (VMADDR_CID_ANY), and any free port (VMADDR_PORT_ANY).
pub(crate) const ANY: u32 = u32::MAX;

/// A machine and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VsockAddress {
    /// The machine; [`ANY`] for a socket that is bound to all that this one has.
    pub cid: u32,
    /// The port; 0 for any free one, until it is bound.
    pub port: u32,
}

impl fmt::Display for VsockAddress {
    /// `vsock:3:5000`, `vsock:5000` for all CIDs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cid {
            ANY => write!(f, "{PREFIX}{}", self.port),
            cid => write!(f, "{PREFIX}{cid}:{}", self.port),
        }
    }
}

/// The CID by which a machine reaches itself (VMADDR_CID_LOCAL).
const LOCAL: u32 = 1;

impl VsockAddress {
    /// Whether a connection to `target` comes to a socket that is bound here, as far as that
    /// can be told without asking the machine for its own CID.
    #[must_use]
    pub fn takes(self, target: Self) -> bool {
        let is_here = self.cid == target.cid || self.cid == ANY && target.cid == LOCAL;
        self.port == target.port && is_here
    }
}

/// A CID or a port, in decimal: everything but [`ANY`].
pub(crate) fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| plain && *number != ANY)
}

/// Whether the service field of an entry, or a value, is such an address.
pub(crate) fn is_vsock(field: &str) -> bool {
    field.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cids_are_not_written() {
        assert_eq!(VsockAddress { cid: 3, port: 5000 }.to_string(), "vsock:3:5000");
        assert_eq!(VsockAddress { cid: ANY, port: 5000 }.to_string(), "vsock:5000");
    }

    #[test]
    fn all_cids_take_what_comes_from_this_machine() {
        let at = |cid| VsockAddress { cid, port: 7 };
        assert!(at(3).takes(at(3)) && at(ANY).takes(at(1)));
        assert!(!at(3).takes(at(1)) && !at(ANY).takes(VsockAddress { cid: 1, port: 8 }));
    }

    #[test]
    fn numbers_have_32_bits_and_the_last_one_means_any() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("4294967294"), Some(u32::MAX - 1));
        for wrong in ["4294967295", "4294967296", "+1", "-1", "", " 1", "host"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }
}
