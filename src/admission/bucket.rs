//! A token bucket in eight bytes: the generic cell rate algorithm (ITU-T I.371) on integers.
//!
//! Instead of a number of tokens that would have to be topped up, a bucket keeps the
//! one moment at which it will be full again. Taking a token moves it away by the
//! time that one token needs; whether a token is there is a comparison with now.

use std::time::{Duration, Instant};

use crate::config::model::Rate;

/// A moment in nanoseconds since the [`Timeline`] began; 2^64 are 584 years.
pub(super) type Nanos = u64;

/// Turns moments into numbers and back. It begins with the first moment it is shown,
/// so that nothing here needs a clock.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    start: Option<Instant>,
}

impl Timeline {
    /// The moment as a number; moments before the first one are the first one.
    pub(super) fn nanos(&mut self, moment: Instant) -> Nanos {
        let start = *self.start.get_or_insert(moment);
        nanos_of(moment.saturating_duration_since(start))
    }

    /// The number as a moment; None if it is beyond what the clock can say.
    pub(super) fn instant(&self, nanos: Nanos) -> Option<Instant> {
        self.start?.checked_add(Duration::from_nanos(nanos))
    }
}

/// A span of time as a number, the largest one if it is longer.
pub(super) fn nanos_of(span: Duration) -> Nanos {
    Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX)
}

/// How a bucket fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Time that one token needs; None if there will never be one.
    token: Option<Nanos>,
    /// Time that a whole bucket needs.
    depth: Nanos,
}

impl From<Rate> for Pace {
    /// Rounded so that the rate is never exceeded.
    fn from(rate: Rate) -> Self {
        let count = u64::from(rate.count);
        if count == 0 {
            return Self { token: None, depth: 0 };
        }
        // A cap of 146 years keeps the sums below from saturating into "ready".
        let token = nanos_of(rate.per).min(Nanos::MAX / 4).div_ceil(count);
        Self { token: Some(token), depth: token.saturating_mul(count) }
    }
}

/// A bucket; full at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bucket {
    full_at: Nanos,
}

impl Bucket {
    /// The first moment from now on at which there is a token; None if never.
    pub(super) fn ready_at(self, pace: Pace, now: Nanos) -> Option<Nanos> {
        Some(self.full_at.max(now).saturating_add(pace.token?).saturating_sub(pace.depth).max(now))
    }

    /// Whether there is a token now.
    pub(super) fn is_ready(self, pace: Pace, now: Nanos) -> bool {
        self.ready_at(pace, now) == Some(now)
    }

    /// Takes a token, which must be there.
    pub(super) fn take(&mut self, pace: Pace, now: Nanos) {
        self.full_at = self.full_at.max(now).saturating_add(pace.token.unwrap_or(0));
    }

    /// Puts a token back.
    pub(super) fn give_back(&mut self, pace: Pace) {
        self.full_at = self.full_at.saturating_sub(pace.token.unwrap_or(0));
    }

    /// Whether nothing has been taken that has not been filled up since: a full
    /// bucket need not be remembered.
    pub(super) fn is_full(self, now: Nanos) -> bool {
        self.full_at <= now
    }

    /// Makes it as empty as it can be if it is emptier: after its pace has changed.
    pub(super) fn clamp(&mut self, pace: Pace, now: Nanos) {
        self.full_at = self.full_at.min(now.saturating_add(pace.depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    const SECOND: Nanos = 1_000_000_000;

    fn pace(count: u32, seconds: u64) -> Pace {
        Pace::from(Rate { count, per: Duration::from_secs(seconds) })
    }

    #[test]
    fn a_full_bucket_holds_count_tokens_and_fills_one_by_one() {
        let (pace, mut bucket) = (pace(4, 60), Bucket::default());
        for _ in 0..4 {
            assert!(bucket.is_ready(pace, 5));
            bucket.take(pace, 5);
        }
        assert_eq!(bucket.ready_at(pace, 5), Some(5 + 15 * SECOND));
        assert!(!bucket.is_ready(pace, 5 + 15 * SECOND - 1));
        assert!(bucket.is_ready(pace, 5 + 15 * SECOND));
        assert!(bucket.is_full(5 + 60 * SECOND));
    }

    #[test]
    fn a_token_given_back_is_there_again() {
        let (pace, mut bucket) = (pace(1, 1), Bucket::default());
        bucket.take(pace, 7);
        bucket.give_back(pace);
        assert!(bucket.is_ready(pace, 7));
        assert!(bucket.is_full(7));
    }

    #[test]
    fn nothing_is_ever_admitted_by_a_rate_of_zero() {
        assert_eq!(Bucket::default().ready_at(pace(0, 1), 3), None);
    }

    #[test]
    fn a_smaller_bucket_is_clamped() {
        let (slow, fast, mut bucket) = (pace(1, 86_400), pace(1, 1), Bucket::default());
        bucket.take(slow, 0);
        bucket.clamp(fast, 0);
        assert_eq!(bucket.ready_at(fast, 0), Some(SECOND));
    }

    proptest! {
        #[test]
        fn never_more_than_a_burst_and_the_rate(
            count in 1u32..2_000, seconds in 1u64..100,
            gaps in proptest::collection::vec(0u64..SECOND / 4, 1..500),
        ) {
            let (pace, mut bucket) = (pace(count, seconds), Bucket::default());
            let (mut now, mut taken) = (0, 0u64);
            for gap in gaps {
                now += gap;
                if bucket.is_ready(pace, now) {
                    bucket.take(pace, now);
                    taken += 1;
                }
                let filled = u128::from(now) * u128::from(count) / u128::from(seconds * SECOND);
                prop_assert!(u128::from(taken) <= u128::from(count) + filled);
            }
        }

        #[test]
        fn no_arithmetic_overflows(
            count in any::<u32>(), per in any::<u64>(), at in any::<u64>(), now in any::<u64>(),
        ) {
            let pace = Pace::from(Rate { count, per: Duration::from_secs(per) });
            let mut bucket = Bucket { full_at: at };
            bucket.take(pace, now);
            prop_assert!(bucket.ready_at(pace, now).is_none_or(|ready| ready >= now));
            bucket.give_back(pace);
        }
    }
}
