//! Whoever has lost his parent and has come to us: who that is, and when each began.
//!
//! None of them goes before we have reaped him, and his number is nobody else's until then. So
//! what is known of one is known until that, and thousands who are long there cost nothing but
//! a line in the list of our children.

mod turns;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::sys::proc::{since_boot, stat_of, tick};

/// Those who have come to us, as far as that is known, and when each began, since the system
/// did.
#[derive(Debug, Default)]
pub(in crate::server) struct Adopted {
    began: HashMap<i32, Duration>,
}

impl Adopted {
    /// He has been reaped.
    pub(in crate::server) fn forget(&mut self, pid: i32) {
        self.began.remove(&pid);
    }

    /// Those of our children of whom nothing is known; who is no child of ours is forgotten.
    fn others_in(&mut self, children: Vec<i32>) -> HashSet<i32> {
        let number = children.len();
        let is_other = |pid: &i32| !self.began.contains_key(pid);
        let others: HashSet<i32> = children.iter().copied().filter(is_other).collect();
        if number.saturating_sub(others.len()) < self.began.len() {
            let children: HashSet<i32> = children.into_iter().collect();
            self.began.retain(|pid, _| children.contains(pid));
        }
        others
    }

    /// Those that may have been begun by something that began then, the youngest first.
    fn young(&self, since: Duration) -> Vec<(Duration, i32)> {
        let all = self.began.iter().map(|(pid, began)| (*began, *pid));
        let mut young: Vec<_> = all.filter(|(began, _)| is_young(*began, since)).collect();
        young.sort_unstable_by(|one, other| other.cmp(one));
        young
    }
}

/// Whether what began then may have been begun by what began at `since`.
pub(super) fn is_young(began: Duration, since: Duration) -> bool {
    began.saturating_add(tick()) >= since
}

/// When one of our children began. One of whom the system does not tell us has begun by now.
fn began(pid: i32) -> Duration {
    stat_of(pid).ok().and_then(|stat| stat.began).unwrap_or_else(since_boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_are_young_that_may_be_of_a_program() {
        let program = Duration::from_secs(100);
        let mut adopted = Adopted::default();
        let times = [99, 100, 101, 102].map(Duration::from_secs);
        adopted.began.extend((1..).zip(times));
        adopted.began.insert(5, program - tick());
        let young: Vec<i32> = adopted.young(program).into_iter().map(|(_, pid)| pid).collect();
        assert_eq!(young, [4, 3, 2, 5]);
        assert_eq!(adopted.others_in(vec![1, 2, 3, 4, 5, 6]), HashSet::from([6]));
        assert_eq!(adopted.others_in(vec![2, 7, 3, 4, 5]), HashSet::from([7]));
        assert_eq!(adopted.began.len(), 4, "one is there no more");
        adopted.forget(4);
        assert_eq!(adopted.young(program + tick() * 2).len(), 1);
    }

    #[test]
    fn who_is_hidden_has_begun_by_now() {
        let before = since_boot();
        assert!(began(i32::MAX) >= before);
        assert!(began(std::process::id().try_into().unwrap()) <= before);
    }
}
