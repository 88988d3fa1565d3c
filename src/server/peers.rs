//! The list of peers, for SIGUSR1 and SIGUSR2: everybody who is here, and the last
//! thousand who were, in the order in which they came.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::rc::Rc;
use std::time::Instant;

use crate::log::events;
use crate::net::address::Address;

/// How many peers are remembered after they ended.
pub(crate) const REMEMBERED: usize = 1_000;

/// Names one peer for the life of the server: its number, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerId(u64);

impl PeerId {
    /// The how-manieth peer since the server started it is.
    #[must_use]
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The peer of this number.
    #[must_use]
    pub(crate) fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Where it came from.
    pub address: Address,
    /// The label of the service it came to.
    pub service: Rc<str>,
    /// The program that serves it; None for the services of our own.
    pub pid: Option<u32>,
    /// Whether it is still served.
    pub running: bool,
    /// When it came.
    pub since: Instant,
}

/// All running peers and the last [`REMEMBERED`] ended ones. Every change costs
/// O(log n); memory is bounded by the number of running peers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// Ordered by number, which is the order of connecting.
    known: BTreeMap<PeerId, Peer>,
    /// The ended ones among them, the one that ended first in front.
    ended: VecDeque<PeerId>,
    total: u64,
}

impl Peers {
    /// An empty list.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Tells the log of each, in the order of connecting.
    pub(crate) fn tell(&self) {
        for (id, peer) in self.iter() {
            let whom = (peer.address, &*peer.service);
            events::peer(id.number(), whom, peer.pid, peer.running);
        }
    }

    /// A peer has come to a service and is now served, by `pid` if by a program.
    pub(crate) fn connected(
        &mut self,
        address: Address,
        service: Rc<str>,
        pid: Option<u32>,
        now: Instant,
    ) -> PeerId {
        self.total = self.total.saturating_add(1);
        let id = PeerId(self.total);
        self.known.insert(id, Peer { address, service, pid, running: true, since: now });
        id
    }

    /// A running peer is served by this program from now on (after tcpmux has asked
    /// for the name).
    pub(crate) fn handed_to(&mut self, id: PeerId, pid: u32) {
        if let Some(peer) = self.known.get_mut(&id).filter(|peer| peer.running) {
            peer.pid = Some(pid);
        }
    }

    /// A running peer is no longer served. Telling it twice changes nothing.
    pub(crate) fn ended(&mut self, id: PeerId) {
        let Some(peer) = self.known.get_mut(&id).filter(|peer| peer.running) else { return };
        peer.running = false;
        self.ended.push_back(id);
        if self.ended.len() > REMEMBERED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// As they were known before: everybody who connected, by number, and those that have
    /// ended, in order. Of the latter the last ones are kept.
    #[must_use]
    pub(crate) fn restored(
        total: u64,
        known: impl Iterator<Item = (u64, Peer)>,
        ended: impl Iterator<Item = u64>,
    ) -> Self {
        let known = known.map(|(number, peer)| (PeerId(number), Peer { running: true, ..peer }));
        let mut peers = Self { known: known.collect(), ended: VecDeque::new(), total };
        for number in ended {
            peers.ended(PeerId(number));
        }
        peers
    }

    /// Those that have ended, the one that ended first in front.
    pub(crate) fn ended_ones(&self) -> impl Iterator<Item = PeerId> {
        self.ended.iter().copied()
    }

    /// How many have connected since the server started.
    #[must_use]
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How many are served now.
    #[must_use]
    pub(crate) fn running(&self) -> usize {
        self.known.len().saturating_sub(self.ended.len())
    }

    /// All that are known, in the order in which they connected.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.known.iter().map(|(id, peer)| (*id, peer))
    }

    /// Those who connected after this one.
    pub(crate) fn after(&self, last: Option<PeerId>) -> impl Iterator<Item = (PeerId, &Peer)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.known.range((from, Bound::Unbounded)).map(|(id, peer)| (*id, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    fn connect(peers: &mut Peers) -> PeerId {
        peers.connected(Address::None, Rc::from("echo/tcp"), Some(7), Instant::now())
    }

    #[test]
    fn shows_peers_in_the_order_of_connecting() {
        let mut peers = Peers::new();
        let ids: Vec<_> = (0..3).map(|_| connect(&mut peers)).collect();
        peers.ended(ids[2]);
        peers.ended(ids[0]);
        let shown: Vec<_> = peers.iter().map(|(id, peer)| (id.number(), peer.running)).collect();
        assert_eq!(shown, [(1, false), (2, true), (3, false)]);
        assert_eq!((peers.total(), peers.running()), (3, 1));
    }

    #[test]
    fn ending_twice_counts_once() {
        let mut peers = Peers::new();
        let id = connect(&mut peers);
        peers.ended(id);
        peers.ended(id);
        peers.ended(PeerId(99));
        assert_eq!((peers.running(), peers.iter().count()), (0, 1));
    }

    #[test]
    fn the_list_goes_on_where_it_was() {
        let mut peers = Peers::new();
        let ids: Vec<_> = (0..5).map(|_| connect(&mut peers)).collect();
        peers.ended(ids[3]);
        peers.ended(ids[1]);
        let known: Vec<_> = peers.iter().map(|(id, peer)| (id.number(), peer.clone())).collect();
        let ended: Vec<_> = peers.ended_ones().map(PeerId::number).collect();
        assert_eq!(ended, [4, 2]);
        let mut again = Peers::restored(5, known.into_iter(), ended.into_iter());
        assert!(again.iter().eq(peers.iter()));
        again.ended(ids[0]);
        assert_eq!((again.running(), connect(&mut again).number()), (2, 6));
    }

    #[test]
    fn a_program_is_named_later() {
        let mut peers = Peers::new();
        let id = peers.connected(Address::None, Rc::from("tcpmux/date"), None, Instant::now());
        peers.handed_to(id, 12);
        peers.ended(id);
        peers.handed_to(id, 13);
        assert_eq!(peers.iter().next().unwrap().1.pid, Some(12));
    }

    #[test]
    fn a_million_ended_peers_cost_no_memory() {
        let mut peers = Peers::new();
        let first = connect(&mut peers);
        for _ in 0..1_000_000 {
            let id = connect(&mut peers);
            peers.ended(id);
        }
        assert_eq!(peers.iter().count(), REMEMBERED + 1);
        assert_eq!(peers.iter().next().unwrap().0, first, "a running peer is never forgotten");
        assert_eq!(peers.total(), 1_000_001);
        assert!(size_of::<(PeerId, Peer)>() < 128);
    }

    proptest! {
        #[test]
        fn remembers_exactly_the_running_and_the_last_ended(
            steps in proptest::collection::vec(any::<u16>().prop_map(usize::from), 0..4_000),
        ) {
            let mut peers = Peers::new();
            let (mut running, mut ended) = (Vec::new(), Vec::new());
            for step in steps {
                if step % 5 < 3 || running.is_empty() {
                    running.push(connect(&mut peers));
                } else {
                    let id = running.swap_remove(step % running.len());
                    peers.ended(id);
                    ended.push(id);
                }
            }
            let mut expected = running.clone();
            expected.extend(ended.iter().rev().take(REMEMBERED));
            expected.sort_unstable();
            let shown: Vec<_> = peers.iter().map(|(id, _)| id).collect();
            prop_assert_eq!(shown, expected);
            prop_assert_eq!(peers.running(), running.len());
            prop_assert!(running.iter().all(|id| peers.known[id].running));
        }
    }
}
