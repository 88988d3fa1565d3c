//! How the server comes to its end: at once, or after it has let everybody finish.

mod endings;
mod turns;

use std::time::{Duration, Instant};

/// How far the server is on its way to an end that lets everybody finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DrainState {
    /// It is on none.
    No,
    /// It says that it is not ready, and serves whoever comes all the same until this moment:
    /// whoever sends clients here has that long to hear it. Then they have this time.
    Announced(Instant, Duration),
    /// Nobody new is let in, and whoever is there may go on by itself until this moment.
    Until(Instant),
}

impl DrainState {
    /// Whether it will end.
    pub(super) fn is_announced(self) -> bool {
        self != Self::No
    }

    /// How long those who are here have still, at most; none where the server is on no way to its
    /// end.
    pub(super) fn left(self, now: Instant) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::Announced(begins, time) => {
                Some(begins.saturating_duration_since(now).saturating_add(time))
            }
            Self::Until(end) => Some(end.saturating_duration_since(now)),
        }
    }

    /// Whether sockets are not opened any more.
    pub(super) fn closes(self) -> bool {
        matches!(self, Self::Until(_))
    }
}

/// How the server comes to its end when it has been told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerEnding {
    /// It has not.
    No,
    /// Programs that end with it are waited for.
    Waits,
    /// It has been told twice.
    AtOnce,
}
