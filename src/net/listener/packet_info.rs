//! What the system says of each datagram besides: to which of several addresses it was sent,
//! on sockets bound to all, of built-in services and of services that run a program per peer;
//! who has sent it, on unix sockets of built-in services.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::{Bound, Listener, Socket};

impl Listener {
    /// Whether the system says it with each datagram.
    #[must_use]
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

/// Whether a socket of the server before us is told.
pub(super) fn is_on(socket: &Socket, address: &Bound) -> bool {
    let has_packet_info = match (socket, address) {
        (Socket::Udp(socket), Bound::Inet(address)) if address.ip().is_unspecified() => {
            match address {
                SocketAddr::V4(_) => getsockopt(socket, sockopt::Ipv4PacketInfo),
                SocketAddr::V6(_) => getsockopt(socket, sockopt::Ipv6RecvPacketInfo),
            }
        }
        (Socket::UnixDatagram(socket), _) => getsockopt(socket, sockopt::PassCred),
        _ => return false,
    };
    has_packet_info.unwrap_or(false)
}

/// For the program of a peer, which need not expect what only the server has asked for.
pub(crate) fn tell_nothing(socket: &UdpSocket) {
    if let Ok(address) = socket.local_addr() {
        let _ = set_telling(socket, &address, false);
    }
}

pub(super) fn set_telling(socket: &UdpSocket, address: &SocketAddr, tell: bool) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &tell)?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &tell)?,
    }
    Ok(())
}
