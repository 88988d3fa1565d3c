//! Sessions with built-in services in the turns of the loop.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{BuiltinStage, DONE};
use crate::admission::{Denial, Permit, Reason, ServiceId};
use crate::builtin::{Conversation, Progress, TcpmuxRequest, WallClock, tcpmux};
use crate::config::model::Builtin;
use crate::net::address::Address;
use crate::net::listener;
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::sessions::departing::FrontedClient;
use crate::server::sessions::holding::Caller;
use crate::server::sessions::idling::IDLE;
use crate::server::sessions::lingering::Lingerer;
use crate::server::sessions::session::SessionTable;
use crate::server::sessions::session::{Client, Session, SessionEnd, SessionStage};
use crate::server::sessions::stream::Stream;
use crate::sys::descriptor;

/// A connection on which nothing goes on for so long is closed.
const SILENCE: Duration = Duration::from_secs(300);

/// tcpmux waits so long for the name of a service.
const TCPMUX_SILENCE: Duration = Duration::from_secs(30);

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
    pub(in crate::server) fn start_builtin(
        &mut self,
        service: Key,
        kind: Builtin,
        connection: listener::Connection,
        permit: Permit,
    ) {
        let Some(state) = self.services.all.get(service) else {
            return self.release_unserved(permit, service);
        };
        let attributes = Rc::clone(&state.service.attributes);
        let (log, limit) = (attributes.log.on_success, attributes.limits.idle_timeout);
        let (label, socket_type) = (state.label.clone(), state.service.socket_type);
        let mut conversation = Conversation::new(kind, socket_type, self.clock());
        let whom = connection.whom();
        let listener::Connection { socket, fronted, .. } = connection;
        let mut stream = Stream::from(socket);
        let progress = conversation.turn(&mut stream, &mut self.reactor.scratch);
        let front = FrontedClient::if_any(fronted.as_deref(), &attributes);
        // Of one that a worker has, it is to be known how it has left.
        let waits = front.is_some() && !says_the_last_word(kind);
        let progress = match progress {
            Ok(Progress::Finished) if waits => Ok(Progress::More),
            progress => progress,
        };
        let is_over = matches!(progress, Ok(Progress::Finished) | Err(_));
        // If it is, this closes the connection.
        let open = (!is_over).then_some((conversation, stream));
        let whom = (whom, fronted.as_deref(), None);
        let client = self.begin(service, (label, log), whom, (None, permit));
        let Some((conversation, stream)) = open else {
            return self.end(client, &SessionEnd::Closed(&reason(&progress), None));
        };
        let usual = if kind == Builtin::Tcpmux { TCPMUX_SILENCE } else { SILENCE };
        let silence = limit.unwrap_or(usual);
        let builtin = BuiltinStage {
            conversation,
            stream,
            fronted,
            front,
            active: self.reactor.now,
            silence,
            limited: limit.is_some(),
            due: self.reactor.now + silence,
        };
        self.go_on_with(client, builtin, progress);
    }

    /// After a turn of somebody who is not, or not any more, in the table.
    fn go_on_with(&mut self, client: Client, builtin: BuiltinStage, turn: io::Result<Progress>) {
        match turn {
            Ok(Progress::Blocked) => self.watch_builtin(client, builtin, false),
            Ok(Progress::More) => self.watch_builtin(client, builtin, true),
            Ok(Progress::Handoff(request)) => self.hand_to_entry(client, builtin, &request),
            end => {
                let left = builtin.how_client_left();
                drop(builtin);
                self.end(client, &SessionEnd::Closed(&reason(&end), left));
            }
        }
    }

    pub(in crate::server) fn watch_builtin(
        &mut self,
        client: Client,
        mut builtin: BuiltinStage,
        more: bool,
    ) {
        // Now it may live long.
        descriptor::raise_held_in_place(&mut builtin.stream);
        let (descriptor, due) = (builtin.stream.as_raw_fd(), builtin.due);
        let is_nameless = builtin.conversation.awaits_name();
        let key = self.sessions.table.insert(client, SessionStage::Builtin(builtin));
        if is_nameless {
            self.sessions.table.note_nameless(key);
        }
        if let Err(error) = self.reactor.watch_both(&descriptor, Owner::Conversation(key)) {
            return self.close_builtin(key, &error.to_string());
        }
        self.reactor.timers.set(due, Timer::Idle(key));
        if more {
            self.reactor.ready.push(Owner::Conversation(key));
        }
    }

    /// One turn of one conversation.
    pub(in crate::server) fn serve_builtin(&mut self, key: Key) {
        let Some(builtin) = self.sessions.table.builtin(key) else { return };
        // Whoever says a name has so long for all of it.
        if !builtin.conversation.awaits_name() {
            builtin.active = self.reactor.now;
        }
        match builtin.conversation.turn(&mut builtin.stream, &mut self.reactor.scratch) {
            Ok(Progress::Blocked) => {}
            Ok(Progress::More) => self.reactor.ready.push(Owner::Conversation(key)),
            // He comes to the same end when that is known.
            Ok(Progress::Finished) if self.how_has_he_left(key).is_none() => {}
            other => {
                if let Some((client, builtin)) =
                    self.sessions.table.take_builtin(key, &mut self.reactor)
                {
                    self.go_on_with(client, builtin, other);
                }
            }
        }
    }

    /// Closes a conversation that has been silent for too long; looks again later if not.
    pub(in crate::server) fn look_for_silence(&mut self, key: Key) {
        let Some(builtin) = self.sessions.table.builtin(key) else { return };
        let due: Instant = builtin.active + builtin.silence;
        if due > self.reactor.now {
            builtin.due = due;
            return self.reactor.timers.set(due, Timer::Idle(key));
        }
        let why = if builtin.limited { IDLE } else { "silent" };
        self.close_silent(key, why);
    }

    /// Closes one in which nothing goes on: whoever has got all that there was sees an end.
    pub(in crate::server::sessions) fn close_silent(&mut self, key: Key, why: &str) {
        if let Some((client, builtin)) = self.sessions.table.take_builtin(key, &mut self.reactor) {
            let whose = Lingerer::of(client.service, client.peer);
            self.sessions.workers.break_off(builtin.front.as_deref());
            self.end(client, &SessionEnd::Closed(why, builtin.how_client_left()));
            self.close_slowly(builtin.stream.into(), whose);
        }
    }

    /// Closes a conversation, whatever it is doing.
    pub(in crate::server::sessions) fn close_builtin(&mut self, key: Key, why: &str) {
        if let Some((client, builtin)) = self.sessions.table.take_builtin(key, &mut self.reactor) {
            let left = builtin.how_client_left();
            self.sessions.workers.break_off(builtin.front.as_deref());
            drop(builtin);
            self.end(client, &SessionEnd::Closed(why, left));
        }
    }

    /// tcpmux has read a name: the entry's own admission and the one way of starting
    /// programs decide the rest.
    fn hand_to_entry(&mut self, client: Client, builtin: BuiltinStage, request: &TcpmuxRequest) {
        let entry = |key: Key| {
            let entry = self.services.all.get(key).filter(|entry| !entry.stopped.is_so())?;
            Some((key, entry.service.tcpmux.as_ref()?, entry.admission))
        };
        if request.is_help() {
            let names = self.services.entries.keys().filter_map(entry).map(|(_, name, _)| name);
            return self.answer_and_end(client, builtin, tcpmux::help(names));
        }
        let Some((entry, _, admission)) = self.services.entries.find(request).and_then(entry)
        else {
            return self.answer_not_available(client, builtin);
        };
        match self.may_enter(admission, client.peer) {
            Ok(permit) => self.enter(entry, (client, builtin), permit),
            Err(reason) => {
                let waits = Box::new((client, builtin));
                self.hold_or_turn_away(Caller::Named { entry, waits }, reason);
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
        (client, mut builtin): (Client, BuiltinStage),
        permit: Permit,
    ) {
        let named = self.services.all.get(entry).and_then(|it| it.service.tcpmux.as_ref());
        let greeting: &'static [u8] = match named {
            Some(name) if name.greet => tcpmux::GO.as_bytes(),
            _ => b"",
        };
        let Client { peer, peer_id, .. } = client;
        let socket = OwnedFd::from(builtin.stream);
        let fronted = builtin.fronted.clone();
        let connection = listener::Connection { socket, peer, peer_gid: None, fronted };
        match self.start_accepted(entry, connection, (greeting, peer_id), permit) {
            // The entry's program has him now.
            None => self.end_handed_on(client),
            Some(socket) => {
                builtin.stream = Stream::from(socket);
                self.answer_not_available(client, builtin);
            }
        }
    }

    pub(in crate::server::sessions) fn answer_not_available(
        &mut self,
        client: Client,
        builtin: BuiltinStage,
    ) {
        self.answer_and_end(client, builtin, tcpmux::NOT_AVAILABLE.to_owned());
    }

    fn answer_and_end(&mut self, client: Client, mut builtin: BuiltinStage, words: String) {
        builtin.conversation = Conversation::farewell(words);
        builtin.active = self.reactor.now;
        let turn = builtin.conversation.turn(&mut builtin.stream, &mut self.reactor.scratch);
        self.go_on_with(client, builtin, turn);
    }
}

impl SessionTable {
    /// Takes him out of the table, and nothing is announced of him any more.
    fn take_builtin(&mut self, key: Key, reactor: &mut Reactor) -> Option<(Client, BuiltinStage)> {
        let Session { client, stage: SessionStage::Builtin(builtin) } = self.remove(key)? else {
            debug_assert!(false, "no built-in service has a session of this key");
            return None;
        };
        reactor.unwatch(&builtin.stream);
        reactor.timers.cancel(builtin.due, Timer::Idle(key));
        Some((client, builtin))
    }
}

/// Whether it is the service that ends it, whatever its client does.
fn says_the_last_word(kind: Builtin) -> bool {
    match kind {
        Builtin::Daytime | Builtin::Time | Builtin::Tcpmux => true,
        Builtin::Echo | Builtin::Discard | Builtin::Chargen => false,
    }
}

/// Why a conversation has ended, as the log says it.
fn reason(end: &io::Result<Progress>) -> Cow<'static, str> {
    match end {
        Ok(_) => DONE.into(),
        Err(error) => error.to_string().into(),
    }
}
