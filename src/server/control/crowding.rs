//! Who of those who ask goes when there are too many: somebody of whose source there are most; of
//! these, somebody who has not asked yet before somebody who is being answered, and who came first
//! before who came later. So whoever comes in numbers is in his own way, and who asks at once is
//! answered before it is his turn, whatever others let drip.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::admission::Source;
use crate::server::reactor::slab::Key;

/// Somebody who might go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) key: Key,
    pub(super) source: Source,
    /// His request is not there yet.
    pub(super) asks: bool,
    /// How many had come before him.
    pub(super) number: u64,
}

/// The one who goes.
pub(super) fn who_goes(all: &[Candidate]) -> Option<Key> {
    let mut of_source: HashMap<Source, usize> = HashMap::new();
    for candidate in all {
        let count = of_source.entry(candidate.source).or_default();
        *count = count.saturating_add(1);
    }
    let rank = |it: &&Candidate| (of_source.get(&it.source), it.asks, Reverse(it.number));
    all.iter().max_by_key(rank).map(|it| it.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::reactor::slab::Slab;

    #[test]
    fn whoever_comes_in_numbers_is_in_his_own_way() {
        let mut keys = Slab::new();
        let mut come = |last: u8, asks: bool, number: u64| Candidate {
            key: keys.insert(()),
            source: Source::from(std::net::IpAddr::from([192, 0, 2, last])),
            asks,
            number,
        };
        let mut all = vec![come(1, true, 0), come(2, false, 1), come(2, true, 3), come(2, true, 2)];
        let mut gone = Vec::new();
        while let Some(key) = who_goes(&all) {
            gone.extend(all.iter().find(|it| it.key == key).map(|it| it.number));
            all.retain(|it| it.key != key);
        }
        // Of equals, one who asks goes before one who is answered.
        assert_eq!(gone, [2, 3, 0, 1]);
    }
}
