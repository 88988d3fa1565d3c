//! Spares: children that are made before they are needed, while clients come one after the
//! other and there is time between them. Two at most wait; who has not been needed for a
//! while is let go, so that an idle server has no process but its programs'.

use std::mem;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::child::{Armed, ChildSlot};
use crate::sys::process;

/// Programs that are started within this time come one after the other, and a spare that
/// has not been needed for so long is not going to be.
const SOON: Duration = Duration::from_millis(100);

/// How soon one that is let go is looked at again.
const MOMENT: Duration = Duration::from_millis(1);

/// How soon one is that somebody (a tracer) keeps from ending.
const LATER: Duration = Duration::from_secs(1);

/// Those that wait, and those that were let go.
#[derive(Default)]
pub(super) struct Spares {
    /// The oldest first.
    waiting: Vec<(ChildSlot<Armed>, Instant)>,
    /// Let go and not reaped yet.
    ended: Vec<i32>,
    /// How often they have been looked at in vain since one ended last.
    looks: u32,
    /// Programs that have been started since [`Self::are_wanted`] was asked last.
    starts: u32,
    /// One of them became of a spare.
    sent: bool,
    /// More are to be made in the next turn in which nobody comes.
    due: bool,
    last_start: Option<Instant>,
    /// How many have been started one after the other, each soon after the one before.
    in_a_row: u32,
    /// Somebody is going to look at them.
    watched: bool,
}

/// For the next client, and for the one after it, if that comes before there was time.
const STOCK: usize = 2;

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

    /// One has been sent off.
    pub(super) fn count_sent(&mut self) {
        self.sent = true;
    }

    /// To be asked once a turn: whether to make some. Programs have been started alone, each
    /// soon after the one before, and there is room; and if the last of them became of one,
    /// this is not its turn.
    pub(super) fn are_wanted(&mut self, now: Instant) -> bool {
        let (starts, sent) = (mem::take(&mut self.starts), mem::take(&mut self.sent));
        if starts == 0 {
            return mem::take(&mut self.due) && self.have_room();
        }
        let before = self.last_start.replace(now);
        let soon = before.is_some_and(|before| now.saturating_duration_since(before) < SOON);
        let alone = soon && starts == 1;
        self.in_a_row = if alone { self.in_a_row.saturating_add(1) } else { 0 };
        let wanted = self.in_a_row >= ROW && self.have_room();
        self.due = wanted && sent;
        wanted && !sent
    }

    /// Whether some are to be made in the next turn in which nobody comes.
    pub(super) fn are_due(&self) -> bool {
        self.due
    }

    /// Whether more may wait.
    pub(super) fn have_room(&self) -> bool {
        self.waiting.len() < STOCK
    }

    /// There is one more now. True if somebody has to begin to look at them.
    pub(super) fn keep(&mut self, spare: ChildSlot<Armed>, now: Instant) -> bool {
        self.waiting.push((spare, now));
        !mem::replace(&mut self.watched, true)
    }

    /// One, if there is any, which may have ended; for whoever wants it. The youngest: what it
    /// needs may be in a processor's cache still.
    pub(super) fn take(&mut self) -> Option<ChildSlot<Armed>> {
        self.waiting.pop().map(|(spare, _)| spare)
    }

    /// One that has waited in vain for long enough.
    pub(super) fn take_old(&mut self, now: Instant) -> Option<ChildSlot<Armed>> {
        self.waiting
            .extract_if(.., |(_, since)| now >= *since + SOON)
            .next()
            .map(|(spare, _)| spare)
    }

    /// Whether it waits.
    pub(super) fn is_waiting(&self, pid: i32) -> bool {
        self.waiting.iter().any(|(spare, _)| spare.pid() == pid)
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

    /// Neither any that waits nor one that is not reaped.
    pub(super) fn are_none(&self) -> bool {
        self.waiting.is_empty() && self.ended.is_empty()
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
            self.waiting.first().map(|(_, since)| *since + SOON)
        };
        self.watched = next.is_some();
        next
    }
}

fn is_gone(pid: i32) -> bool {
    match process::ended(Some(pid), true) {
        Ok(ended) => ended.is_some(),
        Err(error) => error.raw_os_error() == Some(Errno::ECHILD as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spares_are_wanted_while_clients_come_one_by_one() {
        let (mut spares, mut now) = (Spares::default(), Instant::now());
        let mut turn = |starts: u32, later: Duration| {
            now += later;
            (0..starts).for_each(|_| spares.count_start());
            spares.are_wanted(now)
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
    fn who_is_sent_off_goes_first() {
        let (mut spares, mut now) = (Spares::default(), Instant::now());
        let mut turn = |starts: u32, sent: bool| {
            now += MOMENT;
            (0..starts).for_each(|_| spares.count_start());
            if sent {
                spares.count_sent();
            }
            (spares.are_wanted(now), spares.are_due())
        };
        for _ in 0..ROW {
            assert_eq!(turn(1, false), (false, false));
        }
        assert_eq!(turn(1, true), (false, true));
        assert_eq!(turn(0, false), (true, false), "in the next turn there is time");
        assert_eq!(turn(0, false), (false, false), "once");
        assert_eq!(turn(1, true), (false, true));
        assert_eq!(turn(1, false), (true, false), "somebody had to do without");
        assert_eq!(turn(1, true), (false, true));
        assert_eq!(turn(3, true), (false, false), "and so had these, who are many");
        assert_eq!(turn(0, false), (false, false));
    }

    #[test]
    fn nobody_looks_where_there_is_nothing_to_look_at() {
        let mut spares = Spares::default();
        let now = Instant::now();
        assert!(spares.take().is_none() && spares.take_old(now).is_none() && spares.are_none());
        assert_eq!(spares.next_look(now), None);
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
