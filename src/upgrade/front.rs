//! What stands between clients and programs, as data: the workers go on with their clients, and
//! whoever comes with a ticket of before is still known.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::net::address::Address;
use crate::net::fronted::Fronted;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFront {
    /// The version of what is said to workers.
    pub version: u32,
    /// The last number of a client.
    pub last: u64,
    /// Workers that can be spoken to.
    pub workers: Vec<SavedWorker>,
    /// Keys of tickets.
    pub tickets: Vec<SavedTicketKey>,
    /// Workers that have ended and should not have.
    #[serde(default)]
    pub died: u64,
    /// Clients who have no program yet, and whom those workers have.
    #[serde(default)]
    pub handshakes: Vec<SavedHandshake>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWorker {
    /// Its process id.
    pub pid: i32,
    /// Where it hears what is said.
    pub descriptor: RawFd,
    /// The numbers of its clients.
    pub clients: Vec<u64>,
    /// It answers when it is asked whether it is still there.
    #[serde(default)]
    pub answers: bool,
}

/// A client whose worker has not said yet that it may have its program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHandshake {
    /// What is to be the program's.
    pub descriptor: RawFd,
    /// Its connection, if it is to be seen whether it moves.
    pub watched: Option<RawFd>,
    /// The places of the service and of the socket to which it has come.
    pub socket: (usize, usize),
    /// Who it is.
    pub peer: Address,
    /// The group of a unix peer.
    pub peer_gid: Option<u32>,
    /// Until when it has time.
    pub due: Moment,
    /// What is known of it, its number first of all.
    pub through: Fronted,
}

/// A key of the tickets of a service; of each service, the one for new tickets comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTicketKey {
    /// The service.
    pub service: String,
    /// What its tickets begin with.
    pub name: [u8; 16],
    /// The key itself.
    pub secret: [u8; 32],
    /// When it was made.
    pub made: Moment,
}
