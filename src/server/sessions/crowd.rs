//! Those who wait for something, by their sources: where there are too many, one of the source
//! that has most of them goes. So whoever comes in numbers turns nobody away but himself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::admission::Source;

/// How many of a source there are, and since when: the largest comes last, and of those that
/// are as large the one that was there first.
type Size = (usize, Reverse<u64>, Source);

/// All of them, each under the number in which he came.
#[derive(Debug)]
pub(super) struct Crowd<T> {
    of: HashMap<Source, BTreeMap<u64, T>>,
    sizes: BTreeSet<Size>,
    count: usize,
}

impl<T> Crowd<T> {
    pub(super) fn new() -> Self {
        Self { of: HashMap::new(), sizes: BTreeSet::new(), count: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Somebody comes, under a number that is greater than any before.
    pub(super) fn insert(&mut self, source: Source, number: u64, who: T) {
        let own = self.of.entry(source).or_default();
        if let Some(size) = size_of(source, own) {
            self.sizes.remove(&size);
        }
        own.insert(number, who);
        self.sizes.extend(size_of(source, own));
        self.count = self.count.saturating_add(1);
    }

    /// Somebody goes.
    pub(super) fn remove(&mut self, source: Source, number: u64) {
        let Some(own) = self.of.get_mut(&source) else { return };
        let Some(size) = size_of(source, own) else { return };
        if own.remove(&number).is_none() {
            return;
        }
        self.sizes.remove(&size);
        self.count = self.count.saturating_sub(1);
        match size_of(source, own) {
            Some(size) => _ = self.sizes.insert(size),
            None => _ = self.of.remove(&source),
        }
    }

    /// Those of a source, who came first before the others.
    pub(super) fn of(&self, source: Source) -> impl Iterator<Item = &T> {
        self.of.get(&source).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.of.values().flat_map(BTreeMap::values)
    }

    /// Of the source that has most of them: who came first.
    pub(super) fn first_of_most(&self) -> Option<(u64, &T)> {
        self.most().and_then(BTreeMap::first_key_value).map(|(number, who)| (*number, who))
    }

    /// The same: who came last.
    pub(super) fn last_of_most(&self) -> Option<(u64, &T)> {
        self.most().and_then(BTreeMap::last_key_value).map(|(number, who)| (*number, who))
    }

    fn most(&self) -> Option<&BTreeMap<u64, T>> {
        let (.., source) = self.sizes.last()?;
        self.of.get(source)
    }
}

fn size_of<T>(source: Source, own: &BTreeMap<u64, T>) -> Option<Size> {
    own.first_key_value().map(|(first, _)| (own.len(), Reverse(*first), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::from(std::net::IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn whoever_has_most_of_them_loses_one() {
        let mut crowd = Crowd::new();
        assert_eq!(crowd.first_of_most(), None);
        for (number, last) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 2)] {
            crowd.insert(source(last), number, last);
        }
        assert_eq!(crowd.first_of_most(), Some((2, &2)));
        assert_eq!(crowd.last_of_most(), Some((5, &2)));
        crowd.remove(source(2), 2);
        crowd.remove(source(2), 2);
        crowd.remove(source(9), 1);
        crowd.remove(source(2), 5);
        assert_eq!((crowd.len(), crowd.first_of_most()), (3, Some((1, &1))), "the first of equals");
        for (number, last) in [(1, 1), (3, 2), (4, 3)] {
            crowd.remove(source(last), number);
        }
        assert_eq!((crowd.len(), crowd.first_of_most()), (0, None));
        assert!(crowd.of.is_empty() && crowd.sizes.is_empty());
    }

    #[test]
    fn a_flood_of_one_source_leaves_those_of_others() {
        let mut crowd = Crowd::new();
        let mut came = 0_u64;
        let mut come = |crowd: &mut Crowd<u8>, last: u8| {
            came += 1;
            crowd.insert(source(last), came, last);
            if crowd.len() > 16 {
                let (number, &last) = crowd.first_of_most().unwrap();
                crowd.remove(source(last), number);
            }
        };
        (1..=7).for_each(|last| come(&mut crowd, last));
        (0..1000).for_each(|_| come(&mut crowd, 200));
        assert_eq!((1..=7).filter(|last| crowd.of.contains_key(&source(*last))).count(), 7);
        assert_eq!(crowd.of.get(&source(200)).map(BTreeMap::len), Some(9));
    }
}
