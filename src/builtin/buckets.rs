//! How often each source is answered by a service: token buckets for a bounded number of them.
//!
//! A bucket is one instant: when it will be full again (the generic cell rate
//! algorithm). The table forgets the source it has known longest. Forgetting
//! gives that source a full bucket again, which helps nobody: to be forgotten, as
//! many datagrams of other sources have to come first as the table has places.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::admission::ServiceId;
use crate::config::model::Rate;

/// Sources remembered, each as often as it has asked another service.
pub(super) const SOURCES: usize = 4096;

/// A source: an IPv4 address, the /64 of an IPv6 address, or a process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BucketSource {
    V4(u32),
    V6([u8; 8]),
    Process(i32),
}

impl From<IpAddr> for BucketSource {
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

/// Whose bucket it is: that of a source at a service, or at all of them.
type BucketOwner = (Option<ServiceId>, BucketSource);

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    full_at: HashMap<BucketOwner, Instant>,
    /// Those of the table, the one known longest first.
    ages: VecDeque<BucketOwner>,
}

impl Buckets {
    /// Takes a token of a bucket that holds as many as `rate` says; whether there was one.
    pub(super) fn take(
        &mut self,
        now: Instant,
        (service, source): (Option<ServiceId>, BucketSource),
        rate: Rate,
    ) -> bool {
        // A token comes back in this time; never where there are none.
        let Some(interval) = rate.per.checked_div(rate.count) else {
            return false;
        };
        let owner = (service, source);
        let missing = match self.full_at.get(&owner) {
            // A reload may have made it smaller.
            Some(full_at) => full_at.saturating_duration_since(now).min(rate.per),
            None => {
                self.remember(owner);
                Duration::ZERO
            }
        };
        let missing = missing.saturating_add(interval);
        let granted = missing <= rate.per;
        let missing = if granted { missing } else { missing.saturating_sub(interval) };
        self.full_at.insert(owner, now.checked_add(missing).unwrap_or(now));
        granted
    }

    fn remember(&mut self, owner: BucketOwner) {
        if self.ages.len() >= SOURCES
            && let Some(oldest) = self.ages.pop_front()
        {
            self.full_at.remove(&oldest);
        }
        self.ages.push_back(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const FIFTY: Rate = Rate { count: 50, per: Duration::from_secs(1) };

    const ONE: Rate = Rate { count: 1, ..FIFTY };

    fn v4(bits: u32) -> (Option<ServiceId>, BucketSource) {
        (None, IpAddr::from(Ipv4Addr::from_bits(bits)).into())
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut buckets = Buckets::default();
        let start = Instant::now();
        let granted = |buckets: &mut Buckets, now| {
            (0..1000).filter(|_| buckets.take(now, v4(7), FIFTY)).count()
        };
        assert_eq!(granted(&mut buckets, start), 50);
        assert_eq!(granted(&mut buckets, start + Duration::from_millis(19)), 0);
        assert_eq!(granted(&mut buckets, start + Duration::from_millis(20)), 1);
        assert_eq!(granted(&mut buckets, start + Duration::from_millis(120)), 5);
        assert_eq!(granted(&mut buckets, start + Duration::from_secs(3600)), 50);
        assert!(buckets.take(start, v4(8), FIFTY), "another source has a bucket of its own");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let mut buckets = Buckets::default();
        let now = Instant::now();
        let address = |net, host| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host));
        let mut take = |net, host| buckets.take(now, (None, address(net, host).into()), ONE);
        assert!(take(1, 1));
        assert!(!take(1, 2));
        assert!(take(2, 1));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut buckets = Buckets::default();
        let now = Instant::now();
        for bits in 0..u32::try_from(SOURCES).unwrap() {
            assert!(buckets.take(now, v4(bits), ONE));
        }
        assert!(!buckets.take(now, v4(0), ONE));
        assert!(buckets.take(now, v4(u32::MAX), ONE));
        assert!(!buckets.take(now, v4(1), ONE), "the second oldest is still known");
        assert!(buckets.take(now, v4(0), ONE), "the oldest is forgotten");
        assert_eq!((buckets.ages.len(), buckets.full_at.len()), (SOURCES, SOURCES));
    }

    #[test]
    fn no_rate_at_all_answers_nobody() {
        let none = Rate { count: 0, ..FIFTY };
        assert!(!Buckets::default().take(Instant::now(), v4(1), none));
    }

    #[test]
    fn a_bucket_that_a_reload_has_made_smaller_fills_in_its_own_time() {
        let mut buckets = Buckets::default();
        let (now, minute) = (Instant::now(), Rate { count: 1, per: Duration::from_secs(60) });
        assert!(buckets.take(now, v4(1), minute));
        assert!(!buckets.take(now, v4(1), FIFTY));
        assert!(buckets.take(now + Duration::from_millis(20), v4(1), FIFTY));
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(steps in proptest::collection::vec(0_u64..40, 1..500)) {
            let mut buckets = Buckets::default();
            let (start, mut elapsed, mut granted) = (Instant::now(), 0, 0);
            for step in steps {
                elapsed += step;
                granted += u64::from(buckets.take(start + Duration::from_millis(elapsed), v4(1), FIFTY));
                prop_assert!(granted <= 50 + elapsed / 20);
            }
        }
    }
}
