//! A table whose keys are never used again for something else: the tokens of poll
//! events and timers name entries that may be gone by the time they are looked at.

/// Names one entry, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::server) struct Key {
    pub(in crate::server) index: u32,
    /// How many entries this place has had before; at most [`GENERATIONS`].
    pub(in crate::server) generation: u32,
}

impl Key {
    /// Names no entry: no place has had so many.
    pub(in crate::server) const NONE: Self = Self { index: u32::MAX, generation: u32::MAX };

    /// The same where a function is wanted.
    pub(in crate::server) fn none() -> Self {
        Self::NONE
    }
}

/// Where there may be none.
impl From<Option<Key>> for Key {
    fn from(key: Option<Key>) -> Self {
        key.unwrap_or(Self::NONE)
    }
}

/// Generations that fit into a token; a place that has had so many is retired.
pub(super) const GENERATIONS: u32 = (1 << 28) - 1;

#[derive(Debug)]
struct SlabEntry<T> {
    generation: u32,
    entry: Option<T>,
}

/// Entries by key. Every operation is O(1).
#[derive(Debug)]
pub(in crate::server) struct Slab<T> {
    places: Vec<SlabEntry<T>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(in crate::server) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(in crate::server) fn len(&self) -> usize {
        self.len
    }

    pub(in crate::server) fn insert(&mut self, entry: T) -> Key {
        self.len = self.len.saturating_add(1);
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(to_usize(index))
        {
            place.entry = Some(entry);
            return Key { index, generation: place.generation };
        }
        // 2^32 entries do not fit into memory.
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(SlabEntry { generation: 0, entry: Some(entry) });
        Key { index, generation: 0 }
    }

    pub(in crate::server) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(to_usize(key.index))?;
        place.entry.as_ref().filter(|_| place.generation == key.generation)
    }

    pub(in crate::server) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(to_usize(key.index))?;
        place.entry.as_mut().filter(|_| place.generation == key.generation)
    }

    pub(in crate::server) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(to_usize(key.index))?;
        let entry = place.entry.take_if(|_| place.generation == key.generation)?;
        self.len = self.len.saturating_sub(1);
        place.generation = place.generation.saturating_add(1);
        if place.generation <= GENERATIONS {
            self.free.push(key.index);
        }
        Some(entry)
    }

    pub(in crate::server) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().zip(0u32..).filter_map(|(place, index)| {
            let key = Key { index, generation: place.generation };
            place.entry.as_ref().map(|entry| (key, entry))
        })
    }

    /// Changes each entry.
    pub(in crate::server) fn each(&mut self, mut change: impl FnMut(&mut T)) {
        self.places.iter_mut().filter_map(|place| place.entry.as_mut()).for_each(&mut change);
    }

    /// Entries at some places, from the one at `from`; none is left after the last.
    pub(in crate::server) fn some(
        &self,
        from: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = (Key, &T)>> {
        let last = from.saturating_add(count).min(self.places.len());
        let places = self.places.get(from..last).filter(|places| !places.is_empty())?;
        // As many as there are places.
        let first = u32::try_from(from).unwrap_or(u32::MAX);
        Some(places.iter().zip(first..).filter_map(|(place, index)| {
            let key = Key { index, generation: place.generation };
            place.entry.as_ref().map(|entry| (key, entry))
        }))
    }

    pub(in crate::server) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

fn to_usize(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_taken_in_portions_are_all_entries() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..10).map(|n| slab.insert(n)).collect();
        slab.remove(keys[4]);
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(some) = slab.some(from, 3) {
            found.extend(some.map(|(key, _)| key));
            from += 3;
        }
        assert_eq!((found, from), (slab.keys(), 12));
    }

    #[test]
    fn a_key_never_names_a_later_entry() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.get(second), slab.len()), (Some(&'b'), 1));
    }
}
