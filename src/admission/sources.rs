//! What is known of each source: how many of its children run, and its bucket.
//!
//! The table is bounded, since whoever can choose addresses could fill it: the least
//! recently used source goes first, but never one with running children. A source of
//! which nothing is left to remember (no children, bucket full) is dropped at once or
//! when its turn comes, so that in calm times the table is almost empty. Entries live
//! in a slab, found through a hash map with random keys, and the idle ones are linked
//! through the slab from oldest to newest: every operation is O(1).

use std::collections::HashMap;
use std::net::IpAddr;

use super::bucket::{Bucket, Nanos, Pace};
use super::places::ServiceId;
use crate::net::address::Address;

/// How many sources are remembered, over all services.
pub(crate) const CAPACITY: usize = 65_536;

/// What counts as one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// An IPv4 address, also one that came as an IPv4-mapped IPv6 address.
    V4(std::net::Ipv4Addr),
    /// The upper 64 bits of an IPv6 address: one subscriber has at least a /64.
    V6(u64),
    /// A user of this machine, by uid, at the other end of a unix socket.
    Local(u32),
    /// A machine at the other end of a virtual socket, by its CID.
    Machine(u32),
    /// Nobody in particular: a `wait` service.
    Unknown,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

impl From<Address> for Source {
    fn from(address: Address) -> Self {
        match address {
            Address::Inet(socket) => socket.ip().into(),
            Address::Unix { uid, .. } => Self::Local(uid),
            Address::Vsock(address) => Self::Machine(address.cid),
            Address::None => Self::Unknown,
        }
    }
}

/// A source of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SourceKey {
    pub(super) service: ServiceId,
    pub(super) source: Source,
}

/// What is known of a source; the default is all there is to know of an unknown one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SourceRecord {
    /// Its running children.
    pub(super) running: u32,
    /// Its starts.
    pub(super) bucket: Bucket,
}

/// The end of the list of idle entries.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct SourceEntry {
    key: SourceKey,
    record: SourceRecord,
    /// Neighbours in the list of idle entries; meaningless while children run.
    older: u32,
    newer: u32,
}

/// The table.
#[derive(Debug)]
pub(super) struct Sources {
    index: HashMap<SourceKey, u32>,
    slab: Vec<SourceEntry>,
    free: Vec<u32>,
    /// The idle entries: least recently used, …
    oldest: u32,
    /// … most recently used.
    newest: u32,
    capacity: usize,
}

