//! Connections to the built-in services: thousands at once, each a bounded amount
//! of work per turn, closed when nothing goes on for too long.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;

use super::Server;
use super::slab::Key;
use super::state::ConversationState;
use super::timers::Timer;
use super::token::{self, Owner};
use crate::admission::{Source, Verdict};
use crate::builtin::{Conversation, Progress, TcpmuxRequest, WallClock, tcpmux};
use crate::config::model::Builtin;
use crate::descriptor;
use crate::journal;
use crate::listener;

/// A connection on which nothing goes on for so long is closed.
const SILENCE: Duration = Duration::from_secs(300);
/// tcpmux waits so long for the name of a service.
const TCPMUX_SILENCE: Duration = Duration::from_secs(30);

impl Server {
    /// The time of day, as daytime and time tell it.
    pub(super) fn clock(&self) -> WallClock {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or_default());
        self.zone.clock(seconds)
    }

    /// Serves a connection that has been admitted. What it wants may be done at once
    /// (daytime), and then nothing is registered at all.
    pub(super) fn start_conversation(
        &mut self,
        service: Key,
        kind: Builtin,
        connection: listener::Connection,
    ) {
        let Some(state) = self.services.get(service) else { return };
        let label = state.label.clone();
        let conversation = Conversation::new(kind, state.service.socket_type, self.clock());
        let listener::Connection { socket, peer, .. } = connection;
        let log = state.service.attributes.log_on_success;
        journal::accepted(&label, peer, None, log);
        let stream = descriptor::set_nonblocking(&socket).map(|()| File::from(socket));
        let peer_id = self.peers.connected(peer, label.name(), None, self.now);
        let silence = if kind == Builtin::Tcpmux { TCPMUX_SILENCE } else { SILENCE };
        let mut state = match stream {
            Ok(stream) => ConversationState {
                conversation,
                stream,
                service,
                label,
                log,
                admission: state.admission,
                peer,
                peer_id,
                started: self.now,
                active: self.now,
                silence,
                due: self.now + silence,
                queued: false,
            },
            Err(error) => {
                let admission = state.admission;
                journal::failed(&label, peer, None, "socket", &error);
                self.count_failure(service, "socket", &error);
                self.peers.ended(peer_id);
                let wake = self.admission.release(self.now, admission, Source::from(peer));
                return self.wake(wake, service);
            }
        };
        self.count(service, |counters| counters.served());
        match state.conversation.turn(&mut state.stream, &mut self.scratch) {
            Ok(Progress::Blocked) => self.watch_conversation(state, false),
            Ok(Progress::More) => self.watch_conversation(state, true),
            other => self.end_turn(state, other),
        }
    }

    pub(super) fn watch_conversation(&mut self, mut state: ConversationState, more: bool) {
        // Now it may live long.
        descriptor::raise_in_place(&mut state.stream);
        let descriptor = state.stream.as_raw_fd();
        let due = state.due;
        let key = self.conversations.insert(state);
        let registered = self.poll.registry().register(
            &mut SourceFd(&descriptor),
            token::pack(Owner::Conversation(key)),
            Interest::READABLE | Interest::WRITABLE,
        );
        if let Err(error) = registered
            && let Some(state) = self.conversations.remove(key)
        {
            return self.end_conversation(&state, &error.to_string());
        }
        self.timers.set(due, Timer::Idle(key));
        if more {
            self.queue(Owner::Conversation(key));
        }
    }

    /// One turn of one conversation.
    pub(super) fn converse(&mut self, key: Key) {
        let Some(state) = self.conversations.get_mut(key) else { return };
        state.queued = false;
        state.active = self.now;
        match state.conversation.turn(&mut state.stream, &mut self.scratch) {
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
        let state = self.conversations.remove(key)?;
        let _ = self.poll.registry().deregister(&mut SourceFd(&state.stream.as_raw_fd()));
        self.timers.cancel(state.due, Timer::Idle(key));
        Some(state)
    }

    fn end_turn(&mut self, state: ConversationState, end: std::io::Result<Progress>) {
        match end {
            Ok(Progress::Handoff(request)) => self.hand_to_entry(state, &request),
            Ok(_) => self.end_conversation(&state, "done"),
            Err(error) => self.end_conversation(&state, &error.to_string()),
        }
    }

    fn end_conversation(&mut self, state: &ConversationState, why: &str) {
        let time = self.now.saturating_duration_since(state.started);
        journal::closed(&state.label, state.peer, why, time, state.log);
        self.count(state.service, |counters| counters.ran(time));
        self.peers.ended(state.peer_id);
        self.release_conversation(state);
    }

    fn release_conversation(&mut self, state: &ConversationState) {
        let source = Source::from(state.peer);
        let wake = self.admission.release(self.now, state.admission, source);
        self.wake(wake, state.service);
    }

    /// Closes a conversation that has been silent for too long; looks again later if not.
    pub(super) fn look_for_silence(&mut self, key: Key) {
        let Some(state) = self.conversations.get_mut(key) else { return };
        let due: Instant = state.active + state.silence;
        if due > self.now {
            state.due = due;
            return self.timers.set(due, Timer::Idle(key));
        }
        if let Some(state) = self.forget_conversation(key) {
            self.end_conversation(&state, "silent");
        }
    }

    /// Closes a conversation, whatever it is doing.
    pub(super) fn close_conversation(&mut self, key: Key, why: &str) {
        if let Some(state) = self.forget_conversation(key) {
            self.end_conversation(&state, why);
        }
    }

    /// tcpmux has read a name: the entry's own admission and the one way of starting
    /// programs decide the rest.
    fn hand_to_entry(&mut self, state: ConversationState, request: &TcpmuxRequest) {
        let entries = self.services.iter().filter_map(|(key, entry)| {
            entry.service.tcpmux.as_ref().map(|name| (key, name.clone(), entry.admission))
        });
        let entries: Vec<_> = entries.collect();
        if request.is_help() {
            let names = tcpmux::help(entries.iter().map(|(_, name, _)| name));
            return self.say_and_end(state, names);
        }
        let found = entries.into_iter().find(|(_, name, _)| request.matches(name));
        let Some((entry, name, admission)) = found else {
            return self.say_and_end(state, tcpmux::NOT_AVAILABLE.to_owned());
        };
        self.look_for_room(admission, None);
        let verdict = match self.admission.before_accept(self.now, admission) {
            Verdict::Admit => self.admits(admission, state.peer),
            other => other,
        };
        if let Verdict::Refuse(reason) | Verdict::Rest(reason, _) = verdict {
            self.refuse(entry, state.peer, reason);
            return self.say_and_end(state, tcpmux::NOT_AVAILABLE.to_owned());
        }
        self.release_conversation(&state);
        self.start_entry(entry, state, name.greet);
    }

    fn start_entry(&mut self, entry: Key, state: ConversationState, greet: bool) {
        let ConversationState { mut stream, peer, peer_id, .. } = state;
        // Five bytes into an empty send buffer; a client for whom that fails is gone.
        if greet && stream.write_all(tcpmux::GO.as_bytes()).is_err() {
            self.peers.ended(peer_id);
            return self.cancel_start(entry, peer);
        }
        let socket = OwnedFd::from(stream);
        let connection = listener::Connection { socket, peer, peer_gid: None };
        if !self.start_accepted(entry, connection, peer_id) {
            self.peers.ended(peer_id);
        }
    }

    fn say_and_end(&mut self, mut state: ConversationState, words: String) {
        state.conversation = Conversation::farewell(words);
        match state.conversation.turn(&mut state.stream, &mut self.scratch) {
            Ok(Progress::Blocked) => self.watch_conversation(state, false),
            Ok(Progress::More) => self.watch_conversation(state, true),
            _ => self.end_conversation(&state, "done"),
        }
    }
}
