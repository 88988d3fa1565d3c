//! Whether workers still do anything. One that hangs in a loop, or has been stopped, would keep its
//! clients for ever: those that have clients and have said nothing for a while are asked, and one
//! that does not answer is ended as one that has died.
//!
//! It has to have been able to answer. So it is not the time that counts but how often the server
//! has looked since, each time when it wanted to: what stops everything, or gives nobody a
//! processor, stops the looks, too. While nobody has a client nobody is asked anything.

use std::time::Duration;

use super::signs_of_life::Found;
use super::workers::{Worker, Workers};
use crate::front::wire::ToWorker;
use crate::server::reactor::Reactor;
use crate::server::reactor::timers::Timer;

/// How long it may be silent before it is asked.
const CALM: Duration = Duration::from_secs(15);
/// How soon after that it is looked for the answer, again and again.
const LOOK: Duration = Duration::from_secs(5);
/// What is said of it then.
const HANGS: &str = "it has not answered for 30 seconds";

impl Worker {
    /// Whether it is of interest if it is there.
    fn is_needed(&self) -> bool {
        self.answers && self.wire.is_some() && !self.clients.is_empty()
    }

    fn look_for_signs(&mut self, in_time: bool) -> Found {
        let found = self.signs.look(in_time);
        if let (Found::Silent, Some(wire)) = (found, &self.wire) {
            // If it cannot be told now, it has enough to answer that it has not read.
            let _ = wire.say(&ToWorker::Ask, &[]);
        }
        found
    }
}

impl Workers {
    /// Somebody has a client.
    pub(super) fn expect_signs(&mut self, reactor: &mut Reactor) {
        if self.look.is_none() {
            self.look_for_signs_in(CALM, reactor);
        }
    }

    fn look_for_signs_in(&mut self, time: Duration, reactor: &mut Reactor) {
        self.look = Some(reactor.now + time);
        reactor.after(time, Timer::Signs);
    }

    /// Looks at all of them; again later, as long as somebody has a client.
    pub(in crate::server) fn look_for_signs(&mut self, reactor: &mut Reactor) {
        let Some(due) = self.look.take() else { return };
        let in_time = reactor.now.saturating_duration_since(due) < LOOK;
        for key in self.all.keys() {
            let Some(worker) = self.all.get_mut(key).filter(|it| it.is_needed()) else { continue };
            if worker.look_for_signs(in_time) == Found::Hangs {
                worker.why = Some(HANGS);
                self.end_worker(key, reactor);
            }
        }
        let needed = || self.all.iter().filter(|(_, it)| it.is_needed());
        let is_asked = needed().any(|(_, worker)| worker.signs.is_asked());
        if needed().count() > 0 {
            self.look_for_signs_in(if is_asked { LOOK } else { CALM }, reactor);
        }
    }
}
