//! The list of peers, for SIGUSR1 and SIGUSR2: everybody who is here, each of whom has a
//! [session](super::sessions::session), and the last thousand who were, in the order in which
//! they came.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::net::address::Address;
use crate::net::fronted::Encryption;
use crate::upgrade::moment;

/// How many peers are remembered after they ended.
pub(crate) const REMEMBERED: usize = 1_000;

/// Names one peer for the life of the server: its number, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PeerId(u64);

impl PeerId {
    /// The how-manieth peer since the server started it is.
    #[must_use]
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Where it came from.
    pub address: Address,
    /// The label of the service it came to.
    pub service: Rc<str>,
    /// The program that serves it; None for the services of our own.
    pub pid: Option<u32>,
    /// Whether it is still served.
    #[serde(skip)]
    pub running: bool,
    /// When it came.
    #[serde(with = "moment")]
    pub since: Instant,
    /// How its connection is encrypted, while it is served.
    #[serde(skip)]
    pub encryption: Option<Box<Encryption>>,
}

/// How many have come, and the last [`REMEMBERED`] who have gone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "KnownPeers", into = "KnownPeers")]
pub(crate) struct Peers {
    /// The one that went first in front.
    gone: VecDeque<(PeerId, Peer)>,
    total: u64,
}

/// The same as it is handed over.
#[derive(Serialize, Deserialize)]
struct KnownPeers {
    total: u64,
    known: BTreeMap<PeerId, Peer>,
    /// Those of them that have ended, the first one first.
    ended: Vec<PeerId>,
}

impl From<Peers> for KnownPeers {
    fn from(Peers { gone, total }: Peers) -> Self {
        let ended = gone.iter().map(|(id, _)| *id).collect();
        Self { total, known: gone.into_iter().collect(), ended }
    }
}

impl From<KnownPeers> for Peers {
    fn from(KnownPeers { total, mut known, ended }: KnownPeers) -> Self {
        let gone = ended.into_iter().filter_map(|id| Some((id, known.remove(&id)?)));
        Self { gone: gone.take(REMEMBERED).collect(), total }
    }
}

impl Peers {
    /// The number of one more, who has come to a service and is now served.
    pub(crate) fn connected(&mut self) -> PeerId {
        self.total = self.total.saturating_add(1);
        PeerId(self.total)
    }

    /// Somebody is no longer served.
    pub(crate) fn ended(&mut self, id: PeerId, peer: Peer) {
        if self.gone.len() == REMEMBERED {
            self.gone.pop_front();
        }
        self.gone.push_back((id, Peer { running: false, ..peer }));
    }

    /// How many have connected since the server started.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// In the order in which they came, the first `most` of those who came after one: of
    /// those who are here and did so, in that order, and of those who have gone.
    pub(crate) fn in_order(
        &self,
        here: impl Iterator<Item = (PeerId, Peer)>,
        after: Option<PeerId>,
        most: usize,
    ) -> Vec<(PeerId, Peer)> {
        let gone = self.gone.iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        let mut all: Vec<_> = here.take(most).chain(gone.cloned()).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    fn peer() -> Peer {
        let (address, service) = (Address::None, Rc::from("echo/tcp"));
        let (since, encryption) = (Instant::now(), None);
        Peer { address, service, pid: Some(7), running: true, since, encryption }
    }

    fn ids(list: &[(PeerId, Peer)]) -> Vec<(u64, bool)> {
        list.iter().map(|(id, peer)| (id.number(), peer.running)).collect()
    }

    #[test]
    fn shows_peers_in_the_order_of_connecting() {
        let mut peers = Peers::default();
        let came: Vec<_> = (0..4).map(|_| peers.connected()).collect();
        peers.ended(came[2], peer());
        peers.ended(came[0], peer());
        let here = || [came[1], came[3]].into_iter().map(|id| (id, peer()));
        let shown = ids(&peers.in_order(here(), None, usize::MAX));
        assert_eq!(shown, [(1, false), (2, true), (3, false), (4, true)]);
        let shown = ids(&peers.in_order(here().skip(1), Some(came[1]), 1));
        assert_eq!((shown, peers.total()), (vec![(3, false)], 4));
    }

    #[test]
    fn the_list_goes_on_where_it_was() {
        let mut peers = Peers::default();
        let came: Vec<_> = (0..5).map(|_| peers.connected()).collect();
        peers.ended(came[3], peer());
        peers.ended(came[1], peer());
        let text = serde_json::to_value(&peers).unwrap();
        assert_eq!(text["ended"], serde_json::json!([4, 2]));
        let mut again: Peers = serde_json::from_value(text).unwrap();
        let whole =
            |peers: &Peers| peers.gone.iter().map(|(id, it)| (*id, it.address)).collect::<Vec<_>>();
        assert_eq!(whole(&again), whole(&peers));
        assert_eq!(again.connected().number(), 6);
    }

    #[test]
    fn a_million_ended_peers_cost_no_memory() {
        let mut peers = Peers::default();
        for _ in 0..1_000_000 {
            let id = peers.connected();
            peers.ended(id, peer());
        }
        assert_eq!((peers.gone.len(), peers.total()), (REMEMBERED, 1_000_000));
        assert!(peers.gone.capacity() < 2 * REMEMBERED + 64);
        assert!(size_of::<(PeerId, Peer)>() < 128);
    }

    proptest! {
        #[test]
        fn remembers_exactly_the_running_and_the_last_ended(
            steps in proptest::collection::vec(any::<u16>().prop_map(usize::from), 0..4_000),
            portion in 1usize..200,
        ) {
            let mut peers = Peers::default();
            let (mut running, mut ended) = (Vec::new(), Vec::new());
            for step in steps {
                if step % 5 < 3 || running.is_empty() {
                    running.push(peers.connected());
                } else {
                    let id = running.swap_remove(step % running.len());
                    peers.ended(id, peer());
                    ended.push(id);
                }
            }
            running.sort_unstable();
            let mut expected = running.clone();
            expected.extend(ended.iter().rev().take(REMEMBERED));
            expected.sort_unstable();
            let (mut shown, mut last) = (Vec::new(), None);
            loop {
                let here = running.iter().filter(|id| last.is_none_or(|last| **id > last));
                let some = peers.in_order(here.map(|id| (*id, peer())), last, portion);
                let Some((id, _)) = some.last() else { break };
                last = Some(*id);
                shown.extend(some.iter().map(|(id, _)| *id));
            }
            prop_assert_eq!(shown, expected);
        }
    }
}
