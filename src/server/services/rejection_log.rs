//! Limits and refusals in the log. Of refusals at most one line a second for each service and
//! reason, with the number of those that got none. What is kept is one record a reason.

mod turns;

use std::time::{Duration, Instant};

use crate::admission::Reason;
use crate::log::events::Why;
use crate::net::fronted::Whom;

/// Between two lines of one service and reason.
const BETWEEN: Duration = Duration::from_secs(1);

/// What the log has told and will tell of one service.
#[derive(Debug, Default)]
pub(in crate::server) struct Refusals(Vec<RejectionsTold>);

#[derive(Debug)]
struct RejectionsTold {
    reason: Reason,
    /// When the last line was written.
    at: Instant,
    /// Refusals since then.
    untold: u64,
    /// The last of them, and what else is known of it.
    whom: Whom,
    why: Why,
}

/// What is to be done about a refusal.
#[derive(Debug, PartialEq, Eq)]
enum RejectionAction {
    Now,
    /// With others, at this moment.
    At(Instant),
    /// With those for whom that has been arranged.
    WithOthers,
}

/// A line: reason, one peer, how many others.
type RejectionLine = (Reason, (Whom, Why), u64);

impl Refusals {
    fn add(&mut self, reason: Reason, (whom, why): (Whom, Why), now: Instant) -> RejectionAction {
        let Some(told) = self.0.iter_mut().find(|told| told.reason == reason) else {
            self.0.push(RejectionsTold { reason, at: now, untold: 0, whom, why });
            return RejectionAction::Now;
        };
        if told.untold == 0 && now.saturating_duration_since(told.at) >= BETWEEN {
            told.at = now;
            return RejectionAction::Now;
        }
        (told.whom, told.why) = (whom, why);
        told.untold = told.untold.saturating_add(1);
        if told.untold == 1 {
            RejectionAction::At(told.at + BETWEEN)
        } else {
            RejectionAction::WithOthers
        }
    }

    /// The lines that are due at a moment; all if there is none.
    fn take(&mut self, now: Option<Instant>) -> Vec<RejectionLine> {
        let mut lines = Vec::new();
        for told in &mut self.0 {
            let due = now.is_none_or(|now| now.saturating_duration_since(told.at) >= BETWEEN);
            if due && let Some(left_out) = told.untold.checked_sub(1) {
                lines.push((told.reason, (told.whom, told.why), left_out));
                told.untold = 0;
                told.at = now.unwrap_or(told.at);
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::Address;

    fn peer(port: u16) -> (Whom, Why) {
        (Address::Inet(([127, 0, 0, 1], port).into()).into(), Why::Plain)
    }

    #[test]
    fn a_flood_is_one_line_a_second_and_everybody_is_counted() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let mut told = 0;
        for tick in 0..10_000u16 {
            let now = start + Duration::from_millis(tick.into());
            for (_, _, left_out) in refusals.take(Some(now)) {
                told += left_out + 1;
            }
            told += u64::from(refusals.add(Reason::Rate, peer(tick), now) == RejectionAction::Now);
        }
        let last = refusals.take(None);
        assert_eq!(last.len(), 1);
        assert_eq!(last.first().map(|(_, (whom, _), _)| *whom), Some(peer(9_999).0));
        told += last.iter().map(|(_, _, left_out)| left_out + 1).sum::<u64>();
        assert_eq!(told, 10_000);
        assert_eq!(refusals.0.len(), 1);
    }

    #[test]
    fn reasons_are_apart_and_a_line_is_due_a_second_after_the_last() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.add(Reason::Access, peer(1), start), RejectionAction::Now);
        assert_eq!(refusals.add(Reason::Rate, peer(1), start), RejectionAction::Now);
        assert_eq!(
            refusals.add(Reason::Access, peer(2), start),
            RejectionAction::At(start + BETWEEN)
        );
        assert_eq!(refusals.add(Reason::Access, peer(3), start), RejectionAction::WithOthers);
        assert_eq!(refusals.take(Some(start)), []);
        let later = start + BETWEEN;
        assert_eq!(refusals.take(Some(later)), [(Reason::Access, peer(3), 1)]);
        assert_eq!(refusals.add(Reason::Rate, peer(4), later), RejectionAction::Now);
        assert_eq!(
            refusals.add(Reason::Access, peer(5), later),
            RejectionAction::At(later + BETWEEN)
        );
    }
}
