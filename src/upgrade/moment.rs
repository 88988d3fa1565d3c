//! Moments: nanoseconds of the clock behind [`Instant`] (CLOCK_MONOTONIC), which goes
//! on through exec(2) but has no numbers in std.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(pub u64);

/// One moment in both forms, by which others are converted.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    instant: Instant,
    nanos: u64,
}

impl Clock {
    /// Looks at the clock.
    pub fn now() -> Self {
        // The clock is there, or std would have none.
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        Self { instant: Instant::now(), nanos: nanos_of(time.unwrap_or_default()) }
    }

    /// As a number.
    #[must_use]
    pub fn moment(self, instant: Instant) -> Moment {
        let after = nanos_of(instant.saturating_duration_since(self.instant));
        let before = nanos_of(self.instant.saturating_duration_since(instant));
        Moment(self.nanos.saturating_add(after).saturating_sub(before))
    }

    /// As std knows it; now if it cannot be told.
    #[must_use]
    pub fn instant(self, moment: Moment) -> Instant {
        let after = Duration::from_nanos(moment.0.saturating_sub(self.nanos));
        let before = Duration::from_nanos(self.nanos.saturating_sub(moment.0));
        let instant = self.instant.checked_add(after).and_then(|it| it.checked_sub(before));
        instant.unwrap_or(self.instant)
    }
}

/// The one by which instants are written and read that have this module for serde.
static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::now);

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        CLOCK.moment(instant)
    }
}

impl From<Moment> for Instant {
    fn from(moment: Moment) -> Self {
        CLOCK.instant(moment)
    }
}

/// As a number.
///
/// # Errors
/// The serializer's.
pub(crate) fn serialize<S: Serializer>(instant: &Instant, to: S) -> Result<S::Ok, S::Error> {
    Moment::from(*instant).serialize(to)
}

/// As std knows it.
///
/// # Errors
/// The deserializer's.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Instant, D::Error> {
    Moment::deserialize(from).map(Instant::from)
}

/// The same of one that there may be.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, Instant, Moment, Serialize, Serializer};

    /// As a number, or none.
    ///
    /// # Errors
    /// The serializer's.
    pub(crate) fn serialize<S: Serializer>(
        instant: &Option<Instant>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        instant.map(Moment::from).serialize(to)
    }

    /// As std knows it.
    ///
    /// # Errors
    /// The deserializer's.
    pub(crate) fn deserialize<'de, D>(from: D) -> Result<Option<Instant>, D::Error>
    where
        D: Deserializer<'de>,
    {
        Ok(Option::<Moment>::deserialize(from)?.map(Instant::from))
    }
}

fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn two_clocks_agree() {
        let (first, instant) = (Clock::now(), Instant::now());
        let there_and_back = Clock::now().instant(first.moment(instant));
        let off = there_and_back.max(instant) - there_and_back.min(instant);
        // As long as it takes between two looks at the clock.
        assert!(off < Duration::from_secs(1), "{off:?}");
    }

    proptest! {
        #[test]
        fn moments_come_back(past in 0u64..1_000_000_000, future: u32) {
            let clock = Clock { instant: Instant::now(), nanos: 10_000_000_000 };
            for instant in [
                clock.instant - Duration::from_nanos(past),
                clock.instant + Duration::from_millis(future.into()),
            ] {
                prop_assert_eq!(clock.instant(clock.moment(instant)), instant);
            }
        }

        #[test]
        fn no_number_is_too_strange(nanos: u64) {
            let clock = Clock::now();
            let _ = clock.instant(Moment(nanos));
        }
    }
}
