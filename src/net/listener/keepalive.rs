//! When the system asks a silent peer whether it is still there. Connections have it from the
//! socket that has accepted them.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;

use nix::sys::socket::{AddressFamily, getsockopt, setsockopt, sockopt};

use super::socket::new_socket;
use crate::config::model::{Keepalive, KeepaliveTimes, SocketType};

/// Sets what the service says.
///
/// # Errors
/// setsockopt(2)'s.
pub(crate) fn set(socket: &impl AsFd, keepalive: Keepalive) -> nix::Result<()> {
    setsockopt(&socket.as_fd(), sockopt::KeepAlive, &keepalive.is_on())?;
    keepalive.times().map_or(Ok(()), |times| set_times(socket, times))
}

/// The times alone.
///
/// # Errors
/// setsockopt(2)'s.
pub(crate) fn set_times(socket: &impl AsFd, times: KeepaliveTimes) -> nix::Result<()> {
    let KeepaliveTimes { idle, interval, count } = times;
    let socket = &socket.as_fd();
    setsockopt(socket, sockopt::TcpKeepIdle, &idle.into())?;
    setsockopt(socket, sockopt::TcpKeepInterval, &interval.into())?;
    setsockopt(socket, sockopt::TcpKeepCount, &count.into())
}

/// Leaves the times to the system again, if the service says none: those of a new socket.
pub(super) fn forget(listener: &TcpListener, keepalive: Keepalive) -> io::Result<()> {
    if keepalive.times().is_some() {
        return Ok(());
    }
    let v4 = listener.local_addr()?.is_ipv4();
    let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let new = new_socket(family, SocketType::Stream)?;
    let (idle, interval) = (sockopt::TcpKeepIdle, sockopt::TcpKeepInterval);
    setsockopt(listener, idle, &getsockopt(&new, idle)?)?;
    setsockopt(listener, interval, &getsockopt(&new, interval)?)?;
    let count = getsockopt(&new, sockopt::TcpKeepCount)?;
    Ok(setsockopt(listener, sockopt::TcpKeepCount, &count)?)
}
