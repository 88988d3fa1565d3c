//! The state of a server as data. Descriptors are their numbers, which exec(2) leaves
//! as they are; services, sockets and pipes name each other by their places here.
//!
//! What is not here begins afresh: rates and rests of admission, the list of sources
//! that built-in services answer, and which limits the log has said to bite.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::moment::Moment;
use crate::address::Address;
use crate::config::model::{LogOnSuccess, OnStop, RelayTarget, SocketSpec, SocketType, TcpmuxName};
use crate::statistics::Statistics;

/// The number of this format.
pub const FORMAT: u32 = 1;

/// Everything. New fields of later versions need a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the program that hands over.
    pub version: String,
    /// What it was started with, its name first.
    pub arguments: Vec<OsString>,
    /// Where its program is looked for.
    pub program: OsString,
    /// The program itself (O_PATH), to go back to; none in a trial.
    pub image: Option<RawFd>,
    /// Every descriptor that is handed over, once.
    pub descriptors: Vec<RawFd>,
    /// When the handing over began.
    pub began: Moment,
    /// When the server started, in seconds since 1970 and by its own clock.
    pub born: (u64, Moment),
    /// The limit on descriptors that it was started with, if it has raised its own.
    pub nofile: Option<(u64, u64)>,
    /// The pid file, locked.
    pub pid_file: Option<RawFd>,
    /// Lines of the log that are still to be written.
    #[serde(with = "crate::hex")]
    pub log: Vec<u8>,
    /// Lines that were not.
    pub log_dropped: u64,
    /// Of all services since the start.
    pub total: Statistics,
    /// In the order of the configuration.
    pub services: Vec<Service>,
    /// Running programs.
    pub children: Vec<Child>,
    /// Why children have failed that are not reaped yet: pid, stage, errno.
    pub failures: Vec<(i32, u32, i32)>,
    /// Programs that ended when they had run for too long: pid, and until when what is
    /// left of them has time.
    pub leftovers: Vec<(i32, Moment)>,
    /// Pipes of standard error.
    pub pipes: Vec<Pipe>,
    /// Places of pipes that have outlived their program, the oldest first.
    pub lingering: Vec<usize>,
    /// Groups of processes.
    pub groups: Groups,
    /// Connections to built-in services.
    pub conversations: Vec<Conversation>,
    /// Connections that are passed on.
    pub relays: Vec<Relay>,
    /// Clients that are being told something.
    pub banners: Vec<Banner>,
    /// Sockets on their way to the program of a peer.
    pub homing: Vec<Homing>,
    /// The list of peers.
    pub peers: Peers,
    /// Sockets at which the server is asked.
    pub doors: Vec<Door>,
    /// Those who ask.
    pub edges: Vec<Edge>,
}

/// A service; its definition is read from the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// How the log calls it.
    pub label: String,
    /// The type of its sockets.
    pub socket_type: SocketType,
    /// Its name behind tcpmux.
    pub tcpmux: Option<TcpmuxName>,
    /// Whether the program gets the listening socket.
    pub wait: bool,
    /// Whether a program serves it.
    pub runs_program: bool,
    /// `oxinetd stop SERVICE`.
    pub stopped: bool,
    /// What it has counted, if anything.
    pub statistics: Option<Statistics>,
    /// Its group of processes.
    pub group: Option<OsString>,
    /// In the order of its definition.
    pub sockets: Vec<Socket>,
}

/// A socket of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Socket {
    /// What it is recognised by.
    pub spec: SocketSpec,
    /// None while it cannot be opened, or its service is stopped.
    pub open: Option<Open>,
    /// Accepted, and waiting until the system has room for its program.
    pub parked: Option<Parked>,
    /// Until then no program is started, since the last ones have failed.
    pub not_before: Option<Moment>,
    /// Delay after the next failure.
    pub backoff: Duration,
    /// Short runs of a `wait` program in a row that left the same waiting.
    pub unread: u32,
    /// What was first there when the program was started.
    pub head: Option<Vec<u8>>,
}

/// An open listening or datagram socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Itself.
    pub descriptor: RawFd,
    /// Device and inode of its path, if it has one.
    pub identity: Option<(u64, u64)>,
}

/// An accepted connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parked {
    /// The socket.
    pub descriptor: RawFd,
    /// Who has connected.
    pub peer: Address,
    /// The group of a unix peer.
    pub peer_gid: Option<u32>,
}

