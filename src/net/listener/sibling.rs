//! UDP sockets beside a service's own: one for each peer that gets a program.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, SockaddrStorage, bind, setsockopt, sockopt};

use super::buffers;
use super::packet_info::set_telling;
use super::socket::new_socket;
use crate::config::model::{Attributes, SocketSpec, SocketType};
use crate::sys::descriptor;

/// A UDP socket that is not bound yet, of the family of `address`.
///
/// # Errors
/// What the system answered.
pub(crate) fn udp_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    new_socket(family, SocketType::Dgram)
}

/// A UDP socket bound to the same address as `listener` and connected to nobody:
/// for the next peer of a service that runs a program per peer. It is `has_packet_info` where its
/// datagrams were sent to from the first one on.
///
/// # Errors
/// What the system answered.
pub(crate) fn bind_beside(
    listener: &UdpSocket,
    spec: &SocketSpec,
    attributes: &Attributes,
    has_packet_info: bool,
) -> io::Result<UdpSocket> {
    let address = listener.local_addr()?;
    let next = UdpSocket::from(descriptor::raise(udp_socket(&address)?));
    if has_packet_info {
        set_telling(&next, &address, true)?;
    }
    share_address(&next, listener, address, spec, attributes)?;
    setsockopt(&next, sockopt::ReusePort, &false)?;
    Ok(next)
}

/// Binds `socket` to the address of `listener`, or one of several that this has. Both must
/// allow it to be shared (SO_REUSEPORT, which lets in sockets of the same user only); the one
/// that stays ours does so only while this is done.
///
/// # Errors
/// What the system answered.
pub(crate) fn share_address(
    socket: &UdpSocket,
    listener: &UdpSocket,
    address: SocketAddr,
    spec: &SocketSpec,
    attributes: &Attributes,
) -> io::Result<()> {
    if address.is_ipv6() {
        setsockopt(socket, sockopt::Ipv6V6Only, &true)?;
    }
    if let Some(device) = &spec.device {
        setsockopt(socket, sockopt::BindToDevice, &device.into())?;
    }
    buffers::set(socket, attributes)?;
    setsockopt(listener, sockopt::ReusePort, &true)?;
    setsockopt(socket, sockopt::ReusePort, &true)?;
    Ok(bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?)
}