impl Sources {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            index: HashMap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            oldest: NIL,
            newest: NIL,
            capacity,
        }
    }

    /// How many sources are remembered.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// What is known of a source.
    pub(super) fn record(&self, key: SourceKey) -> SourceRecord {
        let slot = self.index.get(&key).and_then(|slot| self.entry(*slot));
        slot.map(|entry| entry.record).unwrap_or_default()
    }

    /// Whether a child of this source could be counted: it is known, or there is
    /// room, or somebody idle can be forgotten.
    pub(super) fn has_room_for(&self, key: SourceKey) -> bool {
        self.len() < self.capacity || self.oldest != NIL || self.index.contains_key(&key)
    }

    /// A source was refused: that is a use, so that it is not forgotten meanwhile. And
    /// if a reload has made its bucket smaller, this is when that is found out.
    pub(super) fn refused(&mut self, key: SourceKey, pace: Option<Pace>, now: Nanos) {
        let Some(&slot) = self.index.get(&key) else { return };
        let Some(entry) = self.entry_mut(slot) else { return };
        if let Some(pace) = pace {
            entry.record.bucket.clamp(pace, now);
        }
        if entry.record.running == 0 {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    /// Counts a running child of a source, for which there must be room, and takes a
    /// token if starts are counted too.
    pub(super) fn start(&mut self, key: SourceKey, pace: Option<Pace>, now: Nanos) {
        let known = self.index.get(&key).copied();
        let Some(slot) = known.or_else(|| self.insert(key, now)) else { return };
        if self.entry(slot).is_some_and(|entry| entry.record.running == 0) {
            self.unlink(slot);
        }
        if let Some(entry) = self.entry_mut(slot) {
            entry.record.running = entry.record.running.saturating_add(1);
            if let Some(pace) = pace {
                entry.record.bucket.take(pace, now);
            }
        }
    }

    /// A child of a source is gone; `refund` puts its token back.
    pub(super) fn end(&mut self, key: SourceKey, refund: Option<Pace>, now: Nanos) {
        let Some(&slot) = self.index.get(&key) else { return };
        let Some(entry) = self.entry_mut(slot) else { return };
        if entry.record.running == 0 {
            return;
        }
        entry.record.running -= 1;
        if let Some(pace) = refund {
            entry.record.bucket.give_back(pace);
        }
        let SourceRecord { running, bucket } = entry.record;
        if running > 0 {
            return;
        }
        self.link_newest(slot);
        if bucket.is_full(now) {
            self.remove(slot);
        }
    }

    /// A new idle entry, for which room is made. None if everybody is running.
    fn insert(&mut self, key: SourceKey, now: Nanos) -> Option<u32> {
        self.forget_recovered(now);
        if self.len() >= self.capacity {
            self.remove(Some(self.oldest).filter(|slot| *slot != NIL)?);
        }
        let entry = SourceEntry { key, record: SourceRecord::default(), older: NIL, newer: NIL };
        let slot = if let Some(slot) = self.free.pop() {
            *self.entry_mut(slot)? = entry;
            slot
        } else {
            let slot = u32::try_from(self.slab.len()).ok().filter(|slot| *slot != NIL)?;
            self.slab.push(entry);
            slot
        };
        self.index.insert(key, slot);
        self.link_newest(slot);
        Some(slot)
    }

    /// Drops up to two of the oldest whose buckets are full again: two for each one
    /// that comes lets the table shrink without ever walking it.
    fn forget_recovered(&mut self, now: Nanos) {
        for _ in 0..2 {
            let oldest = self.oldest;
            if !self.entry(oldest).is_some_and(|entry| entry.record.bucket.is_full(now)) {
                return;
            }
            self.remove(oldest);
        }
    }

    /// Drops an idle entry.
    fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        if let Some(key) = self.entry(slot).map(|entry| entry.key) {
            self.index.remove(&key);
            self.free.push(slot);
        }
    }

    fn link_newest(&mut self, slot: u32) {
        let older = self.newest;
        if let Some(entry) = self.entry_mut(slot) {
            (entry.older, entry.newer) = (older, NIL);
        }
        match self.entry_mut(older) {
            Some(entry) => entry.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let Some(&SourceEntry { older, newer, .. }) = self.entry(slot) else { return };
        match self.entry_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entry_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    fn entry(&self, slot: u32) -> Option<&SourceEntry> {
        self.slab.get(usize::try_from(slot).ok()?)
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut SourceEntry> {
        self.slab.get_mut(usize::try_from(slot).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Rate;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use std::time::Duration;

    fn key(source: u64) -> SourceKey {
        SourceKey { service: ServiceId { index: 0, generation: 0 }, source: Source::V6(source) }
    }

    fn pace() -> Option<Pace> {
        Some(Pace::from(Rate { count: 2, per: Duration::from_secs(60) }))
    }

    /// The idle entries from oldest to newest, checked in both directions.
    fn idle(sources: &Sources) -> Vec<SourceKey> {
        let (mut keys, mut slot, mut before) = (Vec::new(), sources.oldest, NIL);
        while let Some(entry) = sources.entry(slot) {
            assert_eq!(entry.older, before);
            assert_eq!(entry.record.running, 0);
            keys.push(entry.key);
            (before, slot) = (slot, entry.newer);
        }
        assert_eq!(sources.newest, before);
        keys
    }

    #[test]
    fn sources_are_addresses_and_networks() {
        let of = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::9"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(Source::from(Address::Unix { pid: 9, uid: 3 }), Source::Local(3));
        let guest = |port| Address::Vsock(crate::net::vsock::VsockAddress { cid: 3, port });
        assert_eq!(Source::from(guest(9)), Source::from(guest(10)));
        assert_eq!(Source::from(Address::None), Source::Unknown);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_running_ones_stay() {
        let mut sources = Sources::new(3);
        for source in 0..3 {
            sources.start(key(source), pace(), 0);
        }
        assert!(!sources.has_room_for(key(3)), "all run");
        assert!(sources.has_room_for(key(2)), "known");
        sources.end(key(1), None, 0);
        sources.end(key(0), None, 0);
        sources.refused(key(1), None, 0);
        assert_eq!(idle(&sources), [key(0), key(1)]);
        sources.start(key(3), pace(), 0);
        assert_eq!(idle(&sources), [key(1)]);
        assert_eq!(sources.record(key(0)), SourceRecord::default());
        assert_eq!(sources.record(key(2)).running, 1);
    }

    #[test]
    fn nothing_is_kept_of_a_source_without_a_debt() {
        let mut sources = Sources::new(10);
        sources.start(key(1), None, 0);
        sources.end(key(1), None, 0);
        assert_eq!(sources.len(), 0);
        sources.start(key(2), pace(), 0);
        sources.end(key(2), pace(), 0);
        assert_eq!(sources.len(), 0, "its token was given back");
        sources.end(key(2), None, 0);
        assert_eq!(sources.record(key(2)), SourceRecord::default());
    }

    #[test]
    fn a_million_sources_take_bounded_memory() {
        let mut sources = Sources::new(CAPACITY);
        for source in 0..1_000_000 {
            sources.start(key(source), pace(), 0);
            sources.end(key(source), None, 0);
        }
        assert_eq!((sources.len(), sources.slab.len()), (CAPACITY, CAPACITY));
        assert!(sources.index.capacity() < 4 * CAPACITY);
        assert!(size_of::<SourceEntry>() <= 56);
        for source in 0..40_000 {
            sources.start(key(source), None, u64::MAX);
            sources.end(key(source), None, u64::MAX);
        }
        assert_eq!(sources.len(), 0, "recovered sources are forgotten along the way");
    }

    proptest! {
        #[test]
        fn random_use_keeps_the_table_whole(
            steps in proptest::collection::vec((0u64..20, 0u8..4, any::<bool>()), 0..300),
        ) {
            let mut sources = Sources::new(8);
            let mut running = std::collections::BTreeMap::<u64, u32>::new();
            for (now, (source, step, paced)) in steps.into_iter().enumerate() {
                let now = u64::try_from(now).unwrap() * 5_000_000_000;
                let pace = pace().filter(|_| paced);
                match step {
                    0 | 1 if sources.has_room_for(key(source)) => {
                        sources.start(key(source), pace, now);
                        *running.entry(source).or_default() += 1;
                    }
                    2 => sources.refused(key(source), pace, now),
                    _ => {
                        sources.end(key(source), pace, now);
                        running.entry(source).and_modify(|n| *n = n.saturating_sub(1));
                    }
                }
                running.retain(|_, n| *n > 0);
                for (source, n) in &running {
                    prop_assert_eq!(sources.record(key(*source)).running, *n);
                }
                prop_assert!(sources.len() <= 8);
                prop_assert_eq!(idle(&sources).len() + running.len(), sources.len());
                prop_assert_eq!(sources.len() + sources.free.len(), sources.slab.len());
            }
        }
    }
}
