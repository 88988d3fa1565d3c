//! Clients who are with a worker, from the first byte until they have their program.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::{Fronting, Handshake};
use crate::admission::Reason;
use crate::front::alerts;
use crate::front::wire::Give;
use crate::log::events::{self, Why};
use crate::net::fronted::{Fact, FrontTerms, Fronted, Watched};
use crate::net::listener::{Bound, Connection};
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::Services;
use crate::server::services::accepting::local_address;
use crate::server::sessions::Sessions;
use crate::server::sessions::believing::believe;
use crate::server::sessions::holding::Caller;
use crate::server::upgrade::places::{OfSockets, Placed as _};
use crate::sys::{descriptor, handed};
use crate::upgrade::state;

/// Where descriptors are few, they have one of so many parts of those that clients may have.
const PARTS: usize = 4;

/// TERM where nobody says anything.
const UNKNOWN_TERMINAL: &str = "dumb";

impl Server {
    /// Somebody has come to a service behind a front: if he may come at all, a worker has him.
    pub(in crate::server) fn take_to_front(
        &mut self,
        listener: Key,
        service: Key,
        connection: Connection,
    ) {
        self.seal_again(service);
        let Some(state) = self.services.all.get(service) else { return };
        let (id, settings) = (state.admission, state.front.clone());
        self.look_for_room(id, Some(connection.peer.into()));
        let observed = self.services.conditions.observed(self.reactor.now);
        if let Err(reason) = self.admission.may_come(&observed, id, connection.peer) {
            // He understands nothing of what is said here.
            let caller = Caller::Taken { listener, connection, told: true };
            return self.hold_or_turn_away(caller, reason);
        }
        let reason = self.services.reason_of_front(service);
        let Some(settings) = settings else {
            return self.refuse(service, connection.whom(), reason, Why::Alert(alerts::INTERNAL));
        };
        let number = self.sessions.fronting.last.saturating_add(1);
        self.sessions.fronting.last = number;
        let give = self.services.what_is_given(service);
        let given = a_pair().and_then(|(ours, theirs)| {
            let both = [connection.socket.as_raw_fd(), theirs.as_raw_fd()];
            self.give_to_worker(service, &settings, (number, give), both)?;
            Ok(ours)
        });
        match given {
            Ok(ours) => {
                self.await_front((number, settings.terms), listener, &connection, ours);
                self.make_front_less();
            }
            Err(error) => {
                let label = self.services.all.get(service).map(|it| it.label.clone());
                if let Some(label) =
                    label.filter(|_| self.services.exhaustion_is_new(self.reactor.now))
                {
                    events::trouble(&label, "front", &error);
                }
                self.refuse(service, connection.whom(), reason, Why::Alert(alerts::INTERNAL));
            }
        }
    }

    /// Gives those up who are too many.
    fn make_front_less(&mut self) {
        let most = self.sessions.fronting.most.min(self.room_for_clients() / PARTS).max(1);
        while let Some(first) = self.sessions.fronting.one_too_many(most) {
            self.give_up_fronted(first, alerts::CROWDED);
        }
    }

    /// The worker has the connection; what is to be the program's is kept.
    fn await_front(
        &mut self,
        (number, terms): (u64, FrontTerms),
        listener: Key,
        connection: &Connection,
        ours: OwnedFd,
    ) {
        let service = self.services.listeners.get(listener).map(|it| it.service);
        let state = service.and_then(|service| self.services.all.get(service));
        let patience = state.map(|it| it.service.attributes.front.tls_timeout).unwrap_or_default();
        let due = self.reactor.now.checked_add(patience).unwrap_or(self.reactor.now);
        let before = connection.fronted.as_deref().cloned().unwrap_or_default();
        let local = before.local.or_else(|| self.services.local_of(listener, connection));
        let attributes = state.map(|it| &it.service.attributes);
        let on_terminal = attributes.filter(|it| it.front.has_terminal());
        let terminal = on_terminal.map(|it| (it.front.pty_size.columns, it.front.pty_size.rows));
        let is_watched =
            on_terminal.is_some_and(|it| !it.front.has_tls() && it.limits.idle_timeout.is_some());
        let watched = is_watched.then(|| connection.socket.try_clone().ok()).flatten();
        let watched = watched.map(|socket| Watched(Rc::new(descriptor::raise_held(socket))));
        let (number, terms, facts) = (Some(number), Some(terms), Vec::new());
        let fronted = Fronted { local, number, terms, facts, terminal, watched, ..before };
        let connection = Connection {
            socket: descriptor::raise_held(ours),
            peer: connection.peer,
            peer_gid: connection.peer_gid,
            fronted: Some(Rc::new(fronted)),
        };
        let handshake = Handshake { listener, connection, due };
        self.sessions.fronting.keep(handshake, &mut self.reactor);
    }

