//! Connections to the built-in services: thousands at once, each a bounded amount
//! of work per turn, closed when nothing goes on for too long.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;

use super::holding::Caller;
use super::idling::IDLE;
use super::stream::Stream;
use crate::admission::{Denial, Permit, Reason, ServiceId};
use crate::builtin::{Conversation, Progress, TcpmuxRequest, WallClock, tcpmux};
use crate::config::model::Builtin;
use crate::log::events;
use crate::net::address::Address;
use crate::net::listener;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::{self, Owner};
use crate::server::services::reserve::ServedClient;
use crate::server::state::{ConversationState, Guest};
use crate::sys::descriptor;

/// A connection on which nothing goes on for so long is closed.
const SILENCE: Duration = Duration::from_secs(300);
/// tcpmux waits so long for the name of a service.
const TCPMUX_SILENCE: Duration = Duration::from_secs(30);

/// Why most end.
const DONE: &str = "done";

impl Server {
    /// The time of day, as daytime and time tell it.
    pub(in crate::server) fn clock(&self) -> WallClock {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or_default());
        self.zone.clock(seconds)
    }

    /// Serves a connection that has been admitted. What it wants may be done at once
    /// (daytime): then nothing is registered at all, and the client has its answer and its
    /// end before anything is noted.
    pub(in crate::server) fn start_conversation(
        &mut self,
        service: Key,
        kind: Builtin,
        connection: listener::Connection,
        permit: Permit,
    ) {
        let Some(state) = self.services.all.get(service) else {
            return self.release_unserved(permit, service);
        };
        let attributes = &state.service.attributes;
        let (log, limit) = (attributes.log.on_success, attributes.limits.idle_timeout);
        let (label, socket_type) = (state.label.clone(), state.service.socket_type);
        let mut conversation = Conversation::new(kind, socket_type, self.clock());
        let listener::Connection { socket, peer, fronted, .. } = connection;
        let mut stream = Stream::from(socket);
        let progress = conversation.turn(&mut stream, &mut self.reactor.scratch);
        let is_over = matches!(progress, Ok(Progress::Finished) | Err(_));
        // If it is, this closes the connection.
        let open = (!is_over).then_some((conversation, stream));
        let started = self.reactor.now;
        let peer_id = self.sessions.peers.connected(peer, label.name(), None, started);
        let guest = Guest { service, label, log, permit, peer, fronted, peer_id, started };
        events::accepted(&guest.label, guest.whom(), None, log);
        self.count(service, |counters| counters.served());
        let Some((conversation, stream)) = open else {
            return self.note_end(guest, &reason(&progress));
        };
        let usual = if kind == Builtin::Tcpmux { TCPMUX_SILENCE } else { SILENCE };
        let silence = limit.unwrap_or(usual);
        let state = ConversationState {
            guest,
            conversation,
            stream,
            active: started,
            silence,
            limited: limit.is_some(),
            due: started + silence,
            queued: false,
        };
        match progress {
            Ok(Progress::Blocked) => self.watch_conversation(state, false),
            Ok(Progress::More) => self.watch_conversation(state, true),
            other => self.end_turn(state, other),
        }
    }

    pub(in crate::server) fn watch_conversation(
        &mut self,
        mut state: ConversationState,
        more: bool,
    ) {
        // Now it may live long.
        descriptor::raise_held_in_place(&mut state.stream);
        let descriptor = state.stream.as_raw_fd();
        let due = state.due;
        let (service, peer) = (state.guest.service, state.guest.peer);
        self.services.room.shares.take(service, peer, ServedClient::Conversation);
        let is_nameless = state.conversation.awaits_name();
        let key = self.sessions.builtins.insert(state);
        if is_nameless {
            self.note_nameless(key);
        }
        let registered = self.reactor.poll.registry().register(
            &mut SourceFd(&descriptor),
            token::pack(Owner::Conversation(key)),
            Interest::READABLE | Interest::WRITABLE,
        );
        if let Err(error) = registered
            && let Some(state) = self.sessions.builtins.remove(key)
        {
            self.services.room.shares.give_back(service, peer, ServedClient::Conversation);
            return self.end_conversation(state, &error.to_string());
        }
        self.reactor.timers.set(due, Timer::Idle(key));
        if more {
            self.queue(Owner::Conversation(key));
        }
    }

    /// One turn of one conversation.
    pub(in crate::server) fn converse(&mut self, key: Key) {
        let Some(state) = self.sessions.builtins.get_mut(key) else { return };
        state.queued = false;
        // Whoever says a name has so long for all of it.
        if !state.conversation.awaits_name() {
            state.active = self.reactor.now;
        }
        match state.conversation.turn(&mut state.stream, &mut self.reactor.scratch) {
            Ok(Progress::Blocked) => {}
            Ok(Progress::More) => self.queue(Owner::Conversation(key)),
            other => {
                if let Some(state) = self.forget_conversation(key) {
                    self.end_turn(state, other);
                }
            }
        }
    }

    fn forget_conversation(&mut self, key: Key) -> Option<ConversationState> {
        let state = self.sessions.builtins.remove(key)?;
        self.services.room.shares.give_back(
            state.guest.service,
            state.guest.peer,
            ServedClient::Conversation,
        );
        let _ = self.reactor.poll.registry().deregister(&mut SourceFd(&state.stream.as_raw_fd()));
        self.reactor.timers.cancel(state.due, Timer::Idle(key));
        Some(state)
    }

    fn end_turn(&mut self, state: ConversationState, end: io::Result<Progress>) {
        match end {
            Ok(Progress::Handoff(request)) => self.hand_to_entry(state, &request),
            other => self.end_conversation(state, &reason(&other)),
        }
    }

    fn end_conversation(&mut self, state: ConversationState, why: &str) {
        let ConversationState { guest, stream, .. } = state;
        drop(stream);
        self.note_end(guest, why);
    }

    fn note_end(&mut self, guest: Guest, why: &str) {
        let time = self.reactor.now.saturating_duration_since(guest.started);
        events::closed(&guest.label, guest.peer, why, time, guest.log);
        self.count(guest.service, |counters| counters.ran(time));
        self.sessions.peers.ended(guest.peer_id);
        self.release(guest.permit, guest.service);
    }

    /// Closes a conversation that has been silent for too long; looks again later if not.
    pub(in crate::server) fn look_for_silence(&mut self, key: Key) {
        let Some(state) = self.sessions.builtins.get_mut(key) else { return };
        let due: Instant = state.active + state.silence;
        if due > self.reactor.now {
            state.due = due;
            return self.reactor.timers.set(due, Timer::Idle(key));
        }
        if let Some(state) = self.forget_conversation(key) {
            let why = if state.limited { IDLE } else { "silent" };
            let ConversationState { guest, stream, .. } = state;
            self.note_end(guest, why);
            self.close_slowly(stream.into());
        }
    }

    /// Closes a conversation, whatever it is doing.
    pub(in crate::server) fn close_conversation(&mut self, key: Key, why: &str) {
        if let Some(state) = self.forget_conversation(key) {
            self.end_conversation(state, why);
        }
    }

    /// tcpmux has read a name: the entry's own admission and the one way of starting
    /// programs decide the rest.
    fn hand_to_entry(&mut self, state: ConversationState, request: &TcpmuxRequest) {
        let entry = |key: Key| {
            let entry = self.services.all.get(key).filter(|entry| !entry.stopped.is_so())?;
            Some((key, entry.service.tcpmux.as_ref()?, entry.admission))
        };
        if request.is_help() {
            let names = self.services.entries.keys().filter_map(entry).map(|(_, name, _)| name);
            return self.say_and_end(state, tcpmux::help(names));
        }
        let Some((entry, _, admission)) = self.services.entries.find(request).and_then(entry)
        else {
            return self.say_not_available(state);
        };
        match self.may_enter(admission, state.guest.peer) {
            Ok(permit) => self.enter(entry, state, permit),
            Err(reason) => {
                let conversation = Box::new(state);
                self.hold_or_turn_away(Caller::Named { entry, conversation }, reason);
            }
        }
    }

    fn may_enter(&mut self, entry: ServiceId, peer: Address) -> Result<Permit, Reason> {
        self.look_for_room(entry, None);
        match self.admission.before_accept(self.reactor.now, entry) {
            Ok(()) => self.try_to_admit(entry, peer),
            Err(Denial::Refuse(reason) | Denial::Rest(reason, _)) => Err(reason),
        }
    }

    /// Whoever has been admitted by an entry gets its program. If that cannot be started, he
    /// is told so, and nothing else before it: what greets for a program is the child that
    /// becomes it.
    pub(in crate::server) fn enter(
        &mut self,
        entry: Key,
        mut state: ConversationState,
        permit: Permit,
    ) {
        let named = self.services.all.get(entry).and_then(|it| it.service.tcpmux.as_ref());
        let greeting: &'static [u8] = match named {
            Some(name) if name.greet => tcpmux::GO.as_bytes(),
            _ => b"",
        };
        let Guest { peer, peer_id, .. } = state.guest;
        let fronted = state.guest.fronted.clone();
        let socket = OwnedFd::from(state.stream);
        let connection = listener::Connection { socket, peer, peer_gid: None, fronted };
        match self.start_accepted(entry, connection, (greeting, peer_id), permit) {
            None => self.release(state.guest.permit, state.guest.service),
            Some(socket) => {
                state.stream = Stream::from(socket);
                self.say_not_available(state);
            }
        }
    }

    pub(super) fn say_not_available(&mut self, state: ConversationState) {
        self.say_and_end(state, tcpmux::NOT_AVAILABLE.to_owned());
    }

    fn say_and_end(&mut self, mut state: ConversationState, words: String) {
        state.conversation = Conversation::farewell(words);
        state.active = self.reactor.now;
        match state.conversation.turn(&mut state.stream, &mut self.reactor.scratch) {
            Ok(Progress::Blocked) => self.watch_conversation(state, false),
            Ok(Progress::More) => self.watch_conversation(state, true),
            _ => self.end_conversation(state, DONE),
        }
    }
}

/// Why a conversation has ended, as the log says it.
fn reason(end: &io::Result<Progress>) -> Cow<'static, str> {
    match end {
        Ok(_) => DONE.into(),
        Err(error) => error.to_string().into(),
    }
}
