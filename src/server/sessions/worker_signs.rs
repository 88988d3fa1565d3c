//! Whether workers still do anything. One that hangs in a loop, or has been stopped, would keep its
//! clients for ever: those that have clients and have said nothing for a while are asked, and one
//! that does not answer is ended as one that has died.
//!
//! Who comes does not wait for that: when the first look has found no answer, he is given to another
//! one, which is started if there is none ([`worker_starts`](super::worker_starts)).
//!
//! It has to have been able to answer. So it is not the time that counts but how often the server
//! has looked since, each time when it wanted to: what stops everything, or gives nobody a
//! processor, stops the looks, too. While nobody has a client nobody is asked anything.

use std::time::Duration;

use super::signs_of_life::Found;
use super::workers::WorkerProcess;
use crate::front::wire::ToWorker;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;

/// How long it may be silent before it is asked, where nobody waits for its word.
const CALM: Duration = Duration::from_secs(15);
/// The same where somebody does; and how soon after that it is looked for the answer, again and
/// again.
const LOOK: Duration = Duration::from_secs(5);
/// What is said of it then.
const HANGS: &str = "it has not answered for 30 seconds";

impl WorkerProcess {
    /// Whether it is of interest if it is there.
    fn is_needed(&self) -> bool {
        self.answers && self.wire.is_some() && !self.clients.is_empty()
    }
}

impl Server {
    /// A worker has a client who waits for its word.
    pub(super) fn expect_signs(&mut self) {
        self.look_for_signs_in(LOOK);
    }

    fn look_for_signs_in(&mut self, time: Duration) {
        let when = self.reactor.now + time;
        self.reactor.timers.set_sooner(&mut self.sessions.workers.look, when, Timer::Signs);
    }

    /// Looks at all of them; again later, as long as somebody has a client.
    pub(in crate::server) fn look_for_signs(&mut self) {
        let Some(due) = self.sessions.workers.look.take() else { return };
        let in_time = self.reactor.now.saturating_duration_since(due) < LOOK;
        for key in self.sessions.workers.all.keys() {
            if self.look_for_signs_of(key, in_time) == Some(Found::Hangs) {
                self.end_worker_for(key, HANGS);
            }
        }
        let needed = || self.sessions.workers.all.iter().filter(|(_, it)| it.is_needed());
        let is_asked = needed().any(|(_, worker)| worker.signs.is_asked());
        let are_awaited = is_asked || self.sessions.fronting.len() > 0;
        if needed().count() > 0 {
            self.look_for_signs_in(if are_awaited { LOOK } else { CALM });
        }
    }

    /// None of one of which it does not matter.
    fn look_for_signs_of(&mut self, key: Key, in_time: bool) -> Option<Found> {
        let worker = self.sessions.workers.all.get_mut(key).filter(|it| it.is_needed())?;
        let found = worker.signs.look(in_time);
        if let (Found::Silent, Some(wire)) = (found, &worker.wire) {
            // If it cannot be told now, it has enough to answer that it has not read.
            let _ = wire.say(&ToWorker::Ask, &[]);
        }
        Some(found)
    }
}
