//! `wait` services that would be started for ever, and for nobody: a program that sends its own
//! socket something and ends is started for that.
//!
//! One that serves one client and ends, for each of many, looks alike: there is always something
//! that waits. So after a long row of such runs it is asked whether somebody is there: one from
//! elsewhere, or one who has the socket still that it came from
//! ([askers](crate::net::askers)). If nobody is, the service rests, until its time is over or
//! somebody comes, and that he does is told by the poll. So whoever sends something and goes,
//! for which no answer is, costs the others nothing: the next one ends the rest. Where so much
//! waits that there may be no room for the next one, each rest is a short one.

mod turns;

use std::time::{Duration, Instant};

/// Runs in a row. Hardly any queue of datagrams holds so many: who was there when it began has
/// been served by then.
const ROW: u32 = 512;

/// One that takes longer than that, or has such a gap, costs nobody anything.
const ITS_TIME: Duration = Duration::from_secs(128);
const APART: Duration = Duration::from_secs(1);

/// Short runs of a `wait` program, one after the other.
#[derive(Debug, Default)]
pub(in crate::server) struct Row {
    runs: u32,
    /// When the first and the last has ended.
    times: Option<(Instant, Instant)>,
    /// The service rests for it, or has done so until now.
    rests: bool,
}

impl Row {
    pub(super) fn run_ends(&mut self, was_long: bool, now: Instant) {
        if was_long {
            return self.forget();
        }
        let first = self.times.map_or(now, |(first, _)| first);
        (self.runs, self.times) = (self.runs.saturating_add(1), Some((first, now)));
    }

    /// Whether it is as long as none should be.
    pub(super) fn is_endless(&self) -> bool {
        self.runs >= ROW
    }

    /// Whether nobody may be there for whom the next would be started. It is once it has rested.
    fn is_in_doubt(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.rests) {
            return false;
        }
        let Some((first, last)) = self.times else { return false };
        let is_slow = self.runs == ROW && now.saturating_duration_since(first) > ITS_TIME;
        if is_slow || now.saturating_duration_since(last) > APART {
            self.forget();
        }
        self.is_endless()
    }

    /// It rests. How often it has done so before.
    fn begins_to_rest(&mut self) -> u32 {
        self.rests = true;
        self.runs.saturating_sub(ROW)
    }

    /// Whether it has rested until somebody has come.
    pub(super) fn is_over_by_somebody(&mut self) -> bool {
        let is_over = self.rests;
        if is_over {
            self.forget();
        }
        is_over
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(runs: u32, now: Instant) -> Row {
        let mut row = Row::default();
        (0..runs).for_each(|_| row.run_ends(false, now));
        row
    }

    #[test]
    fn a_long_row_of_runs_is_in_doubt_and_each_rest_is_for_one_more() {
        let now = Instant::now();
        assert!(!after(ROW - 1, now).is_in_doubt(now));
        let mut row = after(ROW, now);
        assert!(row.is_in_doubt(now) && row.begins_to_rest() == 0);
        assert!(!row.is_in_doubt(now + APART * 2));
        row.run_ends(false, now + APART * 2);
        assert!(row.is_in_doubt(now + APART * 2) && row.begins_to_rest() == 1);
        assert!(row.is_over_by_somebody() && !row.is_over_by_somebody());
        assert!(!row.is_in_doubt(now) && !row.is_endless());
    }

    #[test]
    fn runs_that_take_their_time_or_come_later_are_no_row() {
        let now = Instant::now();
        assert!(!after(ROW, now).is_in_doubt(now + APART * 2));
        let mut row = after(ROW - 1, now);
        row.run_ends(false, now + ITS_TIME * 2);
        assert!(!row.is_in_doubt(now + ITS_TIME * 2) && !row.is_endless());
        let mut row = after(ROW, now);
        row.run_ends(true, now);
        assert!(!row.is_in_doubt(now));
    }
}
