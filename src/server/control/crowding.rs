//! Who of those who ask goes when there are too many: somebody of whose source there are most; of
//! these, the one with whom nothing has gone on for longest. Who lets his request drip has been so
//! since he came, and who takes nothing of his answer since he last did. So whoever comes in numbers
//! is in his own way, and who asks at once and takes what he is told is never the one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use crate::admission::Source;
use crate::server::reactor::slab::Key;

/// Somebody who might go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) key: Key,
    pub(super) source: Source,
    /// When something last went on: he came, or took something of his answer.
    pub(super) active: Instant,
    /// How many had come before him.
    pub(super) number: u64,
}

/// The one who goes.
pub(super) fn evicted(all: &[Candidate]) -> Option<Key> {
    let mut of_source: HashMap<Source, usize> = HashMap::new();
    for candidate in all {
        let count = of_source.entry(candidate.source).or_default();
        *count = count.saturating_add(1);
    }
    let rank = |it: &&Candidate| (of_source.get(&it.source), Reverse((it.active, it.number)));
    all.iter().max_by_key(rank).map(|it| it.key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::reactor::slab::Slab;

    #[test]
    fn whoever_comes_in_numbers_is_in_his_own_way() {
        let mut keys = Slab::new();
        let start = Instant::now();
        let mut come = |last: u8, second: u64, number: u64| Candidate {
            key: keys.insert(()),
            source: Source::from(std::net::IpAddr::from([192, 0, 2, last])),
            active: start + Duration::from_secs(second),
            number,
        };
        let mut all = vec![come(1, 0, 0), come(2, 9, 1), come(2, 5, 3), come(2, 5, 2)];
        let mut gone = Vec::new();
        while let Some(key) = evicted(&all) {
            gone.extend(all.iter().find(|it| it.key == key).map(|it| it.number));
            all.retain(|it| it.key != key);
        }
        // Of sources that have as many, it is who has been still for longest.
        assert_eq!(gone, [2, 3, 0, 1]);
    }
}
