//! `--idle-exit`: the server ends when nobody has been here for so long. Under a service
//! manager that holds its sockets it is started again when somebody comes.

mod turns;

use std::time::{Duration, Instant};

/// When somebody was last here.
#[derive(Debug)]
pub(super) struct IdleExit {
    /// None: it never ends by itself.
    limit: Option<Duration>,
    pub(super) last: Instant,
}

impl IdleExit {
    pub(super) fn new(limit: Option<Duration>, now: Instant) -> Self {
        Self { limit, last: now }
    }
}