    /// A worker says that a client may have its program, and what is known of it. One that has
    /// been given up meanwhile has none.
    pub(in crate::server::sessions) fn client_is_ready(
        &mut self,
        number: u64,
        facts: &[(Fact, String)],
        size: Option<(u16, u16)>,
    ) {
        let Some(Handshake { listener, connection, .. }) =
            self.sessions.fronting.take(number, &mut self.reactor)
        else {
            return;
        };
        let mut fronted = connection.fronted.as_deref().cloned().unwrap_or_default();
        let service = self.services.listeners.get(listener).map(|it| it.service);
        let state = service.and_then(|service| self.services.all.get(service));
        let Some(front) = state.map(|state| &state.service.attributes.front) else { return };
        believe(front, facts, &mut fronted);
        fronted.terminal = fronted.terminal.map(|usual| size.unwrap_or(usual));
        if front.has_terminal() {
            let name = front.term.as_deref().unwrap_or(UNKNOWN_TERMINAL);
            fronted.add(Fact::Terminal, name.as_bytes());
        }
        let connection = Connection { fronted: Some(Rc::new(fronted)), ..connection };
        self.admit_fronted(listener, connection);
    }

    /// A client is given up before it had a program: closing our end tells its worker.
    pub(in crate::server::sessions) fn give_up_fronted(&mut self, number: u64, why: &str) {
        let Some(Handshake { listener, connection, .. }) =
            self.sessions.fronting.take(number, &mut self.reactor)
        else {
            return;
        };
        let Some(service) = self.services.listeners.get(listener).map(|it| it.service) else {
            return;
        };
        let reason = self.services.reason_of_front(service);
        let why = match alerts::known(why) {
            (alert, false) => Why::Alert(alert),
            (alert, true) => Why::ClientsAlert(alert),
        };
        self.refuse(service, connection.whom(), reason, why);
    }

    /// Gives those up who have come to a socket that goes with its service.
    pub(in crate::server::sessions) fn give_up_fronted_at(&mut self, listener: Key) {
        let all = self.sessions.fronting.all.iter();
        let there = all.filter(|(_, it)| it.listener == listener).map(|(number, _)| *number);
        for number in there.collect::<Vec<_>>() {
            let handshake = self.sessions.fronting.take(number, &mut self.reactor);
            let service = self.services.listeners.get(listener).map(|it| it.service);
            if let Some((service, handshake)) = service.zip(handshake) {
                self.refuse(service, handshake.connection.whom(), Reason::Gone, Why::Plain);
            }
        }
    }

    /// A handshake has had its time.
    pub(in crate::server) fn front_overdue(&mut self, number: u64) {
        self.give_up_fronted(number, alerts::TIMEOUT);
    }

    /// Gives all of them up.
    pub(in crate::server) fn close_fronted(&mut self) {
        for number in self.sessions.fronting.all.keys().copied().collect::<Vec<_>>() {
            self.give_up_fronted(number, alerts::CLOSED);
        }
    }
}

impl Sessions {
    /// Goes on with somebody whom a worker of the program before us has, if we can speak to that.
    pub(in crate::server) fn restore_handshake(
        &mut self,
        handed: state::SavedHandshake,
        reactor: &mut Reactor,
    ) {
        let state::SavedHandshake { descriptor, socket, watched, .. } = handed;
        let socket = (handed::take(descriptor).ok(), OfSockets::key(socket));
        let (Some(socket), Some(listener)) = socket else { return };
        let has_it = |number| self.workers.having(number).is_some();
        if !handed.through.number.is_some_and(has_it) {
            return;
        }
        let watched = watched.and_then(|number| handed::take(number).ok());
        let watched = watched.map(|socket| Watched(Rc::new(socket)));
        let fronted = Some(Rc::new(Fronted { watched, ..handed.through }));
        let (peer, peer_gid) = (handed.peer, handed.peer_gid);
        let connection = Connection { socket, peer, peer_gid, fronted };
        let due = handed.due.into();
        self.fronting.keep(Handshake { listener, connection, due }, reactor);
    }
}

impl Fronting {
    /// Until it is over, or has had its time.
    fn keep(&mut self, handshake: Handshake, reactor: &mut Reactor) {
        let number = handshake.connection.fronted.as_ref().and_then(|it| it.number);
        let Some(number) = number else { return };
        reactor.timers.set(handshake.due, Timer::Front(number));
        self.crowd.insert(handshake.connection.peer.into(), number, ());
        self.all.insert(number, handshake);
    }
}

impl Services {
    /// What a client is refused for that does not come through.
    pub(in crate::server::sessions) fn reason_of_front(&self, service: Key) -> Reason {
        let state = self.all.get(service);
        let has_tls = state.is_some_and(|state| state.service.attributes.front.has_tls());
        if has_tls { Reason::Tls } else { Reason::Terminal }
    }

    /// What a program of a service has at its side.
    fn what_is_given(&self, service: Key) -> Give {
        let state = self.all.get(service);
        let has_terminal = state.is_some_and(|it| it.service.attributes.front.has_terminal());
        if has_terminal { Give::Terminal } else { Give::Socket }
    }

    /// Where the client has connected to, which its program's end does not know.
    fn local_of(&self, listener: Key, connection: &Connection) -> Option<SocketAddr> {
        let listener = self.listeners.get(listener)?.listener.as_ref()?;
        match listener.address() {
            Bound::Inet(address) if !address.ip().is_unspecified() => Some(*address),
            Bound::Inet(_) => local_address(connection),
            Bound::Unix(_) | Bound::Vsock(_) => None,
        }
    }
}

/// Both ends of a pair: the program's, and the other one.
fn a_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
}
