//! The kinds of sockets that services have, how one of each is made, and where it is bound.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, listen, socket};

use crate::config::model::{Attributes, Endpoint, SocketType};
use crate::net::vsock::VsockAddress;

/// The kinds of sockets, as std knows them.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// Unix stream or sequenced packets.
    Unix(UnixListener),
    /// UDP.
    Udp(UdpSocket),
    /// Unix datagrams.
    UnixDatagram(UnixDatagram),
    /// Virtual stream or sequenced packets.
    Vsock(OwnedFd),
}

/// Where a socket is bound, for logs and environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bound {
    /// An IP address and the port the system gave if 0 was asked for.
    Inet(SocketAddr),
    /// A path, or `@name`.
    Unix(String),
    /// A CID, and the port the system gave if 0 was asked for.
    Vsock(VsockAddress),
}

/// What a socket has been found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It is as it was before the program had it.
    Sound,
    /// It stays like that, and is of no use to anybody.
    Ruined(&'static str),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Inet(address) => address.fmt(f),
            Bound::Unix(path) => f.write_str(path),
            Bound::Vsock(address) => address.fmt(f),
        }
    }
}

impl Socket {
    pub(super) fn new(descriptor: OwnedFd, endpoint: &Endpoint, socket_type: SocketType) -> Self {
        if matches!(endpoint, Endpoint::Vsock(_)) {
            return Self::Vsock(descriptor);
        }
        let inet = matches!(endpoint, Endpoint::Inet(_));
        match (socket_type, inet) {
            (SocketType::Dgram, true) => Self::Udp(descriptor.into()),
            (SocketType::Dgram, false) => Self::UnixDatagram(descriptor.into()),
            (_, true) => Self::Tcp(descriptor.into()),
            (_, false) => Self::Unix(descriptor.into()),
        }
    }

    /// Its family and type; sequenced packets are a stream, too, where only the options matter.
    pub(super) fn kind(&self, address: &Bound) -> (AddressFamily, SocketType) {
        let family = match address {
            Bound::Inet(SocketAddr::V4(_)) => AddressFamily::Inet,
            Bound::Inet(SocketAddr::V6(_)) => AddressFamily::Inet6,
            Bound::Unix(_) => AddressFamily::Unix,
            Bound::Vsock(_) => AddressFamily::Vsock,
        };
        match self {
            Self::Udp(_) | Self::UnixDatagram(_) => (family, SocketType::Dgram),
            Self::Tcp(_) | Self::Unix(_) | Self::Vsock(_) => (family, SocketType::Stream),
        }
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        match self {
            Self::Tcp(socket) => socket.into(),
            Self::Unix(socket) => socket.into(),
            Self::Udp(socket) => socket.into(),
            Self::UnixDatagram(socket) => socket.into(),
            Self::Vsock(socket) => socket,
        }
    }

    /// Our own address; none for sockets that are not the internet's.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Udp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) | Socket::UnixDatagram(_) | Socket::Vsock(_) => None,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
            Socket::UnixDatagram(socket) => socket.as_fd(),
            Socket::Vsock(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// One that is bound nowhere: nonblocking, close-on-exec.
pub(super) fn new_socket(family: AddressFamily, socket_type: SocketType) -> io::Result<OwnedFd> {
    let kind = match socket_type {
        SocketType::Stream => SockType::Stream,
        SocketType::Dgram => SockType::Datagram,
        SocketType::SeqPacket => SockType::SeqPacket,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(family, kind, flags, None)?)
}

/// Has it listen, or changes for how many.
pub(super) fn start_listening(descriptor: &impl AsFd, attributes: &Attributes) -> io::Result<()> {
    let backlog = match attributes.socket.backlog {
        Some(backlog) => Backlog::new(i32::try_from(backlog).unwrap_or(i32::MAX))
            .unwrap_or(Backlog::MAXALLOWABLE),
        None => Backlog::MAXALLOWABLE,
    };
    Ok(listen(&descriptor.as_fd(), backlog)?)
}
