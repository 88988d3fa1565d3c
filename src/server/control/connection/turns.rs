//! Connections of those who ask, in the turns of the loop.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use super::{ControlConnection, ControlListener, ControlStage};
use crate::control::answer::{self, RequestRefusal};
use crate::control::http;
use crate::control::request::{self, Request};
use crate::control::socket::ControlKind;
use crate::log::events;
use crate::net::listener::{Accepted, Connection, Listener};
use crate::server::Server;
use crate::server::control::connection::ControlSockets;
use crate::server::control::crowding::{Candidate, evicted};
use crate::server::control::producer::Producer;
use crate::server::programs::watching::Tidy;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::sys::descriptor;

/// Connections at once of those who command.
const MOST: usize = 32;

/// Connections taken from one of the sockets in one turn.
const ACCEPTS: usize = 16;

/// A request is to be there after so long, and an answer on which nothing goes on for so long is
/// not told any further.
const SILENCE: Duration = Duration::from_secs(10);

/// When a socket is looked at again for which there was no descriptor.
const EXHAUSTED: Duration = Duration::from_millis(250);

/// An answer is made further when fewer bytes than this wait to be sent.
const LOW: usize = 32 * 1024;

fn candidate(now: Instant, (key, connection): (Key, &ControlConnection)) -> Candidate {
    let active = match connection.stage {
        ControlStage::Asking => connection.since,
        ControlStage::Told => connection.active,
        // It is we who keep him waiting, or who are to stay.
        _ => now,
    };
    Candidate { key, source: connection.peer.into(), active, number: connection.number }
}

/// What a turn of a connection came to.
enum TurnResult {
    Blocked,
    More,
    Over,
}

impl Server {
    /// Takes who waits at a socket.
    pub(in crate::server) fn accept_control_connections(&mut self, key: Key) {
        for _ in 0..ACCEPTS {
            let Some(state) = self.control.listeners.get(key) else { return };
            let kind = state.kind;
            match self.accept_asker(key, kind) {
                Accepted::Connection(connection) => {
                    let most = match kind {
                        ControlKind::Control => MOST,
                        ControlKind::Metrics | ControlKind::Page => self.facts.reserve.askers(),
                    };
                    self.control.make_room(kind, most, &self.reactor);
                    // Most have asked by now: they are answered before others are in their way.
                    let key = self.control.greet(kind, connection, &mut self.reactor);
                    key.into_iter().for_each(|key| self.serve_control_connection(key));
                }
                Accepted::Drained => return,
                Accepted::Lost(error) => log::debug!("lost listener=control error={error}"),
                Accepted::Exhausted(_) => {
                    return self.reactor.after(EXHAUSTED, Timer::ControlListener(key));
                }
            }
        }
        self.reactor.ready.push(Owner::ControlListener(key));
    }

    /// What is kept of the descriptors is for those who command. One of each other kind may have
    /// one of it: for the next, he goes.
    fn accept_asker(&mut self, key: Key, kind: ControlKind) -> Accepted {
        let accept = |control: &ControlSockets| {
            control.listeners.get(key).map_or(Accepted::Drained, |state| state.listener.accept())
        };
        match accept(&self.control) {
            Accepted::Exhausted(_) => {
                if kind != ControlKind::Control {
                    self.control.make_room(kind, 1, &self.reactor);
                }
                self.facts.reserve.with(|| accept(&self.control))
            }
            other => other,
        }
    }

    /// One turn of one connection.
    pub(in crate::server) fn serve_control_connection(&mut self, key: Key) {
        let Some(connection) = self.control.connections.get(key) else { return };
        let flow = match connection.stage {
            ControlStage::Asking => self.hear(key),
            ControlStage::AwaitsReload(_) | ControlStage::AwaitsUpgrade => TurnResult::Blocked,
            ControlStage::Told | ControlStage::Stays => self.send_more(key),
        };
        match flow {
            TurnResult::Blocked => {}
            TurnResult::More => self.reactor.ready.push(Owner::ControlConnection(key)),
            TurnResult::Over => self.control.close(key, &self.reactor),
        }
    }

