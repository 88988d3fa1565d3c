//! What came of taking a connection from a listener, and who it is.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

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
