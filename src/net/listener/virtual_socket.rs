//! Virtual sockets: the standard library does not know their addresses.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, VsockAddr, getpeername, getsockname};

use super::socket::new_socket;
use crate::config::model::SocketType;
use crate::net::address::Address;
use crate::net::vsock::{ANY, VsockAddress};
use crate::sys::accept;

/// A socket that is bound there.
pub(super) fn bind(address: VsockAddress, socket_type: SocketType) -> io::Result<OwnedFd> {
    let descriptor = new_socket(AddressFamily::Vsock, socket_type)?;
    let port = if address.port == 0 { ANY } else { address.port };
    nix::sys::socket::bind(descriptor.as_raw_fd(), &VsockAddr::new(address.cid, port))?;
    Ok(descriptor)
}

/// Takes a connection, and says whose it is.
pub(super) fn accept(listener: &OwnedFd) -> io::Result<(OwnedFd, Address)> {
    let socket = accept::accept(listener)?;
    // Whoever is gone already is nobody in particular.
    let peer = getpeername(socket.as_raw_fd()).ok();
    Ok((socket, peer.map_or(Address::None, |name| Address::Vsock(read(name)))))
}

/// Where a virtual socket is bound; of a connection, the CID that it was made to.
pub(crate) fn own_address(socket: &impl AsRawFd) -> Option<VsockAddress> {
    getsockname(socket.as_raw_fd()).ok().map(read)
}

fn read(name: VsockAddr) -> VsockAddress {
    VsockAddress { cid: name.cid(), port: name.port() }
}
