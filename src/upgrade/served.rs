//! Whoever is served, as data: programs, connections to built-in services, those that are
//! passed on, clients that are being told something.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::moment::Moment;
use crate::config::model::{Account, EndingAttributes, Linger, LogOnSuccess, RelayTarget};
use crate::net::address::Address;
use crate::net::fronted::Fronted;
use crate::net::vsock::VsockAddress;

/// What belongs to whoever is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedSessions {
    /// The place of the service; none if it is no more.
    pub service: Option<usize>,
    /// How the log calls that.
    pub label: String,
    /// Where it came from.
    pub peer: Address,
    /// Its number in the list of peers.
    pub peer_id: u64,
    /// When it came.
    pub started: Moment,
    /// What is logged of it.
    pub log: LogOnSuccess,
}

/// A running program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedChild {
    /// Whom it serves.
    pub served: SavedSessions,
    /// Its process id.
    pub pid: i32,
    /// The places of a service and of the socket in it that it has, for `wait`.
    pub socket: Option<(usize, usize)>,
    /// The place of its pipe.
    pub pipe: Option<usize>,
    /// Its group of processes.
    pub group: Option<OsString>,
    /// When it gets its next signal for running too long.
    pub deadline: Option<Moment>,
    /// It has had the first one.
    pub overdue: bool,
    /// How it ends.
    #[serde(flatten)]
    pub ending: EndingAttributes,
    /// Its own socket, for one of a peer.
    #[serde(default)]
    pub peer_socket: Option<SavedPeerSocket>,
    /// A copy of its connection.
    #[serde(default)]
    pub kept: Option<SavedConnection>,
    /// What has moved on that, if it may not be still for too long.
    #[serde(default)]
    pub watched: Option<SavedIdleWatch>,
}

/// A copy of a program's connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedConnection {
    /// It.
    pub descriptor: RawFd,
    /// What becomes of it.
    pub linger: Linger,
    /// When the program was started, since the system was.
    pub since: Duration,
}

/// What a program that has ended leaves behind, if its whole session is to end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedLeftovers {
    /// The number of the program, which is not reaped yet.
    pub pid: i32,
    /// How the log calls its service.
    pub label: String,
    /// Whom it has served.
    pub peer: Address,
    /// What is logged of it.
    pub log: LogOnSuccess,
    /// Who has had TERM.
    pub told: Told,
    /// A copy of the program's connection, if somebody has that still.
    #[serde(default)]
    pub kept: Option<SavedConnection>,
}

/// Who of a session has had TERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// It has not been looked who is there.
    Nobody,
    /// The process group of its leader.
    Group,
    /// All of them.
    Everybody,
}

/// A program's connection that may not be still for too long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedIdleWatch {
    /// For how long.
    pub limit: Duration,
    /// When something last moved.
    pub last: Moment,
    /// How much the client had taken.
    pub taken: u64,
    /// The program has been told to end for it.
    pub is_over: bool,
}

/// The standard error of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPipe {
    /// Our end.
    pub descriptor: RawFd,
    /// The place of the service; none if it is no more.
    pub service: Option<usize>,
    /// How the log calls that.
    pub label: String,
    /// The program.
    pub pid: i32,
    /// The beginning of a line.
    #[serde(with = "super::hex")]
    pub partial: Vec<u8>,
    /// The rest of a line that was cut is thrown away.
    pub skipping: bool,
}

/// The socket of a peer's program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPeerSocket {
    /// A copy of it.
    pub descriptor: RawFd,
    /// To whom it is connected.
    pub peer: SocketAddr,
}

/// A connection to a built-in service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedBuiltin {
    /// Who.
    pub served: SavedSessions,
    /// The socket.
    pub descriptor: RawFd,
    /// How far it is, as the service itself writes it.
    pub machine: Value,
    /// When something last went on.
    pub active: Moment,
    /// How long it may be silent.
    pub silence: Duration,
    /// Its service has said so.
    #[serde(default)]
    pub limited: bool,
    /// What stood before its data.
    #[serde(default)]
    pub fronted: Option<Fronted>,
}

/// A connection that is passed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedRelay {
    /// Who.
    pub served: SavedSessions,
    /// The client's socket.
    pub client: RawFd,
    /// The target's, if there is one yet.
    pub target: Option<RawFd>,
    /// How far it is, as the relay itself writes it.
    pub machine: Value,
    /// Until it is connected.
    pub dial: Option<SavedDial>,
    /// How long it may be still, and since when it is, if there is a limit.
    #[serde(default)]
    pub still: Option<(Duration, Moment)>,
}

/// The way to a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedDial {
    /// Its addresses.
    pub target: RelayTarget,
    /// The one that is tried.
    pub at: usize,
    /// When it has had its time.
    pub deadline: Moment,
    /// When it is looked at again.
    pub due: Moment,
    /// Who connects.
    #[serde(default)]
    pub account: Option<Account>,
}

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
