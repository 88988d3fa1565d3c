//! A limit that is reached is told once when that begins and once when it ends,
//! however many it leaves out: a flood of connections must not become one of lines.
//!
//! At a limit, each child that ends lets one more in and the limit bites again. So an
//! episode does not end with the first that is let in, but when the limit has not
//! bitten for [`QUIET`]. While a listener rests, its limit bites all the time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::bucket::Nanos;
use super::places::ServiceId;
use super::verdict::Reason;

/// How long a limit must not have bitten for its episode to end: 10 s.
const QUIET: Nanos = 10_000_000_000;

/// The beginning or end of an episode. `id` is None for the whole server's limit,
/// [`Reason::MaxChildren`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A limit bites for the first time.
    LimitBegan {
        /// Of which service.
        id: Option<ServiceId>,
        /// Which limit.
        reason: Reason,
    },
    /// It has not bitten for [`QUIET`].
    LimitEnded {
        /// Of which service.
        id: Option<ServiceId>,
        /// Which limit.
        reason: Reason,
        /// How many were refused meanwhile; those that waited were not left out.
        left_out: u64,
    },
}

/// Whose limit, and which.
type LimitKey = (Option<ServiceId>, Reason);

#[derive(Debug)]
struct Episode {
    left_out: u64,
    /// When it bites for the last time, as far as that is known.
    bites_until: Bites,
    /// Whether it is in the queue.
    queued: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bites {
    Until(Nanos),
    /// Until somebody says otherwise.
    On,
}

/// The episodes under way.
#[derive(Debug, Default)]
pub(super) struct Episodes {
    open: HashMap<LimitKey, Episode>,
    /// When to look after which, the earliest first. An episode is in it at most once
    /// and stays at its old moment when it is prolonged, so that a bite costs O(1).
    queue: BinaryHeap<Reverse<(Nanos, LimitKey)>>,
    notices: Vec<Notice>,
}

impl Episodes {
    /// Somebody was refused now.
    pub(super) fn refused(&mut self, key: LimitKey, now: Nanos) {
        let episode = self.bite(key, Bites::Until(now));
        episode.left_out = episode.left_out.saturating_add(1);
        self.enqueue(key);
    }

    /// A listener rests, until the moment or until [`Episodes::resumed`].
    pub(super) fn rests(&mut self, key: LimitKey, until: Option<Nanos>) {
        self.bite(key, until.map_or(Bites::On, Bites::Until));
        if until.is_some() {
            self.enqueue(key);
        }
    }

    /// The limit no longer keeps a listener at rest.
    pub(super) fn resumed(&mut self, key: LimitKey, now: Nanos) {
        let Some(episode) = self.open.get_mut(&key) else { return };
        if episode.bites_until == Bites::On {
            episode.bites_until = Bites::Until(now);
            self.enqueue(key);
        }
    }

    /// Ends all episodes of a service, which is no more.
    pub(super) fn close(&mut self, id: ServiceId) {
        for reason in Reason::ALL {
            self.end((Some(id), reason));
        }
    }

    /// Which limits have begun to bite and not ended: of a service, or of all together.
    pub(super) fn under_way(&self, id: Option<ServiceId>) -> impl Iterator<Item = Reason> {
        let all = Reason::ALL.into_iter().filter(|_| !self.open.is_empty());
        all.filter(move |reason| self.open.contains_key(&(id, *reason)))
    }

    /// When [`Episodes::expire`] wants to be called.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Ends the episodes that have been quiet.
    pub(super) fn expire(&mut self, now: Nanos) {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let Some(Reverse((_, key))) = self.queue.pop() else { return };
            let Some(episode) = self.open.get_mut(&key) else { continue };
            episode.queued = false;
            match episode.bites_until {
                Bites::Until(last) if last.saturating_add(QUIET) <= now => self.end(key),
                Bites::Until(_) => self.enqueue(key),
                Bites::On => {}
            }
        }
    }

    /// What has begun and ended since the last call.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn bite(&mut self, key: LimitKey, until: Bites) -> &mut Episode {
        let notices = &mut self.notices;
        let episode = self.open.entry(key).or_insert_with(|| {
            notices.push(Notice::LimitBegan { id: key.0, reason: key.1 });
            Episode { left_out: 0, bites_until: until, queued: false }
        });
        episode.bites_until = match (episode.bites_until, until) {
            (Bites::Until(a), Bites::Until(b)) => Bites::Until(a.max(b)),
            _ => Bites::On,
        };
        episode
    }

    fn enqueue(&mut self, key: LimitKey) {
        let Some(episode) = self.open.get_mut(&key) else { return };
        if let (Bites::Until(last), false) = (episode.bites_until, episode.queued) {
            episode.queued = true;
            self.queue.push(Reverse((last.saturating_add(QUIET), key)));
        }
    }

    fn end(&mut self, (id, reason): LimitKey) {
        if let Some(episode) = self.open.remove(&(id, reason)) {
            let left_out = episode.left_out;
            self.notices.push(Notice::LimitEnded { id, reason, left_out });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;
    const ID: ServiceId = ServiceId { index: 3, generation: 0 };
    const KEY: LimitKey = (Some(ID), Reason::Rate);

    fn began() -> Notice {
        Notice::LimitBegan { id: KEY.0, reason: KEY.1 }
    }

    fn ended(left_out: u64) -> Notice {
        Notice::LimitEnded { id: KEY.0, reason: KEY.1, left_out }
    }

    #[test]
    fn many_refusals_are_two_notices() {
        let mut episodes = Episodes::default();
        for second in 0..100 {
            episodes.refused(KEY, second * SECOND);
            episodes.expire(second * SECOND);
        }
        assert_eq!(episodes.notices(), [began()]);
        assert_eq!(episodes.queue.len(), 1);
        episodes.expire(109 * SECOND - 1);
        assert_eq!(episodes.notices(), []);
        assert_eq!(episodes.next_deadline(), Some(109 * SECOND));
        episodes.expire(109 * SECOND);
        assert_eq!(episodes.notices(), [ended(100)]);
        assert_eq!(episodes.next_deadline(), None);
    }

    #[test]
    fn a_resting_listener_is_one_episode_until_it_resumes() {
        let mut episodes = Episodes::default();
        episodes.rests(KEY, None);
        assert_eq!(episodes.next_deadline(), None);
        episodes.resumed(KEY, 1000 * SECOND);
        episodes.rests(KEY, None);
        episodes.expire(2000 * SECOND);
        assert_eq!(episodes.notices(), [began()]);
        assert_eq!(episodes.next_deadline(), None);
        episodes.resumed(KEY, 2000 * SECOND);
        episodes.expire(2010 * SECOND);
        assert_eq!(episodes.notices(), [ended(0)]);
    }

    #[test]
    fn a_timed_rest_ends_by_itself() {
        let mut episodes = Episodes::default();
        episodes.rests(KEY, Some(60 * SECOND));
        episodes.expire(69 * SECOND);
        assert_eq!(episodes.notices(), [began()]);
        episodes.expire(70 * SECOND);
        assert_eq!(episodes.notices(), [ended(0)]);
    }

    #[test]
    fn a_service_that_goes_takes_its_episodes_along() {
        let mut episodes = Episodes::default();
        episodes.refused(KEY, 0);
        episodes.refused((None, Reason::MaxChildren), 0);
        episodes.close(ID);
        assert_eq!(episodes.notices().last(), Some(&ended(1)));
        episodes.expire(SECOND * 100);
        assert_eq!(episodes.notices().len(), 1, "the server's own");
        assert!(episodes.open.is_empty() && episodes.queue.is_empty());
    }
}
