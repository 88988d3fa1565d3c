//! How often each source is answered: token buckets for a bounded number of sources.
//!
//! A bucket is one instant: when it will be full again (the generic cell rate
//! algorithm). The table forgets the source it has known longest. Forgetting
//! gives that source a full bucket again, which helps nobody: to be forgotten, as
//! many datagrams of other sources have to come first as the table has places.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::model::Rate;

/// Sources remembered.
pub(super) const SOURCES: usize = 4096;

/// A source: an IPv4 address, the /64 of an IPv6 address, or a process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    V4(u32),
    V6([u8; 8]),
    Process(i32),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The buckets. All are alike.
#[derive(Debug)]
pub(super) struct Buckets {
    /// A token comes back in this time; None if never.
    interval: Option<Duration>,
    /// An empty bucket is full after this time.
    depth: Duration,
    full_at: HashMap<Source, Instant>,
    /// The sources of the table, the one known longest first.
    ages: VecDeque<Source>,
}

impl Buckets {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            interval: rate.per.checked_div(rate.count),
            depth: rate.per,
            full_at: HashMap::new(),
            ages: VecDeque::new(),
        }
    }

    /// Takes a token of the source's bucket; whether there was one.
    pub(super) fn take(&mut self, now: Instant, source: impl Into<Source>) -> bool {
        let Some(interval) = self.interval else {
            return false;
        };
        let source = source.into();
        let missing = match self.full_at.get(&source) {
            Some(full_at) => full_at.saturating_duration_since(now),
            None => {
                self.remember(source);
                Duration::ZERO
            }
        };
        let missing = missing.saturating_add(interval);
        if missing > self.depth {
            return false;
        }
        self.full_at.insert(source, now.checked_add(missing).unwrap_or(now));
        true
    }

    fn remember(&mut self, source: Source) {
        if self.ages.len() >= SOURCES
            && let Some(oldest) = self.ages.pop_front()
        {
            self.full_at.remove(&oldest);
        }
        self.ages.push_back(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const FIFTY: Rate = Rate { count: 50, per: Duration::from_secs(1) };

    fn v4(bits: u32) -> IpAddr {
        Ipv4Addr::from_bits(bits).into()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut buckets = Buckets::new(FIFTY);
        let start = Instant::now();
        let granted =
            |buckets: &mut Buckets, now| (0..1000).filter(|_| buckets.take(now, v4(7))).count();
        assert_eq!(granted(&mut buckets, start), 50);
        assert_eq!(granted(&mut buckets, start + Duration::from_millis(19)), 0);
        assert_eq!(granted(&mut buckets, start + Duration::from_millis(20)), 1);
        assert_eq!(granted(&mut buckets, start + Duration::from_millis(120)), 5);
        assert_eq!(granted(&mut buckets, start + Duration::from_secs(3600)), 50);
        assert!(buckets.take(start, v4(8)), "another source has a bucket of its own");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let mut buckets = Buckets::new(Rate { count: 1, ..FIFTY });
        let now = Instant::now();
        let address = |net, host| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host));
        assert!(buckets.take(now, address(1, 1)));
        assert!(!buckets.take(now, address(1, 2)));
        assert!(buckets.take(now, address(2, 1)));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut buckets = Buckets::new(Rate { count: 1, ..FIFTY });
        let now = Instant::now();
        for bits in 0..u32::try_from(SOURCES).unwrap() {
            assert!(buckets.take(now, v4(bits)));
        }
        assert!(!buckets.take(now, v4(0)));
        assert!(buckets.take(now, v4(u32::MAX)));
        assert!(!buckets.take(now, v4(1)), "the second oldest is still known");
        assert!(buckets.take(now, v4(0)), "the oldest is forgotten");
        assert_eq!((buckets.ages.len(), buckets.full_at.len()), (SOURCES, SOURCES));
    }

    #[test]
    fn no_rate_at_all_answers_nobody() {
        let mut buckets = Buckets::new(Rate { count: 0, ..FIFTY });
        assert!(!buckets.take(Instant::now(), v4(1)));
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(steps in proptest::collection::vec(0_u64..40, 1..500)) {
            let mut buckets = Buckets::new(FIFTY);
            let (start, mut elapsed, mut granted) = (Instant::now(), 0, 0);
            for step in steps {
                elapsed += step;
                granted += u64::from(buckets.take(start + Duration::from_millis(elapsed), v4(1)));
                prop_assert!(granted <= 50 + elapsed / 20);
            }
        }
    }
}
