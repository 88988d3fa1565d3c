//! When it is looked whether something has moved.

use super::{IDLE, in_terms, later, limit_at_worker};
use crate::front::wire::ToWorker;
use crate::net::fronted::Fronted;
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::sessions::Sessions;
use crate::server::sessions::session::SessionStage;

impl Sessions {
    /// Ends a program if nothing has moved on its connection for too long; looks again later
    /// if something has.
    pub(in crate::server) fn look_for_movement(&mut self, key: Key, reactor: &mut Reactor) {
        let Some((client, child)) = self.table.program_mut(key) else { return };
        if child.overdue {
            return;
        }
        let Some((watched, kept)) = child.watched.as_mut().zip(child.kept.as_ref()) else { return };
        if watched.look(&kept.socket, reactor.now) {
            return reactor.timers.set(watched.due, Timer::Still(key));
        }
        watched.is_over = true;
        client.log_idle(child.pid);
        self.end_child(key, reactor);
    }
}

impl Server {
    /// Somebody is served from now on whom a worker has: if his service has said something else
    /// when he came, it is told what holds now.
    pub(in crate::server::sessions) fn renew_idle_limit(&self, service: Key, fronted: &Fronted) {
        let state = self.services.all.get(service);
        let Some((number, state)) = fronted.number.zip(state) else { return };
        let limit = limit_at_worker(&state.service.attributes, fronted);
        if in_terms(limit) != fronted.terms.map_or(0, |terms| terms.idle) {
            // If it cannot be told now, what it knows holds.
            self.sessions.workers.tell_having(number, &ToWorker::Idle(number, limit));
        }
    }

    /// The same of whoever serves a client that a worker has, which has seen that.
    pub(in crate::server::sessions) fn has_been_idle(&mut self, key: Key) {
        match self.sessions.table.get(key).map(|session| &session.stage) {
            Some(SessionStage::Relay(_)) => self.end_relay(key, Ok(IDLE)),
            Some(SessionStage::Builtin(_)) => self.close_silent(key, IDLE),
            Some(SessionStage::Program(program)) if !program.overdue => {
                if let Some(session) = self.sessions.table.get(key) {
                    session.client.log_idle(program.pid);
                }
                self.sessions.end_child(key, &mut self.reactor);
            }
            Some(SessionStage::Program(_)) | None => {}
        }
    }

    /// The same for a relay. While it is being connected, that has a limit of its own.
    pub(in crate::server) fn look_for_still_relay(&mut self, key: Key) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(still) = &mut state.still else { return };
        let last = if state.dial.is_some() { self.reactor.now } else { still.last };
        still.due = later(last, still.limit);
        if still.due > self.reactor.now {
            return self.reactor.timers.set(still.due, Timer::StillRelay(key));
        }
        self.end_relay(key, Ok(IDLE));
    }
}
