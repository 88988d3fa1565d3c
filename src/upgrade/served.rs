//! Whoever is not served yet, as data: clients that are being told something, those who have
//! not said who they are.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::net::address::Address;
use crate::net::fronted::Fronted;
use crate::net::vsock::VsockAddress;

/// A client that is being told something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedBanner {
    /// The socket.
    pub descriptor: RawFd,
    /// What is still to be sent.
    #[serde(with = "super::hex")]
    pub unsent: Vec<u8>,
    /// When it has had its time.
    pub due: Moment,
    /// What happens then.
    pub then: SavedThen,
}

/// What happens to a client that has been told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SavedThen {
    /// It is served.
    Serve {
        /// The place of the service; none if it is no more.
        service: Option<usize>,
        /// Where it came from.
        peer: Address,
        /// The group of a unix peer.
        peer_gid: Option<u32>,
        /// What its program is told.
        facts: Box<SavedFacts>,
        /// When it came.
        since: Moment,
    },
    /// The connection is closed when that many more bytes have come.
    Close {
        /// Bytes.
        left: usize,
    },
}

/// What a program is told of its connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedFacts {
    /// `TCP`, `UDP`, `UNIX` or `VSOCK`.
    pub protocol: String,
    /// Our own address.
    pub local: Option<SocketAddr>,
    /// The peer's.
    pub remote: Option<SocketAddr>,
    /// The path or `@name` of a unix socket.
    pub path: Option<String>,
    /// Pid, uid and gid of a unix peer.
    pub credentials: Option<(i32, u32, u32)>,
    /// Our own address and the peer's, of a virtual socket.
    #[serde(default)]
    pub vsock: (Option<VsockAddress>, Option<VsockAddress>),
    /// What stood before the data.
    #[serde(default)]
    pub fronted: Option<Fronted>,
}

/// Somebody who has not said yet who he is, or waits for a place: either way all that he has
/// said is in his socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedNewcomer {
    /// The socket.
    pub descriptor: RawFd,
    /// The places of the service and of the socket to which he has come.
    pub socket: (usize, usize),
    /// Who has connected.
    pub peer: Address,
    /// The group of a unix peer.
    pub peer_gid: Option<u32>,
    /// Until when he has to have said it.
    pub due: Moment,
    /// What stood before his data, if that has been read.
    #[serde(default)]
    pub through: Option<Fronted>,
}

/// A socket on its way to the program of a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPendingPeer {
    /// The socket.
    pub descriptor: RawFd,
    /// The places of the service and of its socket.
    pub socket: (usize, usize),
    /// The peer.
    pub peer: SocketAddr,
    /// To which of several addresses its datagrams were sent; the port says nothing.
    #[serde(default)]
    pub to: Option<SocketAddr>,
    /// Our own address from which its datagrams were sent again.
    pub sender: SocketAddr,
    /// How many it has to hold.
    pub expected: usize,
    /// How often it has been looked at.
    pub looks: u32,
}
