//! Closing what was kept of programs that have ended.

use std::time::Instant;

use nix::sys::prctl::{get_child_subreaper, set_child_subreaper};

use super::keeps;
use crate::server::Server;
use crate::server::reactor::timers::Timer;
use crate::server::services::Services;

impl Server {
    /// Whoever loses its parent comes to us, if connections are kept, and if it did so to the
    /// program before us: of services that are no more, connections may be kept still.
    pub(in crate::server) fn adopt_orphans(&mut self) {
        if self.sessions.closing.adopts {
            return;
        }
        let is_subreaper = || get_child_subreaper().unwrap_or(false);
        if self.services.keeps_connections() || is_subreaper() {
            self.sessions.closing.adopts = set_child_subreaper(true).is_ok();
        }
    }

    /// Closes what programs that have ended in this turn have left, in the client's time where
    /// nothing else has it; those that have to wait for that have their time when it is theirs.
    pub(in crate::server) fn close_what_ended(&mut self) {
        let is_last = self.life.drain.closes() || self.life.stop.is_some();
        // Others may be found to have ended meanwhile.
        while !self.sessions.closing.ended.is_empty() {
            let closing = &mut self.sessions.closing;
            if let Some(when) = closing.waits_until(self.reactor.now).filter(|_| !is_last) {
                return self.reactor.timers.set_sooner(&mut closing.due, when, Timer::Closing);
            }
            self.close_those_that_ended();
        }
    }

    /// The same, and nobody waits.
    pub(in crate::server) fn close_all_that_ended(&mut self) {
        while !self.sessions.closing.ended.is_empty() {
            self.close_those_that_ended();
        }
    }

    fn close_those_that_ended(&mut self) {
        let ended = std::mem::take(&mut self.sessions.closing.ended);
        let began = Instant::now();
        let (unused, used) = self.by_use(ended);
        self.sessions.closing.searched(began, Instant::now());
        for ended in unused {
            self.close_slowly(ended.kept.socket, ended.whose);
        }
        for ended in used {
            self.programs.doomed.keep_for_leftovers(ended);
        }
    }
}

impl Services {
    /// Whether connections of programs of some service are kept.
    pub(in crate::server) fn keeps_connections(&self) -> bool {
        self.all.iter().any(|(_, state)| state.prepared.is_some() && keeps(&state.service))
    }
}
