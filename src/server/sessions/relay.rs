//! Relays: connections that are passed on to another server instead of a program.
//! Each has two sockets in the poll; whichever is announced, the relay has its turn.

use std::borrow::Cow;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;
use nix::errno::Errno;

use super::dialling::{CONNECT, Dial};
use super::idling::{IDLE, Stillness};
use crate::admission::Permit;
use crate::builtin::relay::{Relay, RelayFailure, RelayProgress, RelaySocket, Side};
use crate::config::model::{LogOnSuccess, ProxySend, Service};
use crate::front::proxy::{self, SendVersion};
use crate::log::events::{self, Label};
use crate::net::address::Address;
use crate::net::listener;
use crate::server::Server;
use crate::server::peers::PeerId;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::{self, Owner};
use crate::server::services::accepting::connection_facts;
use crate::server::services::reserve::ServedClient;

/// So many clients in a row that failed before they were answered are as many as there may
/// be; so many are a ring of relays, or somebody who wants nothing.
const FRUITLESS: [(u32, Duration); 3] = [
    (1024, Duration::from_secs(1)),
    (64, Duration::from_millis(100)),
    (16, Duration::from_millis(10)),
];

/// A relay, or one that is still to be connected.
#[derive(Debug)]
pub(in crate::server) struct RelayState {
    pub(in crate::server) relay: Relay,
    pub(in crate::server) client: RelaySocket,
    /// None while no address is being tried.
    pub(in crate::server) target: Option<RelaySocket>,
    /// None once connected.
    pub(in crate::server) dial: Option<Box<Dial>>,
    pub(in crate::server) service: Key,
    pub(in crate::server) label: Label,
    pub(in crate::server) log: LogOnSuccess,
    pub(in crate::server) permit: Permit,
    pub(in crate::server) peer: Address,
    pub(in crate::server) peer_id: PeerId,
    pub(in crate::server) started: Instant,
    pub(in crate::server) queued: bool,
    /// Its client has ended and is asked now and then whether it is still there.
    pub(in crate::server) probes: bool,
    /// None if it may be still for ever.
    pub(in crate::server) still: Option<Stillness>,
}

impl RelayState {
    pub(in crate::server) fn peer(&self) -> Address {
        self.peer
    }
}

impl Server {
    /// Remembers what was announced and puts the relay into the ready queue, once.
    pub(in crate::server) fn relay_announced(&mut self, key: Key, side: Side) {
        if let Some(state) = self.sessions.relays.get_mut(key) {
            state.relay.announced(side);
            if let Some(still) = &mut state.still {
                still.last = self.reactor.now;
            }
            self.queue_relay(key);
        }
    }

