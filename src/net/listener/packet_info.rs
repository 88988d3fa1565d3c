//! What the system says of each datagram besides, on any socket: whether it does, and how it is
//! told to.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::socket::{Bound, Socket};

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
