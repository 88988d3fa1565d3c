//! The sizes of a socket's buffers. The kernel sees to them itself, and for TCP as they are
//! needed, until it is told a size.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{AddressFamily, GetSockOpt, SetSockOpt, getsockopt, setsockopt, sockopt};

use super::socket::new_socket;
use crate::config::model::{Attributes, Endpoint, SocketSpec};
use crate::sys::socket_options;

/// Sets what the service says.
pub(super) fn set(socket: &impl AsFd, attributes: &Attributes) -> io::Result<()> {
    let bytes = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
    if let Some(size) = attributes.socket.sndbuf {
        setsockopt(&socket.as_fd(), sockopt::SndBuf, &bytes(size))?;
    }
    if let Some(size) = attributes.socket.rcvbuf {
        setsockopt(&socket.as_fd(), sockopt::RcvBuf, &bytes(size))?;
    }
    Ok(())
}

/// Leaves to the kernel again what the service says no more.
pub(super) fn forget(
    socket: &impl AsFd,
    spec: &SocketSpec,
    attributes: &Attributes,
) -> io::Result<()> {
    let says = (attributes.socket.sndbuf.is_some(), attributes.socket.rcvbuf.is_some());
    // Not known before Linux 5.14: then both may have been said.
    let locked = socket_options::locked_sizes(&socket.as_fd()).unwrap_or((true, true));
    if (locked.0 && !says.0) || (locked.1 && !says.1) {
        let new = new_socket(family(&spec.endpoint), spec.socket_type)?;
        if !says.0 {
            copy_size(&new, socket, sockopt::SndBuf)?;
        }
        if !says.1 {
            copy_size(&new, socket, sockopt::RcvBuf)?;
        }
        // Before Linux 5.14 they are right by now, and stay as they are.
        let _ = socket_options::keep_sizes(&socket.as_fd(), says);
    }
    Ok(())
}

/// Gives a buffer the size that it has in another socket.
fn copy_size<T>(from: &impl AsFd, to: &impl AsFd, which: T) -> io::Result<()>
where
    T: GetSockOpt<Val = usize> + SetSockOpt<Val = usize>,
{
    let wanted = getsockopt(&from.as_fd(), which)?;
    if getsockopt(&to.as_fd(), which)? != wanted {
        // It is doubled (socket(7)).
        setsockopt(&to.as_fd(), which, &(wanted / 2))?;
    }
    Ok(())
}

fn family(endpoint: &Endpoint) -> AddressFamily {
    match endpoint {
        Endpoint::Inet(address) if address.is_ipv4() => AddressFamily::Inet,
        Endpoint::Inet(_) => AddressFamily::Inet6,
        Endpoint::Vsock(_) => AddressFamily::Vsock,
        Endpoint::Unix(_) | Endpoint::Abstract(_) => AddressFamily::Unix,
    }
}
