//! What one service, and one source, may have of the room for those whom the server serves
//! itself (see `reserve`): never all of it, so that others come in beside whoever takes what he
//! can get. Clients of tcpmux that have not said yet what they want have the least: half of it
//! together, for so long and no longer, and only while nobody else needs it.

mod turns;

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::reserve::{ServedClient, but_one_part};
use crate::admission::Source;
use crate::net::address::Address;
use crate::server::reactor::slab::Key;

/// Who is there, by the descriptors that are held for him.
#[derive(Debug, Default)]
pub(in crate::server) struct Shares {
    of_services: HashMap<Key, usize>,
    of_sources: HashMap<Source, usize>,
    /// Clients of tcpmux, the longest there first; some may be gone, or have said a name.
    nameless: VecDeque<Key>,
}

impl Shares {
    /// Somebody has come.
    pub(in crate::server) fn take(&mut self, service: Key, peer: Address, held: ServedClient) {
        add(&mut self.of_services, service, held.descriptors());
        add(&mut self.of_sources, Source::from(peer), held.descriptors());
    }

    /// He is gone.
    pub(in crate::server) fn give_back(&mut self, service: Key, peer: Address, held: ServedClient) {
        subtract(&mut self.of_services, &service, held.descriptors());
        subtract(&mut self.of_sources, &Source::from(peer), held.descriptors());
    }

    fn has_share(&self, service: Key, held: ServedClient, room: usize) -> bool {
        let share = match held {
            ServedClient::Nameless => (room / 2).max(1),
            ServedClient::Conversation => but_one_part(room),
            ServedClient::Relay => but_one_part(but_one_part(room)),
        };
        self.of_services.get(&service).is_some_and(|has| *has >= share)
    }
}

fn add<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, more: usize) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(more);
}

fn subtract<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K, less: usize) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(less);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_all_but_a_part_and_those_without_a_name_half() {
        let key = |index| Key { index, generation: 0 };
        let peer = |last: u8| Address::Inet(([127, 0, 0, last], 1).into());
        let mut shares = Shares::default();
        for _ in 0..8 {
            shares.take(key(1), peer(1), ServedClient::Nameless);
        }
        assert!(shares.has_share(key(1), ServedClient::Nameless, 16));
        assert!(!shares.has_share(key(1), ServedClient::Nameless, 18));
        assert!(!shares.has_share(key(1), ServedClient::Conversation, 16));
        assert!(!shares.has_share(key(2), ServedClient::Nameless, 1), "there is always one");
        for _ in 0..7 {
            shares.take(key(2), peer(2), ServedClient::Relay);
        }
        assert!(shares.has_share(key(2), ServedClient::Conversation, 16));
        assert!(!shares.has_share(key(2), ServedClient::Conversation, 17));
        for _ in 0..8 {
            shares.give_back(key(1), peer(1), ServedClient::Nameless);
        }
        assert_eq!((shares.of_services.len(), shares.of_sources.len()), (1, 1));
    }
}
