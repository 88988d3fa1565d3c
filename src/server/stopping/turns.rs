//! The turns in which the server drains and stops.

use std::time::Duration;

use super::DrainState;
use crate::log::events;
use crate::log::sink;
use crate::server::Server;
use crate::server::programs::watching::Tidy;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::Services;
use crate::server::sessions::Sessions;
use crate::server::state::{ListenerState, ProgramStage, Rest};

/// A century is for ever, and a moment that the clock has.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Server {
    /// After `delay`, nobody is let in any more.
    pub(in crate::server) fn announce_drain(&mut self, delay: Duration, time: Duration) {
        if delay.is_zero() || self.life.drain.closes() {
            return self.begin_drain(time);
        }
        let delay = delay.min(FOR_EVER);
        let begins = self.reactor.now + delay;
        self.life.drain = DrainState::Announced(begins, time);
        self.reactor.timers.set(begins, Timer::Drained);
        events::draining(time.min(FOR_EVER), self.admission.total_running(), Some(delay));
    }

    /// Nobody is let in any more but who is in a backlog; whoever is here has so long to come
    /// to an end.
    pub(in crate::server) fn begin_drain(&mut self, time: Duration) {
        let time = time.min(FOR_EVER);
        let until = self.reactor.now + time;
        let closed = self.life.drain.closes();
        self.life.drain = DrainState::Until(until);
        self.reactor.timers.set(until, Timer::Drained);
        if closed {
            return;
        }
        events::draining(time, self.admission.total_running(), None);
        self.turn_held_away();
        for key in self.services.listeners.keys() {
            // Who has come by now is served, but no program is started for nobody.
            if !self.services.is_idle(key) {
                self.serve_listener(key);
            }
        }
        self.shut_empty();
    }

    /// Closes the sockets in whose backlog nobody is. Who is in one is served as ever, when
    /// there is a place for him.
    fn shut_empty(&mut self) {
        let open = self.services.listeners.iter().filter(|(_, state)| state.listener.is_some());
        let open: Vec<Key> = open.map(|(key, _)| key).collect();
        for key in open {
            if !self.services.has_clients_to_serve(key) {
                self.shut_listener(key);
            }
        }
    }

    /// It is time to close, or those here have had their time: programs are told to end, the
    /// rest is closed.
    pub(in crate::server) fn drained(&mut self) {
        match self.life.drain {
            DrainState::Announced(begins, time) if begins <= self.reactor.now => {
                return self.begin_drain(time);
            }
            DrainState::Until(until) if until <= self.reactor.now => {}
            DrainState::No | DrainState::Announced(..) | DrainState::Until(_) => return,
        }
        for key in self.services.listeners.keys() {
            self.shut_listener(key);
        }
        for key in self.sessions.table.keys() {
            self.close_session(key, "drained");
        }
        self.close_newcomers();
        self.close_fronted();
    }

    /// At the end of a turn: is anybody left?
    pub(in crate::server) fn stop_if_drained(&mut self) {
        if !self.life.drain.closes() {
            return;
        }
        self.shut_empty();
        let is_open = |(_, state): (Key, &ListenerState)| state.listener.is_some();
        let empty = !self.services.listeners.iter().any(is_open)
            && self.is_nobody_waited_for()
            && self.sessions.banners.len() == 0
            && self.sessions.newcomers.all.len() == 0
            && self.sessions.fronting.len() == 0
            && !self.programs.doomed.ends_leftovers();
        if empty && self.life.stop.is_none() {
            self.life.stop = Some("control");
        }
    }

    /// Whether whoever is left is a program that KILL has not ended.
    fn is_nobody_waited_for(&self) -> bool {
        let does_not_end = |it: &ProgramStage| it.does_not_end(self.reactor.now);
        self.sessions.table.iter().all(|(_, session)| session.program().is_some_and(does_not_end))
    }

    /// Stops as each service wants it. The log, for whose reader is waited, comes after it.
    pub(in crate::server) fn stop_serving(&mut self) {
        self.reloading.stop();
        self.services.naming.stop();
        self.turn_held_away();
        self.tidy(Tidy::Everything);
        self.upgrading.give_up();
        self.manager.notifier.stopping();
        for key in self.sessions.table.programs_that(|_, _| true) {
            self.sessions.stop_child(key, &mut self.reactor);
        }
        self.programs.spawner.let_spares_go();
        self.say_if_cut_short();
        self.finish_overdue();
        self.await_the_killed();
        // Whoever is left of a group whose leader has just ended.
        self.finish_overdue();
        // Closes the sockets and unlinks the paths.
        for key in self.services.listeners.keys() {
            self.close_listener(key);
        }
    }

    /// Says who the peers are and were, how each of them ends, and what is left to say.
    pub(in crate::server) fn log_end(&mut self) {
        self.sessions.list_peers();
        self.sessions.count_peers();
        events::stopping(self.life.stop.unwrap_or("-"));
        self.say_ends();
        for key in self.services.all.keys() {
            self.services.log_all_refusals(key);
        }
        // Says of files that are full how many lines they lack.
        sink::keep_files(std::iter::empty());
        events::stopped();
    }
}

impl Sessions {
    /// Tells the log of everybody who is or was here, in the order of connecting.
    pub(in crate::server) fn list_peers(&self) {
        for (id, peer) in self.everybody() {
            let whom = (peer.address, &*peer.service);
            events::peer(id.number(), whom, peer.pid, peer.running);
        }
    }

    pub(in crate::server) fn count_peers(&self) {
        events::peer_counts(self.peers.total(), self.table.len());
    }
}

impl Services {
    fn has_clients_to_serve(&self, key: Key) -> bool {
        let Some((state, owner)) = self.of(key) else { return false };
        let is_served = matches!(state.rest, Rest::No | Rest::Limit | Rest::Exhausted);
        let waits = state.parked.is_some() || state.has_waiting();
        is_served && waits && owner.service.is_accepted_from()
    }
}
