//! Connections on which nothing has moved for too long: `idle_timeout`.
//!
//! What a program moves is known to the system alone, which is asked about the copy of the
//! connection that the server keeps ([closing](super::closing)). Each is looked at when it may
//! have been still for long enough, and not before: at the last movement that is known, and
//! the limit after it.
//!
//! What moves is what comes from the client, and what it takes of what it is sent. Bytes that
//! wait for a client which takes none, or is gone, do not move, however often the system sends
//! them again; nor do they when a program writes more of them.

mod turns;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::model::Attributes;
use crate::net::fronted::Fronted;
use crate::sys::tcp::{self, Seen};
use crate::upgrade::moment::{self, Moment};

/// Why a connection is closed, as the log says it.
pub(in crate::server) const IDLE: &str = "idle";

/// The system's clock for this is a coarse one: no look sooner than this after another.
const AGAIN: Duration = Duration::from_millis(10);

/// When something last moved on a connection over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Movement {
    /// As far as is known.
    #[serde(with = "moment")]
    pub(in crate::server) last: Instant,
    /// How much the client had taken when it was last looked at.
    pub(in crate::server) taken: u64,
}

impl Movement {
    /// Nothing has moved yet.
    pub(in crate::server) fn since(now: Instant) -> Self {
        Self { last: now, taken: 0 }
    }

    /// What the system says now.
    fn see(&mut self, now: Instant, seen: &Seen) {
        let mut moved = |ago: Duration| {
            self.last = self.last.max(now.checked_sub(ago).unwrap_or(self.last));
        };
        moved(seen.since_received);
        // Kernels that do not count tell none.
        if seen.taken != self.taken || seen.taken == 0 {
            self.taken = seen.taken;
            // What has all been taken was sent for the last time before that.
            moved(if seen.waits { seen.since_answered } else { seen.since_sent });
        }
    }
}

/// A program's connection that may not be still for too long.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct IdleWatch {
    pub(in crate::server) limit: Duration,
    #[serde(flatten)]
    pub(in crate::server) movement: Movement,
    /// When it is looked at.
    #[serde(skip, default = "Instant::now")]
    pub(in crate::server) due: Instant,
    /// It was, and the program has been told to end.
    pub(in crate::server) is_over: bool,
}

impl IdleWatch {
    pub(in crate::server) fn new(limit: Duration, movement: Movement) -> Self {
        let due = later(movement.last, limit);
        Self { limit, movement, due, is_over: false }
    }

    /// Looks; false if nothing has moved for too long.
    fn look(&mut self, connection: &OwnedFd, now: Instant) -> bool {
        if let Some(seen) = tcp::seen(connection) {
            self.movement.see(now, &seen);
        }
        let due = later(self.movement.last, self.limit);
        self.due = due.max(now + AGAIN);
        due > now
    }
}

/// The limit to which a worker holds its client, as a service is now. On a connection that the
/// server has as well, it looks itself.
pub(in crate::server) fn limit_at_worker(
    attributes: &Attributes,
    fronted: &Fronted,
) -> Option<Duration> {
    let is_ours = fronted.watched.is_some() && !attributes.front.has_tls();
    attributes.limits.idle_timeout.filter(|_| !is_ours)
}

/// Such a limit as it is noted what a worker has been told: 0 for none.
pub(super) fn in_terms(limit: Option<Duration>) -> u32 {
    let milliseconds = |limit: Duration| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    limit.map_or(0, |limit| milliseconds(limit).max(1))
}

/// Whether a worker may say of its client that nothing has moved for too long: it has been told
/// of a limit, before his handshake or after it, or it is not known whether it has.
pub(in crate::server) fn may_be_called_idle(attributes: &Attributes, fronted: &Fronted) -> bool {
    let was_told = fronted.terms.is_none_or(|terms| terms.idle > 0);
    was_told || limit_at_worker(attributes, fronted).is_some()
}

fn later(when: Instant, time: Duration) -> Instant {
    // Limits are ten years at most.
    when.checked_add(time).unwrap_or(when)
}

/// A relay that may not be still for too long.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "(Duration, Moment)", into = "(Duration, Moment)")]
pub(in crate::server) struct Stillness {
    pub(in crate::server) limit: Duration,
    /// When one of its sockets was last announced.
    pub(in crate::server) last: Instant,
    pub(in crate::server) due: Instant,
}

impl Stillness {
    pub(in crate::server) fn new(limit: Duration, last: Instant) -> Self {
        Self { limit, last, due: later(last, limit) }
    }
}

impl From<(Duration, Moment)> for Stillness {
    fn from((limit, last): (Duration, Moment)) -> Self {
        Self::new(limit, last.into())
    }
}

impl From<Stillness> for (Duration, Moment) {
    fn from(still: Stillness) -> Self {
        (still.limit, still.last.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Nothing has been sent or received since the connection began, so long ago.
    fn silent(ago: Duration) -> Seen {
        Seen { since_received: ago, since_sent: ago, since_answered: ago, taken: 1, waits: false }
    }

    fn at(seconds: u32) -> impl Fn(Instant) -> Instant {
        move |start| start + SECOND * seconds
    }

    #[test]
    fn what_comes_moves() {
        let start = Instant::now();
        let mut movement = Movement::since(start);
        movement.see(at(10)(start), &Seen { since_received: SECOND * 3, ..silent(SECOND * 10) });
        assert_eq!(movement.last, at(7)(start));
        movement.see(at(20)(start), &Seen { since_received: SECOND * 13, ..silent(SECOND * 20) });
        assert_eq!(movement.last, at(7)(start), "and then it does not");
    }

    #[test]
    fn what_is_taken_moves_and_what_is_sent_again_does_not() {
        let start = Instant::now();
        let mut movement = Movement::since(start);
        let sent = Seen { since_sent: SECOND * 4, taken: 100, ..silent(SECOND * 10) };
        movement.see(at(10)(start), &sent);
        assert_eq!(movement.last, at(6)(start));
        // More is sent, over and over, and nobody takes it; the system is still answered.
        let stuck = Seen {
            since_received: SECOND * 20,
            since_sent: SECOND,
            since_answered: SECOND,
            waits: true,
            ..sent
        };
        movement.see(at(20)(start), &stuck);
        assert_eq!(movement.last, at(6)(start));
        // Some of it is taken at last.
        movement.see(at(30)(start), &Seen { since_received: SECOND * 30, taken: 101, ..stuck });
        assert_eq!(movement.last, at(29)(start));
    }
}
