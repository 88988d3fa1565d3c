//! A relay in the turns of the loop: begun, connected, served, ended.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;

use super::RelayStage;
use crate::admission::Permit;
use crate::builtin::relay::{Relay, RelayFailure, RelayProgress, RelaySocket, Side};
use crate::config::model::{ProxySend, Service};
use crate::front::proxy::{self, SendVersion};
use crate::net::address::Address;
use crate::net::listener;
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;
use crate::server::services::accepting::connection_facts;
use crate::server::sessions::builtin::DONE;
use crate::server::sessions::departing::FrontedClient;
use crate::server::sessions::dialling::{CONNECT, Dial};
use crate::server::sessions::idling::{IDLE, Stillness};
use crate::server::sessions::lingering::Lingerer;
use crate::server::sessions::session::{Client, Session, SessionEnd, SessionStage, SessionTable};

/// So many clients in a row that failed before they were answered are as many as there may
/// be; so many are a ring of relays, or somebody who wants nothing.
const FRUITLESS: [(u32, Duration); 3] = [
    (1024, Duration::from_secs(1)),
    (64, Duration::from_millis(100)),
    (16, Duration::from_millis(10)),
];

impl Server {
    /// Relays a connection that has been admitted: begins to connect to its target.
    pub(in crate::server) fn start_relay(
        &mut self,
        service: Key,
        connection: listener::Connection,
        permit: Permit,
    ) {
        let Some(state) = self.services.all.get(service) else {
            return self.release_unserved(permit, service);
        };
        let label = state.label.clone();
        let delay = FRUITLESS.into_iter().find(|(count, _)| state.fruitless >= *count);
        let delay = delay.map(|(_, delay)| delay);
        let definition = Rc::clone(&state.service);
        let header = header_for(&definition, &connection);
        let front = FrontedClient::if_any(connection.fronted.as_deref(), &definition.attributes);
        let log = definition.attributes.log.on_success;
        let whom = (connection.whom(), connection.fronted.as_deref(), None);
        let session = self.begin(service, (label, log), whom, (None, permit));
        let socket = connection.socket;
        let client = match RelaySocket::accepted(socket) {
            Ok(client) => client,
            Err(error) => return self.end(session, &SessionEnd::Failed("socket", &error)),
        };
        let deadline = self.reactor.now + CONNECT;
        let limit = definition.attributes.limits.idle_timeout;
        let still = limit.map(|limit| Stillness::new(limit, self.reactor.now));
        let relay = RelayStage {
            relay: Relay::beginning_with(header, front.is_some()),
            client,
            target: None,
            dial: Some(Box::new(Dial {
                definition,
                at: 0,
                deadline,
                due: deadline,
                busy: None,
                asked: None,
            })),
            probes: false,
            front,
            still,
        };
        let key = self.sessions.table.insert(session, SessionStage::Relay(Box::new(relay)));
        if let Some(still) = still {
            self.reactor.timers.set(still.due, Timer::StillRelay(key));
        }
        if self.watch_side(key, Side::Client) {
            match delay {
                None => self.dial(key),
                Some(delay) => self.sessions.table.dial_in(key, delay, &mut self.reactor),
            }
        }
    }

    /// False if the system has no memory for it; the relay is over then.
    pub(in crate::server) fn watch_side(&mut self, key: Key, side: Side) -> bool {
        let Some(state) = self.sessions.table.relay(key) else { return false };
        let (socket, owner) = match side {
            Side::Client => (Some(&state.client), Owner::Relay(key)),
            Side::Target => (state.target.as_ref(), Owner::RelayTarget(key)),
        };
        let Some(socket) = socket else { return false };
        let watched = self.reactor.watch_both(socket, owner);
        if let Err(error) = &watched {
            self.relay_failed(key, "epoll_ctl", error);
        }
        watched.is_ok()
    }

