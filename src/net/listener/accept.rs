//! Taking connections from a listener: what came of it, and who it is.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::{Listener, Socket, virtual_socket};
use crate::net::address::Address;
use crate::net::fronted::{Fronted, Whom};

/// A connection that has been taken.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connection {
    /// The socket: blocking, close-on-exec.
    #[serde(rename = "descriptor", with = "crate::sys::handed")]
    pub socket: OwnedFd,
    /// Who is at the other end.
    pub peer: Address,
    /// The uid's group, for a unix peer.
    pub peer_gid: Option<u32>,
    /// What stood before its data, if that has said something.
    #[serde(default)]
    pub fronted: Option<Rc<Fronted>>,
}

impl Connection {
    /// Who has come, and through whom.
    #[must_use]
    pub(crate) fn whom(&self) -> Whom {
        Whom { peer: self.peer, via: self.fronted.as_ref().and_then(|it| it.via) }
    }
}

/// What an attempt to accept came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection.
    Connection(Connection),
    /// Nobody is waiting.
    Drained,
    /// One connection was lost before it was taken; the next may be fine.
    Lost(io::Error),
    /// The system has no descriptor or no memory left: later.
    Exhausted(io::Error),
}

impl Listener {
    /// Takes one connection; nothing it answers is a reason to stop.
    #[must_use]
    pub(crate) fn accept(&self) -> Accepted {
        let result = match &self.socket {
            Socket::Tcp(listener) => listener.accept().map(|(stream, peer)| Connection {
                socket: stream.into(),
                peer: peer.into(),
                peer_gid: None,
                fronted: None,
            }),
            Socket::Unix(listener) => listener.accept().map(|(stream, _)| unix_peer(stream.into())),
            Socket::Vsock(listener) => virtual_socket::accept(listener),
            Socket::Udp(_) | Socket::UnixDatagram(_) => return Accepted::Drained,
        };
        match result {
            Ok(connection) => Accepted::Connection(connection),
            Err(error) => classify(error),
        }
    }
}

impl Listener {
    /// Whether it listens no more: somebody else who has it has shut it down.
    #[must_use]
    pub(crate) fn is_deaf(&self) -> bool {
        getsockopt(self, sockopt::AcceptConn).is_ok_and(|listens| !listens)
    }
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
