//! Programs whose end does not come, or is not told. A stranger who traces one (ptrace(2)) is
//! told of it in our place until he lets go; and one that is frozen, or that the kernel holds,
//! does not end by KILL either. Neither may keep a place, a socket or the server for good.

mod turns;

use std::time::{Duration, Instant};

/// So long whoever debugs a program with our knowledge may take to let its end be told.
const TOLD: Duration = Duration::from_secs(1);

/// So long after KILL the server waits for an end before its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon it is looked again after that.
const SELDOM: Duration = Duration::from_secs(16);

/// How far a program is on its way to an end.
#[derive(Debug, Default)]
pub(in crate::server) struct Dying {
    /// When it has had KILL.
    killed: Option<Instant>,
    /// Since when it is known to be dead, without a word of how.
    dead: Option<Instant>,
}

impl Dying {
    /// When to look after one that has had KILL.
    fn next_look(&self, now: Instant) -> Option<Instant> {
        let since = now.saturating_duration_since(self.killed?);
        Some(now + if since < PATIENCE { TOLD } else { SELDOM })
    }

    /// Whether KILL has not ended it.
    fn does_not_end(&self, now: Instant) -> bool {
        self.killed.is_some_and(|killed| now.saturating_duration_since(killed) >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_had_kill_is_looked_after_often_first_and_is_not_waited_for_long() {
        let began = Instant::now();
        let later = |seconds| began + Duration::from_secs(seconds);
        let mut dying = Dying::default();
        assert_eq!((dying.next_look(began), dying.does_not_end(later(1_000))), (None, false));
        dying.killed = Some(began);
        assert_eq!(
            (dying.next_look(later(9)), dying.does_not_end(later(9))),
            (Some(later(10)), false)
        );
        assert_eq!(
            (dying.next_look(later(10)), dying.does_not_end(later(10))),
            (Some(later(26)), true)
        );
    }
}
