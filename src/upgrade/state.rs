//! The state of a server as data. Descriptors are their numbers, which exec(2) leaves
//! as they are; services, sockets and pipes name each other by their places here.
//!
//! Whoever has a [`Value`] here hands himself over as he is: the server derives that.
//!
//! What is not here begins afresh: rates and rests of admission, the list of sources
//! that built-in services answer, and which limits the log has said to bite.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use super::front::{SavedFront, SavedHandshake, SavedTicketKey, SavedWorker};
use super::moment::Moment;
use crate::config::model::{Limit, Names, SocketSpec, SocketType, TcpmuxName};
use crate::control::socket::ControlKind;
use crate::control::statistics::Statistics;
use crate::net::address::Address;
use crate::net::datagram::Flow;
use crate::net::fronted::Fronted;
use crate::systemd::About;

/// The number of this format.
pub(crate) const FORMAT: u32 = 1;

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
    #[serde(with = "super::hex")]
    pub log: Vec<u8>,
    /// Lines that were not.
    pub log_dropped: u64,
    /// How many of those the log has not told.
    #[serde(default)]
    pub log_untold: u64,
    /// Of all services since the start.
    pub total: Statistics,
    /// In the order of the configuration.
    pub services: Vec<SavedService>,
    /// Running programs.
    pub children: Vec<Value>,
    /// Why children have failed that are not reaped yet: pid, stage, errno.
    pub failures: Vec<(i32, u32, i32)>,
    /// Where those say it that are not reported yet.
    pub failure_pipe: Option<RawFd>,
    /// Programs that ended when they had run for too long, or whose session is to end with
    /// them: pid, and until when what is left of them has time.
    pub leftovers: Vec<(i32, Moment)>,
    /// The latter.
    #[serde(default)]
    pub remains: Vec<Value>,
    /// Pipes of standard error.
    pub pipes: Vec<Value>,
    /// Places of pipes that have outlived their program, the oldest first.
    pub lingering: Vec<usize>,
    /// Groups of processes.
    pub groups: SavedCgroups,
    /// Connections to built-in services.
    #[serde(rename = "conversations")]
    pub builtins: Vec<Value>,
    /// Connections that are passed on.
    pub relays: Vec<Value>,
    /// Clients that are being told something.
    pub banners: Vec<Value>,
    /// Sockets on their way to the program of a peer.
    #[serde(rename = "homing")]
    pub pending_peers: Vec<Value>,
    /// Those of whom it is not known yet who they are, or who wait for a place.
    #[serde(default)]
    pub newcomers: Vec<SavedNewcomer>,
    /// Processes that stand between clients and programs: they go on with their clients.
    #[serde(default)]
    pub front_workers: Vec<i32>,
    /// What is known of them.
    #[serde(default)]
    pub front: SavedFront,
    /// The list of peers.
    pub peers: Value,
    /// Sockets that the service manager holds.
    pub held: Vec<SavedStoredSocket>,
    /// When somebody was last here, if the server ends by itself some time after that.
    #[serde(default)]
    pub last_here: Option<Moment>,
    /// How often that wants a sign of life.
    pub watchdog: Option<Duration>,
    /// What names are, as far as they are known.
    #[serde(default)]
    pub names: Names,
    /// Sockets at which the server is asked.
    #[serde(rename = "doors")]
    pub control_listeners: Vec<SavedControlListener>,
    /// Those who ask.
    #[serde(rename = "edges")]
    pub control_connections: Vec<Value>,
}

/// A service; its definition is read from the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedService {
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
    /// `oxinetd stop SERVICE`, or `max_clients`.
    pub stopped: bool,
    /// The latter.
    #[serde(default)]
    pub spent: bool,
    /// Clients that count for that, and how many it may have.
    #[serde(default)]
    pub clients: (u32, Limit),
    /// What it has counted, if anything.
    pub statistics: Option<Statistics>,
    /// Its group of processes.
    pub group: Option<OsString>,
    /// In the order of its definition.
    pub sockets: Vec<SavedSocket>,
}

/// A socket of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedSocket {
    /// What it is recognised by.
    pub spec: SocketSpec,
    /// None while it cannot be opened, or its service is stopped.
    pub open: Option<Open>,
    /// Accepted, and waiting until the system has room for its program.
    pub parked: Option<Value>,
    /// Until then no program is started, since the last ones have failed.
    pub not_before: Option<Moment>,
    /// Delay after the next failure.
    pub backoff: Duration,
    /// Short runs of a `wait` program in a row that left the same waiting.
    pub unread: u32,
    /// What was first there when the program was started.
    pub head: Option<Vec<u8>>,
    /// What has been taken out of it and waits until there is room for programs.
    #[serde(default)]
    pub sorted: Vec<SavedDatagrams>,
}

/// What a peer has sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedDatagrams {
    /// From whom, and where to.
    #[serde(flatten)]
    pub(crate) flow: Flow,
    /// In the order in which they came.
    pub datagrams: Vec<Datagram>,
}

/// A datagram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Datagram(#[serde(with = "super::hex")] pub Vec<u8>);

/// An open listening or datagram socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Itself.
    pub descriptor: RawFd,
    /// Device and inode of its path, if it has one.
    pub identity: Option<(u64, u64)>,
    /// A program has had it.
    #[serde(default)]
    pub shared: bool,
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
    /// His connection, if a worker has it and it is to be seen whether it moves.
    #[serde(default)]
    pub watched: Option<RawFd>,
}

/// Groups of processes, by their directories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedCgroups {
    /// The one the server was started in, once that was looked for.
    pub base: Option<OsString>,
    /// The one it has moved to.
    pub own: Option<OsString>,
    /// Those that are to be removed.
    pub lingering: Vec<OsString>,
}

/// A socket that the service manager holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedStoredSocket {
    /// What is known of it.
    #[serde(flatten)]
    pub about: About,
    /// Itself, or that of the service that has it.
    pub descriptor: RawFd,
    /// A service has it.
    pub lent: bool,
}

/// A socket at which the server is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedControlListener {
    /// What it is and where.
    pub spec: SocketSpec,
    /// Itself.
    pub open: Open,
    /// What it is for.
    #[serde(rename = "controls")]
    pub(crate) kind: ControlKind,
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
