//! What the server knows while it runs: services, listeners, programs, and what
//! comes out of them. Plain data; what is done with it is in the other files.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::programs::dying::Dying;
use super::reactor::slab::Key;
use super::reactor::timers::Timer;
use super::services::feeding::Row;
use super::services::occupied::PastSessions;
use super::services::peer_queue::SortedDatagrams;
use super::services::rejection_log::Refusals;
use super::services::straying::PeerSocket;
use super::sessions::banners::Banners;
use super::sessions::closing::KeptConnection;
use super::sessions::departing::FrontedClient;
use super::sessions::idling::IdleWatch;
use super::sessions::sealing::NotSealed;
use super::sessions::workers::SealedSettings;
use super::upgrade::places::{OfPipes, OfServices, OfSockets, Placed as _};
use crate::admission::ServiceId;
use crate::config::model::{EndingAttributes, Service, SocketSpec};
use crate::control::statistics::{LastError, Statistics};
use crate::log::events::Label;
use crate::net::listener::{Connection, Listener, ShownEndpoint};
use crate::spawn::Prepared;
use crate::spawn::sandbox::cgroup::Cgroup;
use crate::sys::{descriptor, handed};
use crate::upgrade::{hex, moment};

/// A service that is being served.
#[derive(Debug)]
pub(super) struct ServiceState {
    pub(super) service: Rc<Service>,
    pub(super) label: Label,
    /// None for built-in services.
    pub(super) prepared: Option<Rc<Prepared>>,
    pub(super) admission: ServiceId,
    /// Its sockets.
    pub(super) listeners: Vec<Key>,
    /// Those of its listeners that rest until a child ends.
    pub(super) resting: Vec<Key>,
    /// What stands in front of it, as workers are told it; None where nothing does, or cannot.
    pub(super) front: Option<Rc<SealedSettings>>,
    /// Why that is not what the definition says.
    pub(super) not_sealed: Option<NotSealed>,
    /// What its clients are told.
    pub(super) banners: Banners,
    /// Refusals that the log has told or will tell.
    pub(super) refusals: Refusals,
    /// What it has counted; none before the first, since most of many are idle.
    pub(super) statistics: Option<Box<Statistics>>,
    /// Clients of a relay in a row that failed before they were answered.
    pub(super) fruitless: u32,
    /// Whether its sockets are closed until it is started again.
    pub(super) stopped: Stopped,
    /// By the program before us; what it is has not been read yet.
    pub(super) handed_over: bool,
    /// Since when it is what it is, in seconds since 1970.
    pub(super) since: u64,
}

/// Why a service is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It is not.
    No,
    /// `oxinetd stop SERVICE`.
    Asked,
    /// It has had as many clients as `max_clients` says.
    Spent,
}

impl Stopped {
    pub(super) fn is_so(self) -> bool {
        self != Self::No
    }

    /// As the status has it.
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::No => None,
            Self::Asked => Some("command"),
            Self::Spent => Some("max_clients"),
        }
    }
}

/// Why nothing is taken from a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is served.
    No,
    /// A limit: until a child ends (then it is in `resting`) or its timer is due.
    Limit,
    /// The system has no descriptors: until a child ends or its timer is due.
    Exhausted,
    /// The program of a `wait` service has it.
    Program,
    /// A `wait` service's program failed at once: until its timer is due.
    Backoff,
}

