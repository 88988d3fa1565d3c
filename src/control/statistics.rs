//! What a service has done so far, in numbers: for `oxinetd status` and for metrics.
//! Plain counters; nothing here knows a clock or a socket.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bounds of the buckets for the time that starting a program takes the server.
pub(crate) const START_BOUNDS: [Duration; 8] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
];

/// Upper bounds of the buckets for the time that a program or a conversation runs.
pub(crate) const RUN_BOUNDS: [Duration; 10] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
];

/// How often something took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// By bucket, the last one beyond all bounds; empty before the first.
    counts: Vec<u64>,
    nanos: u64,
}

impl Histogram {
    /// Counts one that took `time`; `bounds` must be the same each time.
    pub fn add(&mut self, bounds: &[Duration], time: Duration) {
        self.counts.resize(bounds.len().saturating_add(1), 0);
        let bucket = bounds.partition_point(|bound| *bound < time);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos = self.nanos.saturating_add(nanos);
    }

    /// How many took no longer than each bound, in their order.
    pub fn cumulative(&self, bounds: &'static [Duration]) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.counts.iter().copied().chain(std::iter::repeat(0));
        let sums = counts.scan(0u64, |sum, count| {
            *sum = sum.saturating_add(count);
            Some(*sum)
        });
        bounds.iter().copied().zip(sums)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How long all of them took together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// The last thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// Seconds since 1970.
    pub time: u64,
    /// What was tried and what the system answered.
    pub message: String,
}

/// A word of ours or one that was read.
type StatisticWord = Cow<'static, str>;

/// The counters of one service, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Connections that were served, starts of `wait` programs, and datagrams that built-in
    /// services answered.
    pub accepted: u64,
    /// Those turned away, by the reason that the log tells.
    pub refused: BTreeMap<StatisticWord, u64>,
    /// Those admitted that could not be served.
    pub failed: u64,
    /// Ends of programs: by status (`0`, `1`, …), signal (`SIGTERM`) or `unknown`.
    pub exits: BTreeMap<StatisticWord, u64>,
    /// How long the server was busy starting each program.
    pub start_time: Histogram,
    /// How long programs and conversations ran.
    pub run_time: Histogram,
    /// Bytes that programs wrote to standard error and that are not in the log:
    /// the rests of lines that are too long.
    pub stderr_dropped: u64,
    /// Why the last one who was admitted could not be served; none once somebody was.
    pub last_error: Option<LastError>,
}

impl Statistics {
    /// Somebody was turned away.
    pub fn refused(&mut self, reason: &'static str) {
        let count = self.refused.entry(Cow::Borrowed(reason)).or_default();
        *count = count.saturating_add(1);
    }

    /// How many were turned away, for whatever reason.
    pub fn refused_total(&self) -> u64 {
        self.refused.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// A program has ended after `time`.
    pub fn ended(&mut self, how: StatisticWord, time: Duration) {
        let count = self.exits.entry(how).or_default();
        *count = count.saturating_add(1);
        self.ran(time);
    }

    /// A program or a conversation has run for `time`.
    pub fn ran(&mut self, time: Duration) {
        self.last_error = None;
        self.run_time.add(&RUN_BOUNDS, time);
    }

    /// The server was busy for `time` starting a program.
    pub fn started(&mut self, time: Duration) {
        self.accepted = self.accepted.saturating_add(1);
        self.start_time.add(&START_BOUNDS, time);
    }

    /// A connection or a datagram is served without a program.
    pub fn served(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
    }

    /// Somebody who was admitted could not be served.
    pub fn failed(&mut self, time: u64, message: String) {
        self.failed = self.failed.saturating_add(1);
        self.last_error = Some(LastError { time, message });
    }
}

/// The word for an exit status. The common ones cost no memory.
pub(crate) fn exit_word(status: i32) -> StatisticWord {
    match status {
        0 => Cow::Borrowed("0"),
        1 => Cow::Borrowed("1"),
        other => Cow::Owned(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::default();
        for time in [Duration::ZERO, RUN_BOUNDS[0], RUN_BOUNDS[0] + Duration::from_nanos(1)] {
            histogram.add(&RUN_BOUNDS, time);
        }
        let counts: Vec<u64> = histogram.cumulative(&RUN_BOUNDS).map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!(histogram.sum(), Duration::from_nanos(2_000_001));
    }

    #[test]
    fn nothing_counted_is_nothing() {
        let histogram = Histogram::default();
        assert!(histogram.cumulative(&START_BOUNDS).all(|(_, count)| count == 0));
        assert_eq!((histogram.count(), histogram.sum()), (0, Duration::ZERO));
        assert_eq!(histogram.cumulative(&START_BOUNDS).count(), START_BOUNDS.len());
    }

    #[test]
    fn counts_by_reason_and_by_end() {
        let mut counters = Statistics::default();
        counters.refused("rate");
        counters.refused("rate");
        counters.refused("access");
        counters.ended(exit_word(0), Duration::ZERO);
        counters.ended(exit_word(77), Duration::ZERO);
        assert_eq!((counters.refused_total(), counters.refused["rate"]), (3, 2));
        assert_eq!((counters.exits["77"], counters.run_time.count()), (1, 2));
    }

    proptest! {
        #[test]
        fn every_time_is_in_one_bucket(nanos: Vec<u64>) {
            let mut histogram = Histogram::default();
            for nanos in &nanos {
                histogram.add(&RUN_BOUNDS, Duration::from_nanos(*nanos));
            }
            prop_assert_eq!(histogram.count(), u64::try_from(nanos.len()).unwrap());
            for (bound, count) in histogram.cumulative(&RUN_BOUNDS) {
                let within = nanos.iter().filter(|nanos| Duration::from_nanos(**nanos) <= bound);
                prop_assert_eq!(count, u64::try_from(within.count()).unwrap());
            }
        }
    }
}
