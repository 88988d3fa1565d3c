//! What stands between clients and programs, as data: the workers go on with their clients, and
//! whoever comes with a ticket of before is still known.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::moment::Moment;

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