    /// Reads a request, and does what it says when it is whole.
    fn hear(&mut self, key: Key) -> TurnResult {
        let Some(connection) = self.control.connections.get_mut(key) else {
            return TurnResult::Over;
        };
        let most =
            if connection.kind == ControlKind::Control { request::LONGEST } else { http::LONGEST };
        let room = most.saturating_sub(connection.request.len());
        let buffer = self.reactor.scratch.get_mut(..room).unwrap_or_default();
        let ended = match connection.stream.read(buffer) {
            Ok(0) => true,
            Ok(length) => {
                connection.request.extend_from_slice(buffer.get(..length).unwrap_or_default());
                false
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return TurnResult::Blocked,
            Err(error) if error.kind() == ErrorKind::Interrupted => return TurnResult::More,
            Err(_) => return TurnResult::Over,
        };
        let request = std::mem::take(&mut connection.request);
        let whole = match connection.kind {
            ControlKind::Control => {
                self.tidy(Tidy::Everything);
                self.handle_command(key, &request, ended)
            }
            ControlKind::Metrics => self.handle_http(key, &http::METRICS, &request),
            ControlKind::Page => {
                self.tidy(Tidy::Everything);
                self.handle_http(key, &http::PAGE, &request)
            }
        };
        if let Some(connection) = self.control.connections.get_mut(key)
            && !whole
        {
            connection.request = request;
            return if ended { TurnResult::Over } else { TurnResult::More };
        }
        TurnResult::More
    }

    /// False if the line has not ended.
    fn handle_command(&mut self, key: Key, request: &[u8], ended: bool) -> bool {
        let line = match request.split(|byte| *byte == b'\n').next() {
            Some(line) if line.len() < request.len() || ended && !line.is_empty() => line,
            _ if request.len() < request::LONGEST => return false,
            _ => request,
        };
        if self.control.is_ourselves(key) {
            let error = "the server does not ask itself: a relay leads here".to_owned();
            self.send_answer(key, answer::line(&RequestRefusal { error }));
            return true;
        }
        if !self.control.may_ask(key) {
            let error = "only root and the server's own user may ask".to_owned();
            self.send_answer(key, answer::line(&RequestRefusal { error }));
            return true;
        }
        match Request::parse(&String::from_utf8_lossy(line)) {
            Ok(request) => {
                if request.changes()
                    && let Some(connection) = self.control.connections.get(key)
                {
                    events::control(connection.peer, &request.words());
                }
                self.carry_out(key, &request);
            }
            Err(error) => self.send_answer(key, answer::line(&RequestRefusal { error })),
        }
        true
    }

    /// Sends this, and then the connection ends.
    pub(in crate::server) fn send_answer(&mut self, key: Key, words: Vec<u8>) {
        if let Some(connection) = self.control.connections.get_mut(key) {
            connection.out = words;
            connection.sent = 0;
            connection.stage = ControlStage::Told;
            connection.active = self.reactor.now;
        }
        self.reactor.ready.push(Owner::ControlConnection(key));
    }

    /// Sends what there is, and makes more of the answer when that is nearly gone.
    fn send_more(&mut self, key: Key) -> TurnResult {
        self.make_more(key);
        let Some(connection) = self.control.connections.get_mut(key) else {
            return TurnResult::Over;
        };
        match connection.stream.write(connection.out.get(connection.sent..).unwrap_or_default()) {
            Ok(length) => {
                connection.sent = connection.sent.saturating_add(length);
                connection.active = self.reactor.now;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return TurnResult::Blocked,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return TurnResult::Over,
        }
        let all = connection.sent >= connection.out.len() && connection.producer.is_done();
        match (all, connection.stage) {
            (false, _) => TurnResult::More,
            (true, ControlStage::Stays) => TurnResult::Blocked,
            (true, _) => TurnResult::Over,
        }
    }

    fn make_more(&mut self, key: Key) {
        let Some(connection) = self.control.connections.get_mut(key) else { return };
        if connection.out.len().saturating_sub(connection.sent) > LOW
            || connection.producer.is_done()
        {
            return;
        }
        self.produce_once(key);
    }

    fn produce_once(&mut self, key: Key) {
        let Some(connection) = self.control.connections.get_mut(key) else { return };
        connection.out.drain(..connection.sent);
        connection.sent = 0;
        let mut producer = std::mem::take(&mut connection.producer);
        let mut out = std::mem::take(&mut connection.out);
        self.produce(&mut producer, &mut out);
        if let Some(connection) = self.control.connections.get_mut(key) {
            (connection.producer, connection.out) = (producer, out);
        }
    }

    /// Answers of which only the beginning has been made are made whole: what is still to be
    /// sent of them is all that an upgrade hands over.
    pub(in crate::server) fn make_answers_whole(&mut self) {
        for key in self.control.connections.keys() {
            self.produce_once(key);
            while self.control.connections.get(key).is_some_and(|it| !it.producer.is_done()) {
                self.produce_once(key);
            }
        }
    }
}

impl ControlSockets {
    pub(in crate::server) fn listen(
        &mut self,
        listener: Listener,
        kind: ControlKind,
        reactor: &Reactor,
    ) -> std::io::Result<()> {
        let descriptor = listener.as_raw_fd();
        let key = self.listeners.insert(ControlListener { listener, kind });
        reactor.watch(&descriptor, Owner::ControlListener(key))
    }

    fn greet(
        &mut self,
        kind: ControlKind,
        connection: Connection,
        reactor: &mut Reactor,
    ) -> Option<Key> {
        let Connection { socket, peer, .. } = connection;
        self.came = self.came.saturating_add(1);
        descriptor::set_nonblocking(&socket).ok()?;
        let connection = ControlConnection {
            stream: File::from(descriptor::raise_held(socket)),
            kind,
            peer,
            stage: ControlStage::Asking,
            request: Vec::new(),
            out: Vec::new(),
            sent: 0,
            producer: Producer::Nothing,
            since: reactor.now,
            number: self.came,
            active: reactor.now,
        };
        self.keep(connection, reactor)
    }

    /// Goes on with a connection, unless the system has no memory for it.
    pub(in crate::server) fn keep(
        &mut self,
        connection: ControlConnection,
        reactor: &mut Reactor,
    ) -> Option<Key> {
        let descriptor = connection.stream.as_raw_fd();
        let key = self.connections.insert(connection);
        if reactor.watch_both(&descriptor, Owner::ControlConnection(key)).is_err() {
            self.connections.remove(key);
            return None;
        }
        reactor.after(SILENCE, Timer::ControlConnection(key));
        Some(key)
    }

    /// Lets somebody go, if there are so many already.
    fn make_room(&mut self, kind: ControlKind, most: usize, reactor: &Reactor) {
        let all = self.connections.iter();
        let same = all.filter(|(_, it)| it.kind == kind);
        let same: Vec<_> = same.map(|it| candidate(reactor.now, it)).collect();
        if same.len() >= most
            && let Some(key) = evicted(&same)
        {
            self.close(key, reactor);
        }
    }

    /// Closes a connection on which nothing goes on; looks again later if something did.
    pub(in crate::server) fn close_if_silent(&mut self, key: Key, reactor: &mut Reactor) {
        let Some(connection) = self.connections.get(key) else { return };
        let due = match connection.stage {
            ControlStage::Asking => connection.since + SILENCE,
            ControlStage::Told => connection.active + SILENCE,
            _ => reactor.now + SILENCE,
        };
        if due <= reactor.now {
            return self.close(key, reactor);
        }
        reactor.timers.set(due, Timer::ControlConnection(key));
    }

    fn close(&mut self, key: Key, reactor: &Reactor) {
        if let Some(connection) = self.connections.remove(key) {
            reactor.unwatch(&connection.stream);
        }
    }
}
