//! Services that serve so many clients and no more: `max_clients`.
//!
//! Whoever is admitted counts. When the last one has been, the service is stopped as by
//! `oxinetd stop`, but that its programs go on: they serve the last of them. A service whose
//! program has its socket is stopped when that has ended, for who comes meanwhile is still
//! that program's.

mod turns;

use crate::server::reactor::slab::Key;

/// As the log and the status call the limit.
pub(in crate::server) const NAME: &str = "max_clients";

/// Services that have had their clients.
#[derive(Debug)]
pub(in crate::server) struct Quota {
    /// Those that are still to be stopped.
    spent: Vec<Key>,
    /// The server ends with its service.
    only_one: bool,
}

impl Quota {
    pub(in crate::server) fn new(only_one: bool) -> Self {
        Self { spent: Vec::new(), only_one }
    }
}
