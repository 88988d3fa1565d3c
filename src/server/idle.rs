//! What serving clients has taken of the system's memory is given back when nobody has
//! come for a while: a superserver is idle most of its time. It comes back as it is needed,
//! which costs the first client after that some tens of microseconds.

mod turns;

use std::time::{Duration, Instant};

/// Nothing has happened for so long.
const A_WHILE: Duration = Duration::from_secs(10);

/// When something last happened, and whether timers are set.
#[derive(Debug, Default)]
pub(super) struct IdleMemory {
    last: Option<Instant>,
    watched: bool,
    /// Whether there is a time for reaping what has come to us.
    pub(super) reaps: bool,
}

impl IdleMemory {
    /// Something happens now; when to look whether it was the last for a while, if nobody
    /// is going to.
    fn note_activity(&mut self, now: Instant) -> Option<Instant> {
        self.last = Some(now);
        (!std::mem::replace(&mut self.watched, true)).then(|| now + A_WHILE)
    }

    /// That time has come; when to look again, if it is too early.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        let again = self.last.map(|last| last + A_WHILE).filter(|when| *when > now);
        self.watched = again.is_some();
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_a_while_after_the_last_that_happened() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut quiet = IdleMemory::default();
        assert_eq!(quiet.note_activity(at(0)), Some(at(10)));
        assert_eq!((quiet.note_activity(at(3)), quiet.note_activity(at(7))), (None, None));
        assert_eq!(quiet.look(at(10)), Some(at(17)));
        assert_eq!(quiet.look(at(17)), None, "now it is");
        assert_eq!(quiet.note_activity(at(60)), Some(at(70)));
    }
}
