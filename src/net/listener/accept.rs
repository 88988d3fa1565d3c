//! Taking connections from a listener.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};

use super::connection::{Accepted, Connection};
use super::socket::Socket;
use super::{Listener, virtual_socket};
use crate::net::address::Address;
use crate::sys::socket_options;

impl Listener {
    /// Takes one connection; nothing it answers is a reason to stop.
    pub(crate) fn accept(&self) -> Accepted {
        let result = match &self.socket {
            Socket::Tcp(listener) => {
                listener.accept().map(|(stream, peer)| from(stream.into(), peer.into()))
            }
            Socket::Unix(listener) => listener.accept().map(|(stream, _)| unix_peer(stream.into())),
            Socket::Vsock(listener) => {
                virtual_socket::accept(listener).map(|(socket, peer)| from(socket, peer))
            }
            Socket::Udp(_) | Socket::UnixDatagram(_) => return Accepted::Drained,
        };
        match result {
            Ok(connection) => Accepted::Connection(connection),
            Err(error) => match classify(error) {
                // The system finds that before it looks whether anybody waits.
                Accepted::Exhausted(_) if !self.has_waiting_clients() => Accepted::Drained,
                other => other,
            },
        }
    }
}

impl Listener {
    /// Whether somebody waits to be accepted; a socket that is shut down is ready, too.
    pub(crate) fn has_waiting_clients(&self) -> bool {
        let ended = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
        let found = socket_options::events(self, libc::POLLIN | libc::POLLRDHUP);
        found & libc::POLLIN != 0 && found & ended == 0
    }

    /// Whether it listens no more: somebody else who has it has shut it down.
    pub(crate) fn is_deaf(&self) -> bool {
        getsockopt(self, sockopt::AcceptConn).is_ok_and(|listens| !listens)
    }
}

/// A connection of which no more is known than where it comes from.
fn from(socket: OwnedFd, peer: Address) -> Connection {
    Connection { socket, peer, peer_gid: None, fronted: None }
}

fn unix_peer(socket: OwnedFd) -> Connection {
    // A peer that cannot be known is nobody in particular; the connection is fine.
    let credentials = getsockopt(&socket, sockopt::PeerCredentials).ok();
    let peer = credentials.map_or(Address::None, |peer| Address::Unix {
        pid: u32::try_from(peer.pid()).unwrap_or_default(),
        uid: peer.uid(),
    });
    let peer_gid = credentials.map(|peer| peer.gid());
    Connection { socket, peer, peer_gid, fronted: None }
}

/// accept(2): errors of one connection, of the network, and of the system.
fn classify(error: io::Error) -> Accepted {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
    if error.kind() == ErrorKind::WouldBlock {
        return Accepted::Drained;
    }
    match errno {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
            Accepted::Exhausted(error)
        }
        _ => Accepted::Lost(error),
    }
}