/// One socket of a service, open or to be opened.
#[derive(Debug)]
pub(super) struct ListenerState {
    pub(super) service: Key,
    pub(super) spec: SocketSpec,
    /// None while it cannot be opened.
    pub(super) listener: Option<Listener>,
    /// Delay before the next attempt to open it.
    pub(super) retry: Duration,
    /// How many sockets come before it in the file: where descriptors are few, it is open if
    /// these leave it room.
    pub(super) place: usize,
    /// Its address, or its device, is not there yet.
    pub(super) is_to_come: bool,
    /// It could not be opened for want of descriptors.
    pub(super) left_out: bool,
    /// It is open, and something that its service says could not be applied to it.
    pub(super) is_behind: bool,
    /// Why it is not open. That has been said, and is not said again for each attempt.
    pub(super) last_error: Option<LastError>,
    /// Peers whose datagrams have been taken out, and for whose programs there is no room yet.
    pub(super) sorted: SortedDatagrams,
    /// Accepted, and waiting until the system has room for its program.
    pub(super) parked: Option<Connection>,
    pub(super) registered: bool,
    pub(super) rest: Rest,
    /// Its one timer: to be opened, or served, again.
    pub(super) timer: Option<(Instant, Timer)>,
    /// No program before then, whoever wants to wake it.
    pub(super) not_before: Option<Instant>,
    /// Delay after the next failure of a `wait` service's program.
    pub(super) backoff: Duration,
    /// Short runs of a `wait` service's program in a row that left the same waiting.
    pub(super) unread: u32,
    /// Short runs of it in a row, whatever they have left.
    pub(super) row: Row,
    /// Those of the programs that have had it.
    pub(super) sessions: PastSessions,
    /// What was at the head of a datagram socket when the program was started.
    pub(super) head: Option<Vec<u8>>,
}

impl ListenerState {
    /// Whether somebody waits to be accepted. Costs a fraction of an accept(2) in vain,
    /// for which the kernel makes a socket first.
    pub(super) fn has_waiting(&self) -> bool {
        self.listener.as_ref().is_some_and(descriptor::is_ready)
    }

    /// How the log calls it where there is no service at hand.
    pub(super) fn label(&self) -> String {
        ShownEndpoint(&self.spec.endpoint).to_string()
    }
}

/// A running program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProgramStage {
    pub(super) pid: i32,
    /// Readable when it has ended; none while it is young.
    #[serde(skip)]
    pub(super) pidfd: Option<OwnedFd>,
    /// What its service said of its end when it was started.
    #[serde(flatten)]
    pub(super) terms: EndingAttributes,
    /// The listener that it has, for `wait` services.
    #[serde(rename = "socket", with = "OfSockets")]
    pub(super) listener: Option<Key>,
    #[serde(rename = "pipe", with = "OfPipes")]
    pub(super) stderr: Option<Key>,
    /// A copy of its own socket, for one of a peer.
    pub(super) peer_socket: Option<PeerSocket>,
    /// A copy of its connection.
    pub(super) kept: Option<KeptConnection>,
    /// Its client, if a worker has that.
    #[serde(flatten)]
    pub(super) front: FrontedClient,
    /// It has a terminal: that worker is told when it ends.
    #[serde(default = "always")]
    pub(super) has_terminal: bool,
    /// What has moved on that, if it may not be still for too long.
    pub(super) watched: Option<Box<IdleWatch>>,
    /// Not removed while the program runs.
    #[serde(skip)]
    pub(super) group: Option<Rc<Cgroup>>,
    /// When it gets its next signal for running too long.
    #[serde(with = "moment::optional")]
    pub(super) deadline: Option<Instant>,
    /// It has had the first one.
    pub(super) overdue: bool,
    #[serde(skip)]
    pub(super) dying: Dying,
}

/// Servers that do not say it knew of no others.
fn always() -> bool {
    true
}

/// The standard error of a program, which its own children may hold after its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StderrState {
    #[serde(rename = "descriptor", with = "handed")]
    pub(super) pipe: File,
    #[serde(with = "OfServices")]
    pub(super) service: Key,
    pub(super) label: Label,
    pub(super) pid: i32,
    /// The beginning of a line whose end has not come yet.
    #[serde(with = "hex")]
    pub(super) partial: Vec<u8>,
    /// The rest of a line that was cut is thrown away.
    pub(super) skipping: bool,
    /// Bytes that were thrown away and are not counted yet.
    #[serde(skip)]
    pub(super) dropped: usize,
    /// Bytes read since `since`.
    #[serde(skip)]
    pub(super) read: usize,
    #[serde(skip, default = "Instant::now")]
    pub(super) since: Instant,
    #[serde(skip)]
    pub(super) registered: bool,
}