    pub(in crate::server) fn connected(&mut self, key: Key) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        if let Some(dial) = state.dial.take() {
            self.reactor.timers.cancel(dial.due, Timer::Connect(key));
        }
        // What was announced meanwhile was announced for both.
        state.relay.announced(Side::Client);
        state.relay.announced(Side::Target);
        self.relay_turn(key);
        self.look_whether_gone(key);
    }

    /// A relay of which a socket has been announced, or which had more to do.
    pub(in crate::server) fn serve_relay(&mut self, key: Key) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        if state.dial.is_none() {
            self.relay_turn(key);
            return self.look_whether_gone(key);
        }
        // Nothing is read before there is somebody to pass it to.
        let has_left = state.front.as_ref().is_some_and(|front| front.left.is_some());
        let error = state.client.error().or_else(|| has_left.then(|| Errno::ECONNRESET.into()));
        if let Some(error) = error {
            return self.end_relay(key, Err(&RelayFailure { side: Side::Client, error }));
        }
        let is_asked = state.dial.as_ref().is_some_and(|dial| dial.asked.is_some());
        match state.target.as_ref().filter(|_| !is_asked).map(RelaySocket::answered) {
            Some(Ok(true)) => self.connected(key),
            Some(Err(error)) => {
                if self.next_address(key, &error) {
                    self.dial(key);
                }
            }
            Some(Ok(false)) | None => {}
        }
    }

    /// A client that has ended waits for its answer, or is gone.
    fn look_whether_gone(&mut self, key: Key) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        if !state.relay.client_has_ended() {
            return;
        }
        if !std::mem::replace(&mut state.probes, true) {
            state.client.probe();
        }
        if state.client.is_gone() {
            let error = state.client.error().unwrap_or_else(|| Errno::EPIPE.into());
            state.relay.client_is_gone(error);
            self.end_relay(key, Ok(DONE));
        }
    }

    fn relay_turn(&mut self, key: Key) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(target) = &mut state.target else { return };
        match state.relay.turn(&mut state.client, target, &mut self.reactor.scratch) {
            RelayProgress::Blocked => {}
            RelayProgress::More => self.reactor.ready.push(Owner::Relay(key)),
            RelayProgress::ClientEnds => self.client_of_relay_ends(key),
            RelayProgress::Finished => self.end_relay(key, Ok(DONE)),
        }
    }

    /// What its worker says of it, or will, decides whether that is an end.
    fn client_of_relay_ends(&mut self, key: Key) {
        let Some(left) = self.how_has_he_left(key) else { return };
        if let Some(state) = self.sessions.table.relay(key) {
            state.relay.client_ends(left.is_none());
            self.relay_turn(key);
        }
    }

    /// Closes both sides and says why: this, if nothing has failed.
    pub(in crate::server::sessions) fn end_relay(
        &mut self,
        key: Key,
        end: Result<&'static str, &RelayFailure>,
    ) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        let failure = end.err().or(state.relay.failure());
        let answered = state.relay.was_answered();
        let failed = failure.is_some();
        let left = state.front.as_deref().and_then(FrontedClient::how);
        let why = match failure {
            None => Cow::Borrowed(end.unwrap_or(DONE)),
            Some(RelayFailure { side, error }) => Cow::Owned(format!("{}: {error}", side.as_str())),
        };
        if let Some(client) = self.close_sockets(key, end.is_ok_and(|why| why == IDLE)) {
            self.services.note_fruit(client.service, failed, answered);
            self.end(client, &SessionEnd::Closed(&why, left));
        }
    }

    /// The target could not be reached: the client is closed. The service.
    pub(in crate::server::sessions) fn relay_failed(
        &mut self,
        key: Key,
        stage: &'static str,
        error: &dyn std::fmt::Display,
    ) -> Option<Key> {
        let client = self.close_sockets(key, false)?;
        let service = client.service;
        self.end(client, &SessionEnd::Failed(stage, error));
        Some(service)
    }

    /// `in_order`: whoever has got all that there was sees an end and no failure.
    fn close_sockets(&mut self, key: Key, in_order: bool) -> Option<Client> {
        if self.sessions.table.relay(key).is_some_and(|state| state.dial.is_some()) {
            self.sessions.table.hang_up(key, &mut self.reactor);
        }
        let Session { client, stage: SessionStage::Relay(state) } =
            self.sessions.table.remove(key)?
        else {
            debug_assert!(false, "no relay has a session of this key");
            return None;
        };
        if let Some(still) = state.still {
            self.reactor.timers.cancel(still.due, Timer::StillRelay(key));
        }
        let connected = state.dial.is_none();
        if state.relay.resets(Side::Client) {
            self.sessions.workers.break_off(state.front.as_deref());
        }
        for (side, socket) in [(Side::Client, Some(state.client)), (Side::Target, state.target)] {
            let Some(socket) = socket else { continue };
            self.reactor.unwatch(&socket);
            if connected && in_order && !state.relay.owes(side) {
                self.close_slowly(socket.into(), Lingerer::of(client.service, client.peer));
            } else if connected && state.relay.resets(side) {
                socket.reset();
            }
        }
        Some(client)
    }
}

impl SessionTable {
    /// Remembers what was announced and puts the relay into the ready queue, once.
    pub(in crate::server) fn relay_announced(
        &mut self,
        key: Key,
        side: Side,
        reactor: &mut Reactor,
    ) {
        if let Some(state) = self.relay(key) {
            state.relay.announced(side);
            if let Some(still) = &mut state.still {
                still.last = reactor.now;
            }
            reactor.ready.push(Owner::Relay(key));
        }
    }
}

impl Services {
    /// How a relay has ended says whether the next one is begun at once.
    fn note_fruit(&mut self, service: Key, failed: bool, answered: bool) {
        if let Some(state) = self.all.get_mut(service) {
            match (failed, answered) {
                (_, true) => state.fruitless = 0,
                (true, false) => state.fruitless = state.fruitless.saturating_add(1),
                (false, false) => {}
            }
        }
    }
}

/// What the target is told of the client before anything else.
fn header_for(service: &Service, connection: &listener::Connection) -> Vec<u8> {
    let version = match service.attributes.front.proxy_send {
        ProxySend::No => return Vec::new(),
        ProxySend::V1 => SendVersion::V1,
        ProxySend::V2 => SendVersion::V2,
    };
    let ends = match connection.peer {
        Address::Inet(source) => Some(source).zip(connection_facts(None, connection).local),
        _ => None,
    };
    proxy::header(version, ends, connection.fronted.as_deref())
}
