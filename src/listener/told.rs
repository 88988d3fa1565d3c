//! Sockets that are told to which of several addresses each datagram was sent: those of
//! built-in services that are bound to all.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt};

use super::{Bound, Listener, Socket};

impl Listener {
    /// Whether the system says it with each datagram.
    #[must_use]
    pub fn tells_destinations(&self) -> bool {
        self.told
    }

    /// Has it do so, where there are several addresses.
    pub fn tell_destinations(&mut self) {
        if let Bound::Inet(address) = &self.address
            && address.ip().is_unspecified()
            && !self.told
        {
            // Without it all are answered from the address that the system prefers.
            self.told = self.set_telling(true).is_ok();
        }
    }

    /// For a program, which need not expect that.
    pub(super) fn tell_no_destinations(&mut self) {
        if std::mem::take(&mut self.told) {
            let _ = self.set_telling(false);
        }
    }

    fn set_telling(&self, tell: bool) -> io::Result<()> {
        match (&self.socket, &self.address) {
            (Socket::Udp(socket), Bound::Inet(SocketAddr::V4(_))) => {
                setsockopt(socket, sockopt::Ipv4PacketInfo, &tell)?;
            }
            (Socket::Udp(socket), _) => {
                setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &tell)?;
            }
            _ => {}
        }
        Ok(())
    }
}
