//! The addresses of a target, tried one after the other.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;

use super::CONNECT;
use crate::builtin::relay::{Dialled, RelayFailure, Side, dial, is_busy};
use crate::config::model::Endpoint;
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::sessions::connecting::connects_as_another;
use crate::server::sessions::session::SessionTable;

/// How soon an address for which there was no room is tried again.
const BUSY: Duration = Duration::from_millis(50);

impl Server {
    /// Tries the addresses of a target, from the present one on.
    pub(in crate::server) fn dial(&mut self, key: Key) {
        loop {
            let Some(state) = self.sessions.table.relay(key) else { return };
            let Some(dial_state) = &mut state.dial else { return };
            let Some(address) = dial_state.address() else { return };
            if connects_as_another(&dial_state.definition) {
                let address = address.into_owned();
                return self.dial_as_another(key, &address);
            }
            match dial(&address) {
                Ok(Dialled::Connected(socket)) => {
                    dial_state.keep_alive(&socket);
                    state.target = Some(socket);
                    if self.watch_side(key, Side::Target) {
                        self.connected(key);
                    }
                    return;
                }
                Ok(Dialled::Pending(socket)) => {
                    dial_state.keep_alive(&socket);
                    state.target = Some(socket);
                    dial_state.busy = None;
                    dial_state.due = dial_state.deadline;
                    self.reactor.timers.set(dial_state.due, Timer::Connect(key));
                    self.watch_side(key, Side::Target);
                    return;
                }
                Ok(Dialled::Busy(error)) => {
                    return self.sessions.table.dial_later(key, error, &mut self.reactor);
                }
                Err(error) => {
                    if !self.next_address(key, &error) {
                        return;
                    }
                }
            }
        }
    }

    /// Has the user of the service connect.
    fn dial_as_another(&mut self, key: Key, address: &Endpoint) {
        let Some(dial) = self.sessions.table.relay(key).and_then(|state| state.dial.as_ref())
        else {
            return;
        };
        let account = Rc::clone(&dial.definition.account);
        let asked = self.ask_connector(key, &account, address);
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(dial) = &mut state.dial else { return };
        match asked {
            Ok((number, socket)) => {
                (dial.asked, dial.busy, dial.due) = (Some(number), None, dial.deadline);
                state.target = Some(socket);
                self.reactor.timers.set(dial.due, Timer::Connect(key));
            }
            Err(error) => self.not_connected(key, error),
        }
    }

    /// An attempt has failed, or is to be made again.
    pub(in crate::server::sessions) fn not_connected(&mut self, key: Key, error: io::Error) {
        if is_busy(&error) {
            self.sessions.table.hang_up(key, &mut self.reactor);
            self.sessions.table.dial_later(key, error, &mut self.reactor);
        } else if self.next_address(key, &error) {
            self.dial(key);
        }
    }

    /// Goes on to the next address; false if there is none, and then the relay is over.
    pub(in crate::server::sessions) fn next_address(
        &mut self,
        key: Key,
        error: &dyn std::fmt::Display,
    ) -> bool {
        self.sessions.table.hang_up(key, &mut self.reactor);
        let Some(state) = self.sessions.table.relay(key) else { return false };
        let Some(dial) = &mut state.dial else { return false };
        let complaint = dial.complaint(error);
        dial.at = dial.at.saturating_add(1);
        dial.deadline = self.reactor.now + CONNECT;
        log::debug!("connect service={} error={complaint:?}", dial.definition.label);
        if dial.address().is_some() {
            return true;
        }
        if let Some(service) = self.relay_failed(key, "connect", &complaint) {
            self.services.target_was_not_reached(service, &mut self.reactor);
        }
        false
    }

    /// The timer of an attempt: to be made once more, or given up.
    pub(in crate::server) fn connect_due(&mut self, key: Key) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(dial) = &mut state.dial else { return };
        let timed_out = || Errno::ETIMEDOUT.into();
        if dial.deadline > self.reactor.now {
            if dial.asked.is_none() && state.client.is_gone() && state.client.has_said_nothing() {
                let error = Errno::EPIPE.into();
                return self.end_relay(key, Err(&RelayFailure { side: Side::Client, error }));
            }
            return self.dial(key);
        }
        let error = dial.busy.take().unwrap_or_else(timed_out);
        if let Some(number) = dial.asked.take() {
            self.sessions.connecting.end_of((key, number), &mut self.reactor);
        }
        if self.next_address(key, &error) {
            self.dial(key);
        }
    }
}

impl SessionTable {
    /// In a ring of relays that nobody could know of (other servers are in it), each client
    /// becomes the next one. When the first is gone, the news goes round as fast as the
    /// connections do, and never overtakes them: a little slower, and it does.
    pub(in crate::server::sessions) fn dial_in(
        &mut self,
        key: Key,
        delay: Duration,
        reactor: &mut Reactor,
    ) {
        let Some(state) = self.relay(key) else { return };
        let Some(dial) = &mut state.dial else { return };
        dial.due = dial.deadline.min(reactor.now + delay);
        reactor.timers.set(dial.due, Timer::Connect(key));
    }

    fn dial_later(&mut self, key: Key, error: io::Error, reactor: &mut Reactor) {
        let Some(state) = self.relay(key) else { return };
        let Some(dial) = &mut state.dial else { return };
        dial.busy = Some(error);
        dial.due = dial.deadline.min(reactor.now + BUSY);
        reactor.timers.set(dial.due, Timer::Connect(key));
    }

    /// Forgets an attempt to connect.
    pub(in crate::server::sessions) fn hang_up(&mut self, key: Key, reactor: &mut Reactor) {
        let Some(state) = self.relay(key) else { return };
        if let Some(dial) = &state.dial {
            reactor.timers.cancel(dial.due, Timer::Connect(key));
        }
        if let Some(socket) = state.target.take() {
            reactor.unwatch(&socket);
            // It may be connected by now, and has been told nothing.
            socket.reset();
        }
    }
}