    fn queue_relay(&mut self, key: Key) {
        if let Some(state) = self.sessions.relays.get_mut(key)
            && !std::mem::replace(&mut state.queued, true)
        {
            self.reactor.ready.push_back(Owner::Relay(key));
        }
    }

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
        let log = definition.attributes.log.on_success;
        events::accepted(&label, connection.whom(), None, log);
        let listener::Connection { socket, peer, .. } = connection;
        let client = match RelaySocket::accepted(socket) {
            Ok(client) => client,
            Err(error) => {
                events::failed(&label, peer, None, ("socket", None), &error);
                self.count_failure(service, "socket", &error);
                return self.release(permit, service);
            }
        };
        let deadline = self.reactor.now + CONNECT;
        let limit = definition.attributes.limits.idle_timeout;
        let still = limit.map(|limit| Stillness::new(limit, self.reactor.now));
        self.services.room.shares.take(service, peer, ServedClient::Relay);
        let key = self.sessions.relays.insert(RelayState {
            relay: Relay::beginning_with(header),
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
            service,
            label: label.clone(),
            log,
            permit,
            peer,
            peer_id: self.sessions.peers.connected(peer, label.name(), None, self.reactor.now),
            started: self.reactor.now,
            queued: false,
            probes: false,
            still,
        });
        if let Some(still) = still {
            self.reactor.timers.set(still.due, Timer::StillRelay(key));
        }
        self.count(service, |counters| counters.served());
        if self.watch_side(key, Side::Client) {
            match delay {
                None => self.dial(key),
                Some(delay) => self.dial_in(key, delay),
            }
        }
    }

    /// How a relay has ended says whether the next one is begun at once.
    fn note_fruit(&mut self, service: Key, failed: bool, answered: bool) {
        if let Some(state) = self.services.all.get_mut(service) {
            match (failed, answered) {
                (_, true) => state.fruitless = 0,
                (true, false) => state.fruitless = state.fruitless.saturating_add(1),
                (false, false) => {}
            }
        }
    }

    /// False if the system has no memory for it; the relay is over then.
    pub(in crate::server) fn watch_side(&mut self, key: Key, side: Side) -> bool {
        let Some(state) = self.sessions.relays.get(key) else { return false };
        let (socket, owner) = match side {
            Side::Client => (Some(&state.client), Owner::Relay(key)),
            Side::Target => (state.target.as_ref(), Owner::RelayTarget(key)),
        };
        let Some(descriptor) = socket.map(RelaySocket::as_raw_fd) else { return false };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.reactor.poll.registry();
        match registry.register(&mut SourceFd(&descriptor), token::pack(owner), interest) {
            Ok(()) => true,
            Err(error) => {
                self.relay_failed(key, "epoll_ctl", &error);
                false
            }
        }
    }

    pub(in crate::server) fn connected(&mut self, key: Key) {
        let Some(state) = self.sessions.relays.get_mut(key) else { return };
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
        let Some(state) = self.sessions.relays.get_mut(key) else { return };
        state.queued = false;
        if state.dial.is_none() {
            self.relay_turn(key);
            return self.look_whether_gone(key);
        }
        // Nothing is read before there is somebody to pass it to.
        if let Some(error) = state.client.error() {
            return self.end_relay(key, Some(&RelayFailure { side: Side::Client, error }));
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
        let Some(state) = self.sessions.relays.get_mut(key) else { return };
        if !state.relay.client_has_ended() {
            return;
        }
        if !std::mem::replace(&mut state.probes, true) {
            state.client.probe();
        }
        if state.client.is_gone() {
            let error = state.client.error().unwrap_or_else(|| Errno::EPIPE.into());
            state.relay.client_is_gone(error);
            self.end_relay(key, None);
        }
    }

    fn relay_turn(&mut self, key: Key) {
        let Some(state) = self.sessions.relays.get_mut(key) else { return };
        let Some(target) = &mut state.target else { return };
        match state.relay.turn(&mut state.client, target, &mut self.reactor.scratch) {
            RelayProgress::Blocked => {}
            RelayProgress::More => self.queue_relay(key),
            RelayProgress::Finished => self.end_relay(key, None),
        }
    }

    /// Closes both sides and says why.
    pub(super) fn end_relay(&mut self, key: Key, failure: Option<&RelayFailure>) {
        self.end_relay_for(key, failure, "done");
    }

    /// Closes one on which nothing has moved for too long.
    pub(super) fn end_still_relay(&mut self, key: Key) {
        self.end_relay_for(key, None, IDLE);
    }

    /// `otherwise`: why, if nothing has failed.
    fn end_relay_for(&mut self, key: Key, failure: Option<&RelayFailure>, otherwise: &'static str) {
        let Some(state) = self.sessions.relays.get(key) else { return };
        let why = match failure.or(state.relay.failure()) {
            None => Cow::Borrowed(otherwise),
            Some(RelayFailure { side, error }) => Cow::Owned(format!("{}: {error}", side.as_str())),
        };
        let time = self.reactor.now.saturating_duration_since(state.started);
        events::closed(&state.label, state.peer, &why, time, state.log);
        let service = state.service;
        let failed = failure.or(state.relay.failure()).is_some();
        let answered = state.relay.was_answered();
        self.note_fruit(service, failed, answered);
        self.count(service, |counters| counters.ran(time));
        self.forget_relay(key, otherwise == IDLE);
    }

    /// The target could not be reached: the client is closed.
    pub(super) fn relay_failed(&mut self, key: Key, stage: &str, error: &dyn std::fmt::Display) {
        let Some(state) = self.sessions.relays.get(key) else { return };
        events::failed(&state.label, state.peer, None, (stage, None), error);
        self.count_failure(state.service, stage, error);
        self.forget_relay(key, false);
    }

    /// Closes a relay, whatever it is doing.
    pub(in crate::server) fn close_relay(&mut self, key: Key) {
        self.end_relay(key, None);
    }

    /// `in_order`: whoever has got all that there was sees an end and no failure.
    fn forget_relay(&mut self, key: Key, in_order: bool) {
        if self.sessions.relays.get(key).is_some_and(|state| state.dial.is_some()) {
            self.hang_up(key);
        }
        let Some(state) = self.sessions.relays.remove(key) else { return };
        self.services.room.shares.give_back(state.service, state.peer, ServedClient::Relay);
        if let Some(still) = state.still {
            self.reactor.timers.cancel(still.due, Timer::StillRelay(key));
        }
        let connected = state.dial.is_none();
        for (side, socket) in [(Side::Client, Some(state.client)), (Side::Target, state.target)] {
            let Some(socket) = socket else { continue };
            let _ = self.reactor.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
            if connected && in_order && !state.relay.owes(side) {
                self.close_slowly(socket.into());
            } else if connected && state.relay.resets(side) {
                socket.reset();
            }
        }
        self.sessions.peers.ended(state.peer_id);
        self.release(state.permit, state.service);
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
