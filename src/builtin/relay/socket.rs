//! The two sockets of a relay: connecting without waiting, and closing with a reset.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr,
    VsockAddr, connect, getpeername, getsockopt, recv, setsockopt, shutdown, socket, sockopt,
};

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use super::duplex::Duplex;
use super::held;
use crate::config::model::{Endpoint, KeepaliveTimes};
use crate::net::listener::set_keepalive_times;
use crate::net::vsock::VsockAddress;
use crate::sys::descriptor;

/// Seconds between two questions to a silent peer that has ended.
const PROBE: u32 = 20;

/// One side's socket: a nonblocking stream.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RelaySocket(#[serde(with = "crate::sys::handed")] File);

/// What dialling came to.
#[derive(Debug)]
pub(crate) enum Dialled {
    /// It is connected.
    Connected(RelaySocket),
    /// It will be announced as writable when it is known how it went ([`RelaySocket::answered`]).
    Pending(RelaySocket),
    /// There is no room now, in the system or in the backlog of a unix socket, and
    /// nothing will announce it: try again later.
    Busy(io::Error),
}

/// Begins to connect to an address.
///
/// # Errors
/// What the system answered at once: no such path, no route.
pub(crate) fn dial(endpoint: &Endpoint) -> io::Result<Dialled> {
    begin(endpoint)
        .or_else(|error| if is_busy(&error) { Ok(Dialled::Busy(error)) } else { Err(error) })
}

/// Whether the same may succeed later.
pub(crate) fn is_busy(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let later = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EAGAIN];
    errno.is_some_and(|errno| later.contains(&errno))
}

fn begin(endpoint: &Endpoint) -> io::Result<Dialled> {
    let dialled = match endpoint {
        Endpoint::Inet(SocketAddr::V4(v4)) => {
            dial_to(AddressFamily::Inet, &SockaddrStorage::from(*v4))
        }
        Endpoint::Inet(SocketAddr::V6(v6)) => {
            dial_to(AddressFamily::Inet6, &SockaddrStorage::from(*v6))
        }
        Endpoint::Vsock(VsockAddress { cid, port }) => {
            dial_to(AddressFamily::Vsock, &VsockAddr::new(*cid, *port))
        }
        Endpoint::Unix(path) if Uid::effective().is_root() => {
            let held = held::hold(path)?;
            // connect(2) takes no such descriptor but by this name.
            let name = format!("/proc/self/fd/{}", held.as_raw_fd());
            dial_to(AddressFamily::Unix, &UnixAddr::new(name.as_str())?)
        }
        Endpoint::Unix(path) => dial_to(AddressFamily::Unix, &UnixAddr::new(path)?),
        Endpoint::Abstract(name) => dial_to(AddressFamily::Unix, &UnixAddr::new_abstract(name)?),
    };
    Ok(dialled?)
}

fn dial_to(family: AddressFamily, address: &dyn SockaddrLike) -> nix::Result<Dialled> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = descriptor::raise_held(socket(family, SockType::Stream, flags, None)?);
    match connect(socket.as_raw_fd(), address) {
        Ok(()) => Ok(Dialled::Connected(RelaySocket::tuned(socket))),
        Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(Dialled::Pending(RelaySocket::tuned(socket))),
        Err(error) => Err(error),
    }
}

impl RelaySocket {
    /// A unix socket that somebody else connects.
    ///
    /// # Errors
    /// socket(2)'s.
    pub fn unconnected() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        Ok(Self::tuned(descriptor::raise_held(socket)))
    }

    /// A connection that has been accepted.
    ///
    /// # Errors
    /// fcntl(2)'s.
    pub fn accepted(socket: OwnedFd) -> io::Result<Self> {
        descriptor::set_nonblocking(&socket)?;
        Ok(Self::tuned(descriptor::raise_held(socket)))
    }

    /// Peers that vanish are noticed by keepalive, since a relay need not have an idle limit.
    /// What has been read is written at once, so there is nothing for Nagle's
    /// algorithm to collect. A unix socket has neither, which is no error. Urgent bytes are passed
    /// on in their places: beside the others they would be lost.
    fn tuned(socket: OwnedFd) -> Self {
        let _ = setsockopt(&socket, sockopt::OobInline, &true);
        let _ = setsockopt(&socket, sockopt::KeepAlive, &true);
        let _ = setsockopt(&socket, sockopt::TcpNoDelay, &true);
        Self(socket.into())
    }

    /// Asks a silent peer at these times. A unix socket has none, which is no error.
    pub fn keep_alive(&self, times: KeepaliveTimes) {
        let _ = set_keepalive_times(self, times);
    }

    /// Whether a pending connection is there by now; false while nobody has answered.
    ///
    /// # Errors
    /// Why it has failed.
    pub fn answered(&self) -> io::Result<bool> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        match getpeername::<SockaddrStorage>(self.as_raw_fd()) {
            Ok(_) => Ok(true),
            Err(Errno::ENOTCONN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The error that the system keeps for this socket, if any; told once.
    pub fn error(&self) -> Option<io::Error> {
        match getsockopt(&self.0, sockopt::SocketError) {
            Ok(0) => None,
            Ok(number) => Some(io::Error::from_raw_os_error(number)),
            Err(error) => Some(error.into()),
        }
    }

    /// Whether the other side is gone altogether: it does not read any more either.
    pub fn is_gone(&self) -> bool {
        descriptor::becomes_ready(&self.0, PollFlags::empty(), PollTimeout::ZERO).unwrap_or(false)
    }

    /// Whether there is nothing of a peer that is gone.
    pub fn has_said_nothing(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        !matches!(recv(self.0.as_raw_fd(), &mut [0], flags), Ok(1))
    }

    /// Finds out soon whether it is. A peer that has ended and waits for an answer says so
    /// when it is asked; for one that is gone its system says it, a minute after it went.
    pub fn probe(&self) {
        // The service may have it asked sooner.
        if getsockopt(&self.0, sockopt::TcpKeepIdle).is_ok_and(|idle| idle > PROBE) {
            let _ = setsockopt(&self.0, sockopt::TcpKeepIdle, &PROBE);
        }
        if getsockopt(&self.0, sockopt::TcpKeepInterval).is_ok_and(|interval| interval > PROBE) {
            let _ = setsockopt(&self.0, sockopt::TcpKeepInterval, &PROBE);
        }
    }

    /// Closes it with a reset, where the protocol has one.
    pub fn reset(self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(&self.0, sockopt::Linger, &linger);
    }
}

impl From<RelaySocket> for OwnedFd {
    fn from(socket: RelaySocket) -> Self {
        socket.0.into()
    }
}

impl AsFd for RelaySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for RelaySocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Read for RelaySocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Whether it waits is a flag that whoever has connected it may have changed.
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
    }
}

impl Write for RelaySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(descriptor::send_now(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Duplex for RelaySocket {
    fn end_writing(&mut self) -> io::Result<()> {
        Ok(shutdown(self.0.as_raw_fd(), Shutdown::Write)?)
    }
}
