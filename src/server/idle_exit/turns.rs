//! When the server looks whether it is to leave.

use std::time::Duration;

use crate::server::Server;
use crate::server::reactor::timers::Timer;
use crate::server::services::Services;
use crate::server::state::Rest;

/// Why the server stops, as the log says it.
const IDLE: &str = "idle";

/// Whoever asks the server is answered first: it is looked again so soon.
const ANSWERED: Duration = Duration::from_millis(100);

impl Server {
    /// The loop begins.
    pub(in crate::server) fn start_idle_exit(&mut self) {
        if let Some(limit) = self.life.idle_exit.limit {
            self.reactor.timers.set(self.life.idle_exit.last + limit, Timer::Leave);
        }
    }

    /// At both ends of a turn: who has gone in it was here.
    pub(in crate::server) fn note_presence(&mut self) {
        if self.life.idle_exit.limit.is_some() && self.is_needed() {
            self.life.idle_exit.last = self.reactor.now;
        }
    }

    fn is_needed(&self) -> bool {
        !self.has_no_clients() || !self.reloading.is_idle() || self.upgrading.is_tried()
    }

    /// Ends if nobody has been here for long enough; looks again later if somebody has.
    pub(in crate::server) fn exit_if_idle(&mut self) {
        let Some(limit) = self.life.idle_exit.limit else { return };
        let is_early = self.life.idle_exit.last + limit > self.reactor.now;
        // Whoever has come in this very moment is served, too.
        if !is_early && (self.is_needed() || self.services.has_waiting_clients()) {
            self.life.idle_exit.last = self.reactor.now;
        }
        let due = self.life.idle_exit.last + limit;
        if due > self.reactor.now {
            self.reactor.timers.set(due, Timer::Leave);
        } else if self.control.connections.len() > 0 {
            self.reactor.after(ANSWERED, Timer::Leave);
        } else {
            self.life.stop.get_or_insert(IDLE);
        }
    }
}

impl Services {
    /// Whether somebody is in a backlog.
    fn has_waiting_clients(&self) -> bool {
        let mut listeners = self.listeners.iter();
        listeners.any(|(_, listener)| listener.rest != Rest::Program && listener.has_waiting())
    }
}
