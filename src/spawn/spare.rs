//! Spares: children that are made before they are needed, while clients come one after the
//! other and there is time between them. One at most waits; who has not been needed for a
//! while is let go, so that an idle server has no process but its programs'.

use std::mem;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::InFlight;

/// Programs that are started within this time come one after the other, and a spare that
/// has not been needed for so long is not going to be.
const SOON: Duration = Duration::from_millis(100);

/// How soon one that is let go is looked at again.
const MOMENT: Duration = Duration::from_millis(1);

/// How soon one is that somebody (a tracer) keeps from ending.
const LATER: Duration = Duration::from_secs(1);

/// The spare, and those that were let go.
#[derive(Default)]
pub(super) struct Spares {
    waiting: Option<(InFlight, Instant)>,
    /// Let go and not reaped yet.
    ended: Vec<i32>,
    /// How often they have been looked at in vain since one ended last.
    looks: u32,
    /// Programs that have been started since [`Self::is_wanted`] was asked last.
    starts: u32,
    last_start: Option<Instant>,
    /// How many have been started one after the other, each soon after the one before.
    in_a_row: u32,
    /// Somebody is going to look at them.
    watched: bool,
}

/// So many clients have come one by one before a child is made ahead for the next. Where
/// several come at once, the processors have no time for it.
const ROW: u32 = 8;

/// Looks in vain after which there is no hurry.
const PATIENCE: u32 = 20;

impl Spares {
    /// A program is being started.
    pub(super) fn count_start(&mut self) {
        self.starts = self.starts.saturating_add(1);
    }

    /// To be asked once a turn: whether a program has been started in it, alone, as the ones
    /// before, soon after them, and there is no spare for the next.
    pub(super) fn is_wanted(&mut self, now: Instant) -> bool {
        let starts = mem::take(&mut self.starts);
        if starts == 0 {
            return false;
        }
        let before = self.last_start.replace(now);
        let soon = before.is_some_and(|before| now.saturating_duration_since(before) < SOON);
        let alone = soon && starts == 1;
        self.in_a_row = if alone { self.in_a_row.saturating_add(1) } else { 0 };
        self.in_a_row >= ROW && self.waiting.is_none()
    }

    /// There is one now. True if somebody has to begin to look at it.
    pub(super) fn keep(&mut self, spare: InFlight, now: Instant) -> bool {
        self.waiting = Some((spare, now));
        !mem::replace(&mut self.watched, true)
    }

    /// The spare, if it has not ended; for whoever wants it.
    pub(super) fn take(&mut self) -> Option<InFlight> {
        self.waiting.take().map(|(spare, _)| spare)
    }

    /// Its process id.
    pub(super) fn waiting(&self) -> Option<i32> {
        self.waiting.as_ref().map(|(spare, _)| spare.pid)
    }

    /// Whether it has waited in vain for long enough.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.waiting.as_ref().is_some_and(|(_, since)| now >= *since + SOON)
    }

    /// Ends one that is nobody's program, and remembers to reap it.
    pub(super) fn end(&mut self, pid: i32) {
        // Not reaped, so the number is its own.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        self.ended.push(pid);
        self.looks = 0;
    }

    /// Whether it was let go, and is not reaped yet.
    pub(super) fn has_ended(&self, pid: i32) -> bool {
        self.ended.contains(&pid)
    }

    /// Neither one that waits nor one that is not reaped.
    pub(super) fn are_none(&self) -> bool {
        self.waiting.is_none() && self.ended.is_empty()
    }

    /// Reaps those that have ended; who they are.
    pub(super) fn reap(&mut self) -> Vec<i32> {
        let (gone, left) = mem::take(&mut self.ended).into_iter().partition(|pid| is_gone(*pid));
        self.ended = left;
        gone
    }

    /// When to look at them again; if at all.
    pub(super) fn next_look(&mut self, now: Instant) -> Option<Instant> {
        let next = if !self.ended.is_empty() {
            self.looks = self.looks.saturating_add(1);
            Some(now + if self.looks < PATIENCE { MOMENT } else { LATER })
        } else {
            self.waiting.as_ref().map(|(_, since)| *since + SOON)
        };
        self.watched = next.is_some();
        next
    }
}

fn is_gone(pid: i32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    match waitid(Id::Pid(Pid::from_raw(pid)), flags) {
        Ok(status) => status != WaitStatus::StillAlive,
        Err(error) => error == Errno::ECHILD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_is_wanted_while_clients_come_one_by_one() {
        let (mut spares, mut now) = (Spares::default(), Instant::now());
        let mut turn = |starts: u32, later: Duration| {
            now += later;
            (0..starts).for_each(|_| spares.count_start());
            spares.is_wanted(now)
        };
        assert!(!turn(1, SOON), "the first has none before it");
        for _ in 1..ROW {
            assert!(!turn(1, MOMENT));
        }
        assert!(turn(1, MOMENT) && turn(1, MOMENT));
        assert!(!turn(0, MOMENT), "nobody has come");
        assert!(turn(1, MOMENT), "which is no reason to begin again");
        assert!(!turn(2, MOMENT) && !turn(1, MOMENT), "several at once are");
        for _ in 2..ROW {
            assert!(!turn(1, MOMENT));
        }
        assert!(turn(1, MOMENT));
        assert!(!turn(1, SOON), "and so is a pause");
    }

    #[test]
    fn nobody_looks_where_there_is_nothing_to_look_at() {
        let mut spares = Spares::default();
        let now = Instant::now();
        assert!(!spares.is_old(now) && spares.are_none());
        assert_eq!((spares.next_look(now), spares.waiting()), (None, None));
        // One that is not gone is looked at soon, and later less often.
        spares.ended.push(i32::MAX);
        assert_eq!(spares.next_look(now), Some(now + MOMENT));
        assert!(spares.has_ended(i32::MAX) && !spares.are_none());
        for _ in 0..PATIENCE {
            let _ = spares.next_look(now);
        }
        assert_eq!(spares.next_look(now), Some(now + LATER));
        // It is nobody's child.
        assert_eq!(spares.reap(), [i32::MAX]);
        assert!(spares.are_none());
    }
}
