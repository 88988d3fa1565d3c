//! Clients who are served no more, and have still to take what is left for them or to close: the
//! server has them itself ([banners](super::banners)), or a worker has. No limit of their service
//! counts them any more. So there are so many of either kind and no more; then one of the source
//! that has most of them goes, who came first. And where a service says how many of its programs a
//! source may have, it has not many more of these.

mod turns;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::crowd::Crowd;
use crate::admission::Source;
use crate::net::address::Address;
use crate::server::reactor::slab::Key;

/// So many of either kind.
const MOST: usize = 256;

/// So many of a source, however few programs of a service it may have.
const LEAST: usize = 8;

/// Somebody who lingers with the server itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::server) struct Lingerer {
    /// The service that has served him, if any has.
    #[serde(skip, default = "Key::none")]
    pub(super) service: Key,
    #[serde(default)]
    pub(super) peer: Address,
    /// The number in which he came.
    #[serde(skip)]
    number: u64,
}

impl Lingerer {
    /// Somebody who has been served.
    pub(in crate::server) fn of(service: Key, peer: Address) -> Self {
        Self { service, peer, number: 0 }
    }
}

/// Somebody who has been refused, or of whose service nothing is known any more.
impl From<Address> for Lingerer {
    fn from(peer: Address) -> Self {
        Self::of(Key::NONE, peer)
    }
}

/// Servers of before do not say who it is.
impl Default for Lingerer {
    fn default() -> Self {
        Self::from(Address::None)
    }
}

/// Those of one kind, with their services.
#[derive(Debug)]
struct LingeringKind<T> {
    crowd: Crowd<(Key, T)>,
    last: u64,
}

impl<T: Copy> LingeringKind<T> {
    fn new() -> Self {
        Self { crowd: Crowd::new(), last: 0 }
    }

    /// Somebody comes; his number.
    fn insert(&mut self, (service, source): (Key, Source), who: T) -> u64 {
        self.last = self.last.saturating_add(1);
        self.crowd.insert(source, self.last, (service, who));
        self.last
    }

    fn everybody(&self) -> Vec<T> {
        self.crowd.iter().map(|(_, who)| *who).collect()
    }

    /// Who goes first where there may be so many, and so many of a service for each source.
    fn one_too_many(
        &self,
        most: usize,
        (service, source, share): (Key, Source, Option<usize>),
    ) -> Option<T> {
        let of_it = || self.crowd.of(source).filter(|(of, _)| *of == service);
        if share.is_some_and(|share| of_it().count() > share) {
            return of_it().next().map(|(_, who)| *who);
        }
        let first = self.crowd.first_of_most().filter(|_| self.crowd.len() > most);
        first.map(|(_, (_, who))| *who)
    }
}

/// All of them.
#[derive(Debug)]
pub(in crate::server) struct Lingering {
    own: LingeringKind<Key>,
    fronted: LingeringKind<u64>,
    /// Where those are that a worker has.
    places: HashMap<u64, (Source, u64)>,
}

impl Lingering {
    pub(super) fn new() -> Self {
        Self { own: LingeringKind::new(), fronted: LingeringKind::new(), places: HashMap::new() }
    }

    pub(in crate::server) fn len(&self) -> usize {
        self.own.crowd.len().saturating_add(self.places.len())
    }

    /// One that the server has is gone.
    pub(super) fn forget(&mut self, who: Lingerer) {
        self.own.crowd.remove(who.peer.into(), who.number);
    }

    /// One that a worker had is gone, if he is one of them.
    pub(super) fn forget_fronted(&mut self, number: u64) {
        if let Some((source, place)) = self.places.remove(&number) {
            self.fronted.crowd.remove(source, place);
        }
    }

    fn insert_fronted(&mut self, (service, source): (Key, Source), number: u64) {
        self.forget_fronted(number);
        let place = self.fronted.insert((service, source), number);
        self.places.insert(number, (source, place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_of_a_service_and_the_largest_one_goes_first() {
        let service = |index| Key { index, generation: 0 };
        let source = |last: u8| Source::from(std::net::IpAddr::from([192, 0, 2, last]));
        let mut kind = LingeringKind::new();
        let mut come = |of: u32, last: u8, share: Option<usize>, who: u64| {
            let number = kind.insert((service(of), source(last)), who);
            let whose = (service(of), source(last), share);
            let gone = kind.one_too_many(6, whose);
            // Each has the number in which he has come.
            assert_eq!(number, who);
            if let Some(gone) = gone {
                (1..=9).for_each(|last| kind.crowd.remove(source(last), gone));
            }
            gone
        };
        assert_eq!([1, 2].map(|who| come(1, 1, Some(2), who)), [None; 2]);
        // Those of another service do not count for that.
        assert_eq!([3, 4].map(|who| come(2, 1, None, who)), [None; 2]);
        assert_eq!(come(1, 1, Some(2), 5), Some(1));
        assert_eq!([6, 7].map(|who| come(1, 2, Some(2), who)), [None; 2]);
        assert_eq!(come(1, 3, Some(2), 8), Some(2), "of the source that has four");
    }

    #[test]
    fn whoever_is_gone_counts_no_more() {
        let (mut all, service) = (Lingering::new(), Key::NONE);
        all.insert_fronted((service, Source::Unknown), 7);
        let mut who = Lingerer::default();
        who.number = all.own.insert((service, who.peer.into()), service);
        assert_eq!(all.len(), 2);
        all.forget_fronted(7);
        all.forget_fronted(7);
        all.forget_fronted(8);
        assert_eq!((all.len(), all.fronted.crowd.len()), (1, 0));
        all.forget(who);
        assert_eq!(all.len(), 0);
    }
}
