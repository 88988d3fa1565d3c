//! How the server comes to its end: at once, or after it has let everybody finish.

use std::time::{Duration, Instant};

use super::Server;
use super::programs::watching::Tidy;
use super::reactor::timers::Timer;
use crate::log::events;
use crate::log::sink;

/// Until when whoever is there may go on by itself.
pub(super) type Drain = Option<Instant>;

impl Server {
    /// Nobody is let in any more; whoever is here has so long to come to an end.
    pub(super) fn begin_drain(&mut self, time: Duration) {
        // A century is for ever, and a moment that the clock has.
        let time = time.min(Duration::from_secs(100 * 365 * 86_400));
        let until = self.reactor.now + time;
        let before = self.life.drain.replace(until);
        self.reactor.timers.set(until, Timer::Drained);
        if before.is_some() {
            return;
        }
        events::draining(time, self.admission.total_running());
        self.hold_nobody();
        for key in self.services.listeners.keys() {
            // Who has come by now is served, but no program is started for nobody.
            if !self.is_idle(key) {
                self.serve_listener(key);
            }
            self.shut_listener(key);
        }
    }

    /// Those who have had their time: programs are told to end, the rest is closed.
    pub(super) fn drained(&mut self) {
        if self.life.drain.is_none_or(|until| until > self.reactor.now) {
            return;
        }
        for key in self.programs.children.keys() {
            self.end_child(key);
        }
        for key in self.sessions.builtins.keys() {
            self.close_conversation(key, "drained");
        }
        for key in self.sessions.relays.keys() {
            self.close_relay(key);
        }
    }

    /// At the end of a turn: is anybody left?
    pub(super) fn stop_if_drained(&mut self) {
        let empty = self.programs.children.len() == 0
            && self.sessions.builtins.len() == 0
            && self.sessions.relays.len() == 0
            && self.sessions.banners.len() == 0
            && !self.ends_leftovers();
        if self.life.drain.is_some() && empty && self.life.stop.is_none() {
            self.life.stop = Some("control");
        }
    }

    pub(super) fn count_peers(&self) {
        events::peer_counts(self.sessions.peers.total(), self.sessions.peers.running());
    }

    /// Stops as each service wants it. The log, for whose reader is waited, comes after it.
    pub(super) fn stop_serving(&mut self) {
        self.reloading.stop();
        self.services.naming.stop();
        self.tidy(Tidy::Everything);
        self.give_up_trial();
        self.manager.notifier.stopping();
        for key in self.programs.children.keys() {
            self.stop_child(key);
        }
        self.programs.spawner.let_spares_go();
        self.finish_overdue();
        // Closes the sockets and unlinks the paths.
        for key in self.services.listeners.keys() {
            self.close_listener(key);
        }
    }

    /// Says who the peers are and were, and what is left to say.
    pub(super) fn say_farewell(&mut self) {
        self.sessions.peers.tell();
        self.count_peers();
        events::stopping(self.life.stop.unwrap_or("-"));
        for key in self.services.all.keys() {
            self.tell_all_refusals(key);
        }
        // Says of files that are full how many lines they lack.
        sink::keep_files(std::iter::empty());
        events::stopped();
    }
}
