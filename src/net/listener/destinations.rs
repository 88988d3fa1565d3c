//! What the system says of each datagram besides: to which of several addresses it was sent,
//! on sockets bound to all, of built-in services and of services that run a program per peer;
//! who has sent it, on unix sockets of built-in services.

use nix::sys::socket::{setsockopt, sockopt};

use super::Listener;
use super::packet_info::{set_telling, tell_nothing};
use super::socket::{Bound, Socket};

impl Listener {
    /// Whether the system says it with each datagram.
    pub(crate) fn tells_destinations(&self) -> bool {
        self.has_packet_info
    }

    /// Has it do so, where there are several addresses.
    pub(crate) fn tell_destinations(&mut self) {
        if let (Socket::Udp(socket), Bound::Inet(address)) = (&self.socket, &self.address)
            && address.ip().is_unspecified()
            && !self.has_packet_info
        {
            // Without it all are answered from the address that the system prefers.
            self.has_packet_info = set_telling(socket, address, true).is_ok();
        }
    }

    /// Has it do so again, though that option was given back.
    pub(super) fn tell_destinations_again(&self) {
        if let (true, Socket::Udp(socket), Bound::Inet(address)) =
            (self.has_packet_info, &self.socket, &self.address)
        {
            let _ = set_telling(socket, address, true);
        }
    }

    /// Has it say who has sent each datagram, if it is a unix socket. What waits there
    /// already comes without.
    pub(crate) fn tell_senders(&mut self) {
        if let Socket::UnixDatagram(socket) = &self.socket
            && !self.has_packet_info
        {
            // Without it nobody is answered.
            self.has_packet_info = setsockopt(socket, sockopt::PassCred, &true).is_ok();
        }
    }

    /// For a program, which need not expect that.
    pub(super) fn tell_nothing_more(&mut self) {
        if !std::mem::take(&mut self.has_packet_info) {
            return;
        }
        match &self.socket {
            Socket::Udp(socket) => tell_nothing(socket),
            Socket::UnixDatagram(socket) => _ = setsockopt(socket, sockopt::PassCred, &false),
            Socket::Tcp(_) | Socket::Unix(_) | Socket::Vsock(_) => {}
        }
    }
}
