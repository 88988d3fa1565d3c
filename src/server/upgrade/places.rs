//! Services, sockets and pipes in what is handed over: by their places in it, since the keys of
//! the next program are others. Whoever holds a key derives serde's traits, with [`OfServices`],
//! [`OfSockets`] or [`OfPipes`] for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

use serde::de::DeserializeOwned;
use serde::{Deserializer, Serialize, Serializer};

use crate::server::reactor::slab::Key;

/// Which key has which place, both ways.
#[derive(Debug)]
pub(in crate::server) struct PlaceTable<P> {
    keys: HashMap<P, Key>,
    places: HashMap<Key, P>,
}

impl<P> Default for PlaceTable<P> {
    fn default() -> Self {
        Self { keys: HashMap::new(), places: HashMap::new() }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::server) struct Places {
    services: PlaceTable<usize>,
    sockets: PlaceTable<(usize, usize)>,
    pipes: PlaceTable<usize>,
}

thread_local! {
    /// Those of the present upgrade; none in a trial.
    static PLACES: RefCell<Places> = RefCell::default();
}

/// The upgrade is over, or another begins.
pub(super) fn forget() {
    PLACES.take();
}

/// What has places.
pub(in crate::server) trait Placed {
    type Place: Copy + Eq + Hash + Serialize + DeserializeOwned + 'static;

    fn table(places: &mut Places) -> &mut PlaceTable<Self::Place>;

    fn note(place: Self::Place, key: Key) {
        PLACES.with_borrow_mut(|places| {
            let table = Self::table(places);
            table.keys.insert(place, key);
            table.places.insert(key, place);
        });
    }

    fn key(place: Self::Place) -> Option<Key> {
        PLACES.with_borrow_mut(|places| Self::table(places).keys.get(&place).copied())
    }

    fn place(key: Key) -> Option<Self::Place> {
        PLACES.with_borrow_mut(|places| Self::table(places).places.get(&key).copied())
    }

    /// A [`Key`] or an optional one.
    fn serialize<K, S>(key: &K, to: S) -> Result<S::Ok, S::Error>
    where
        K: Copy + Into<Option<Key>>,
        S: Serializer,
    {
        (*key).into().and_then(Self::place).serialize(to)
    }

    /// The same; of what is no more there is no key, or one of nobody.
    fn deserialize<'de, K, D>(from: D) -> Result<K, D::Error>
    where
        K: From<Option<Key>>,
        D: Deserializer<'de>,
    {
        let place: Option<Self::Place> = serde::Deserialize::deserialize(from)?;
        Ok(place.and_then(Self::key).into())
    }
}

/// Services, in the order of the configuration.
pub(in crate::server) enum OfServices {}

/// Sockets: the service's place and the one in it.
pub(in crate::server) enum OfSockets {}

/// Pipes of standard error.
pub(in crate::server) enum OfPipes {}

impl Placed for OfServices {
    type Place = usize;

    fn table(places: &mut Places) -> &mut PlaceTable<usize> {
        &mut places.services
    }
}

impl Placed for OfSockets {
    type Place = (usize, usize);

    fn table(places: &mut Places) -> &mut PlaceTable<(usize, usize)> {
        &mut places.sockets
    }
}

impl Placed for OfPipes {
    type Place = usize;

    fn table(places: &mut Places) -> &mut PlaceTable<usize> {
        &mut places.pipes
    }
}