/// What belongs to whoever is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Served {
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
pub struct Child {
    /// Whom it serves.
    pub served: Served,
    /// Its process id.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: RawFd,
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
    /// Its time between TERM and KILL.
    pub kill_after: Duration,
    /// What becomes of it when its service goes.
    pub on_stop: OnStop,
}

/// The standard error of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipe {
    /// Our end.
    pub descriptor: RawFd,
    /// The place of the service; none if it is no more.
    pub service: Option<usize>,
    /// How the log calls that.
    pub label: String,
    /// The program.
    pub pid: i32,
    /// The beginning of a line.
    #[serde(with = "crate::hex")]
    pub partial: Vec<u8>,
    /// The rest of a line that was cut is thrown away.
    pub skipping: bool,
}

/// Groups of processes, by their directories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// The one the server was started in, once that was looked for.
    pub base: Option<OsString>,
    /// The one it has moved to.
    pub own: Option<OsString>,
    /// Those that are to be removed.
    pub lingering: Vec<OsString>,
}

/// A connection to a built-in service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Who.
    pub served: Served,
    /// The socket.
    pub descriptor: RawFd,
    /// How far it is, as the service itself writes it.
    pub machine: Value,
    /// When something last went on.
    pub active: Moment,
    /// How long it may be silent.
    pub silence: Duration,
}

/// A connection that is passed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relay {
    /// Who.
    pub served: Served,
    /// The client's socket.
    pub client: RawFd,
    /// The target's, if there is one yet.
    pub target: Option<RawFd>,
    /// How far it is, as the relay itself writes it.
    pub machine: Value,
    /// Until it is connected.
    pub dial: Option<Dial>,
}

/// The way to a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dial {
    /// Its addresses.
    pub target: RelayTarget,
    /// The one that is tried.
    pub at: usize,
    /// When it has had its time.
    pub deadline: Moment,
    /// When it is looked at again.
    pub due: Moment,
}

/// A client that is being told something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Banner {
    /// The socket.
    pub descriptor: RawFd,
    /// What is still to be sent.
    #[serde(with = "crate::hex")]
    pub unsent: Vec<u8>,
    /// When it has had its time.
    pub due: Moment,
    /// What happens then.
    pub then: Then,
}

/// What happens to a client that has been told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Then {
    /// It is served.
    Serve {
        /// The place of the service; none if it is no more.
        service: Option<usize>,
        /// Where it came from.
        peer: Address,
        /// The group of a unix peer.
        peer_gid: Option<u32>,
        /// What its program is told.
        facts: Facts,
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
pub struct Facts {
    /// `TCP`, `UDP` or `UNIX`.
    pub protocol: String,
    /// Our own address.
    pub local: Option<SocketAddr>,
    /// The peer's.
    pub remote: Option<SocketAddr>,
    /// The path or `@name` of a unix socket.
    pub path: Option<String>,
    /// Pid, uid and gid of a unix peer.
    pub credentials: Option<(i32, u32, u32)>,
}

/// A socket on its way to the program of a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Homing {
    /// The socket.
    pub descriptor: RawFd,
    /// The places of the service and of its socket.
    pub socket: (usize, usize),
    /// The peer.
    pub peer: SocketAddr,
    /// Our own address from which its datagrams were sent again.
    pub sender: SocketAddr,
    /// How many it has to hold.
    pub expected: usize,
    /// How often it has been looked at.
    pub looks: u32,
}

/// The list of peers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// Since the start.
    pub total: u64,
    /// Those that are known, by their number.
    pub known: BTreeMap<u64, Peer>,
    /// Those that have ended, the first one first.
    pub ended: Vec<u64>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Where it came from.
    pub address: Address,
    /// The service it came to.
    pub service: String,
    /// The program that serves it.
    pub pid: Option<u32>,
    /// When it came.
    pub since: Moment,
}

/// A socket at which the server is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Door {
    /// What it is and where.
    pub spec: SocketSpec,
    /// Itself.
    pub open: Open,
    /// For control; otherwise for metrics.
    pub controls: bool,
}

/// Somebody who asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The socket.
    pub descriptor: RawFd,
    /// At the control socket; otherwise for metrics.
    pub controls: bool,
    /// Who.
    pub peer: Address,
    /// How far.
    pub stage: Stage,
    /// What has been read of the request.
    #[serde(with = "crate::hex")]
    pub request: Vec<u8>,
    /// What is still to be sent of the answer.
    #[serde(with = "crate::hex")]
    pub unsent: Vec<u8>,
}

/// How far somebody who asks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The request is being read.
    Asking,
    /// It waits for the end of the upgrade.
    AwaitsUpgrade,
    /// The answer is being sent.
    Told,
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
