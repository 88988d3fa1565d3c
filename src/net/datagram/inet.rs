//! Sending to addresses of the internet, and reading them from what the system says.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};

/// Sends a datagram.
///
/// # Errors
/// send(2)'s. WouldBlock: there is no room for it.
pub(crate) fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendto(socket.as_raw_fd(), bytes, &SockaddrStorage::from(to), flags)?;
    Ok(())
}

/// The address of whoever has sent something, if it is one of the internet.
pub(super) fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()))
}
