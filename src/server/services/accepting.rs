//! Taking connections from listeners, a bounded number each turn, and having them served as
//! their services do it. Over a limit a listener rests and clients wait or, as the limit
//! says, they are refused.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::rc::Rc;

use nix::sys::socket::{SockaddrStorage, getsockname, setsockopt, sockopt};

use super::reserve::ServedClient;
use crate::admission::{Denial, Permit, Reason};
use crate::config::model::{Action, Builtin, ProxyProtocol, SocketType};
use crate::net::address::{Address, canonical};
use crate::net::listener::{Accepted, Bound, Connection, Listener, own_address, set_keepalive};
use crate::server::Server;
use crate::server::peers::PeerId;
use crate::server::programs::starting::{ProgramStart, SPAWN, StartOutcome};
use crate::server::reactor::slab::Key;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;
use crate::server::sessions::holding::Caller;
use crate::server::state::{ListenerState, Rest};
use crate::spawn::environment::{ConnectionEnvironment as Facts, Proto};
use crate::spawn::{NotStarted, SpawnError};
use crate::sys::descriptor;

/// Connections taken from one listener in one turn.
const ACCEPTS: usize = 16;

/// Why those whom the server would serve itself wait.
const NO_ROOM: &str = "what is left of the descriptors is for programs";

impl Server {
    /// Takes what waits on a listener, as its service does it.
    pub(in crate::server) fn serve_listener(&mut self, key: Key) {
        let Some(state) = self.services.listeners.get(key) else { return };
        if state.rest != Rest::No || state.listener.is_none() {
            return;
        }
        let Some(service) = self.services.all.get(state.service).map(|it| &it.service) else {
            return;
        };
        match (&service.action, service.wait, service.socket_type) {
            (Action::Builtin(kind), _, SocketType::Dgram) => {
                let kind = *kind;
                self.answer_datagrams(key, kind);
            }
            (Action::Program(_), true, _) => self.hand_over(key),
            (Action::Program(_), false, SocketType::Dgram) => self.take_peer(key),
            // The reader of configurations lets no relay of datagrams through.
            (Action::Relay(_), _, SocketType::Dgram) => {}
            (_, _, SocketType::Stream | SocketType::SeqPacket) => {
                if self.services.needs_renewal(key) {
                    return self.renew_socket(key);
                }
                let holds = held_for(&service.action);
                let front = &service.attributes.front;
                let fronted = front.proxy_protocol != ProxyProtocol::No || front.need_worker();
                self.accept(key, holds, fronted);
            }
        }
    }

    /// The server itself serves those who come, if it `holds` them; something else may come
    /// first, if they are `fronted`.
    fn accept(&mut self, key: Key, holds: Option<ServedClient>, fronted: bool) {
        let mut lost = 0usize;
        if fronted && self.upgrading.is_tried() {
            // Whoever came now could not be handed over: the next program takes him.
            return self.reactor.ready.push(Owner::Listener(key));
        }
        for _ in 0..ACCEPTS {
            if !self.may_accept(key) {
                return;
            }
            if holds.is_some_and(|held| !self.make_room_at(key, held)) {
                return self.exhausted(key, "accept", &NO_ROOM);
            }
            let Some(state) = self.services.listeners.get_mut(key) else { return };
            if state.rest != Rest::No {
                return;
            }
            if let Some(connection) = state.parked.take() {
                let owner = state.service;
                if self.is_let_in(owner, &connection) {
                    self.admit(key, connection, true);
                }
                continue;
            }
            let Some(listener) = &state.listener else { return };
            match listener.accept() {
                Accepted::Connection(connection) => {
                    let connection =
                        if fronted { self.receive(key, connection) } else { Some(connection) };
                    if let Some(connection) = connection {
                        self.admit_with_share(key, connection, holds);
                    }
                    if !self.services.listeners.get(key).is_some_and(ListenerState::has_waiting) {
                        return;
                    }
                }
                Accepted::Drained => return,
                Accepted::Lost(error) => {
                    log::debug!("lost listener={} error={error}", listener.address());
                    lost = lost.saturating_add(1);
                    if lost == ACCEPTS {
                        return self.accepts_nothing(key, &error);
                    }
                }
                Accepted::Exhausted(error) => return self.exhausted(key, "accept", &error),
            }
        }
        // More may wait, and the edge will not be announced again.
        self.reactor.ready.push(Owner::Listener(key));
    }

    fn admit_with_share(&mut self, key: Key, connection: Connection, holds: Option<ServedClient>) {
        if holds.is_some_and(|held| self.source_has_share(connection.peer, held)) {
            let caller = Caller::Taken { listener: key, connection, told: false };
            self.hold_or_turn_away(caller, Reason::Share);
        } else {
            self.admit(key, connection, false);
        }
    }

    /// Whether a source has its share of those whom the server serves itself, if it would serve
    /// this one so.
    pub(in crate::server) fn has_share_of(&self, owner: Key, peer: Address) -> bool {
        let state = self.services.all.get(owner);
        let holds = state.and_then(|state| held_for(&state.service.action));
        holds.is_some_and(|held| self.source_has_share(peer, held))
    }

    fn make_room_at(&mut self, key: Key, held: ServedClient) -> bool {
        let service = self.services.listeners.get(key).map(|state| state.service);
        service.is_none_or(|service| self.make_room_for(service, held))
    }

    /// Whoever came has been lost, each of them: something is wrong here, and not with them.
    fn accepts_nothing(&mut self, key: Key, error: &io::Error) {
        let listener = self.services.open(key);
        if listener.is_some_and(Listener::is_deaf) {
            self.replace_ruined(key, "it listens no more");
        } else {
            self.exhausted(key, "accept", error);
        }
    }

    /// Asks whether anything may be taken at all; lets the listener rest if not.
    pub(super) fn may_accept(&mut self, key: Key) -> bool {
        let Some(admission) = self.services.of(key).map(|(_, owner)| owner.admission) else {
            return false;
        };
        self.look_for_room(admission, None);
        match self.admission.before_accept(self.reactor.now, admission) {
            Ok(()) => true,
            Err(Denial::Refuse(_)) => false,
            Err(Denial::Rest(_, until)) => {
                self.log_limits();
                self.services.rest_for_limit(key, until, &mut self.reactor);
                false
            }
        }
    }

    /// Who was parked has been admitted before, and has been told so.
    fn admit(&mut self, key: Key, connection: Connection, parked: bool) {
        let Some((state, service)) = self.services.of(key) else { return };
        let owner = state.service;
        match self.try_to_admit(service.admission, connection.peer) {
            Ok(permit) if parked => self.serve_connection((key, owner), connection, permit),
            Ok(permit) => self.greet_client((key, owner), connection, permit),
            Err(reason) => {
                let caller = Caller::Taken { listener: key, connection, told: parked };
                self.hold_or_turn_away(caller, reason);
            }
        }
    }

    /// Serves a connection that has been admitted and has been told what there is to tell.
    pub(in crate::server) fn serve_connection(
        &mut self,
        (key, owner): (Key, Key),
        connection: Connection,
        permit: Permit,
    ) {
        let Some(service) = self.services.all.get(owner) else {
            return self.release_unserved(permit, owner);
        };
        match service.service.action {
            Action::Builtin(kind) => self.start_builtin(owner, kind, connection, permit),
            Action::Relay(_) => self.start_relay(owner, connection, permit),
            Action::Program(_) => self.start_for_connection((key, owner), connection, permit),
        }
    }

    fn start_for_connection(
        &mut self,
        (key, owner): (Key, Key),
        connection: Connection,
        permit: Permit,
    ) {
        // None for who has come before it was closed, and could not be served at once.
        let listener = self.services.open(key);
        let is_open = listener.is_some();
        let facts = connection_facts(listener.map(Listener::address), &connection);
        let Connection { socket, peer, peer_gid, fronted } = connection;
        let start = ProgramStart::new(owner, peer, &facts);
        match self.start(&start, permit, socket) {
            StartOutcome::Later(NotStarted { error, socket }, permit) if is_open => {
                self.cancel(permit, owner);
                self.park(key, Connection { socket, peer, peer_gid, fronted }, &error);
            }
            StartOutcome::Later(failed, permit) => {
                self.start_failed((owner, peer), permit, (SPAWN, &failed.error));
            }
            StartOutcome::Runs(_) | StartOutcome::Failed(_) | StartOutcome::Refused => {}
        }
    }

    /// Keeps a connection for which there is no room now, before all that are still in
    /// the backlog.
    fn park(&mut self, key: Key, connection: Connection, error: &SpawnError) {
        if let Some(state) = self.services.listeners.get_mut(key) {
            state.parked = Some(connection);
        }
        self.exhausted(key, "spawn", error);
    }

    /// A connection that tcpmux has accepted, for the program of its entry, which the child
    /// greets for. The socket, if that cannot be started.
    pub(in crate::server) fn start_accepted(
        &mut self,
        owner: Key,
        connection: Connection,
        (greeting, peer_id): (&'static [u8], PeerId),
        permit: Permit,
    ) -> Option<OwnedFd> {
        self.services.tune(owner, &connection);
        let facts = Facts { greeting, ..connection_facts(None, &connection) };
        let Connection { socket, peer, .. } = connection;
        let start =
            ProgramStart { peer_id: Some(peer_id), ..ProgramStart::new(owner, peer, &facts) };
        match self.start_blocking(&start, permit, socket) {
            StartOutcome::Runs(_) | StartOutcome::Refused => None,
            StartOutcome::Failed(socket) => Some(socket),
            StartOutcome::Later(failed, permit) => {
                self.start_failed((owner, peer), permit, (SPAWN, &failed.error));
                Some(failed.socket)
            }
        }
    }

    /// Starts a program on a socket that has been the loop's for a while.
    pub(in crate::server) fn start_blocking(
        &mut self,
        start: &ProgramStart<'_>,
        permit: Permit,
        socket: OwnedFd,
    ) -> StartOutcome {
        match descriptor::set_blocking(&socket) {
            Ok(()) => self.start(start, permit, socket),
            Err(error) => {
                self.start_failed((start.service, start.peer), permit, (SPAWN, &error));
                StartOutcome::Failed(socket)
            }
        }
    }
}

impl Services {
    /// The listener that has accepted a connection for an entry of tcpmux was not the entry's:
    /// what that says of its connections is still to be done.
    fn tune(&self, owner: Key, connection: &Connection) {
        let Some(entry) = self.all.get(owner) else { return };
        let attributes = &entry.service.attributes;
        // One that is over takes no options, which is for the program to find out.
        if attributes.socket.nodelay {
            let _ = setsockopt(&connection.socket, sockopt::TcpNoDelay, &true);
        }
        if attributes.socket.keepalive.is_on() {
            let _ = set_keepalive(&connection.socket, attributes.socket.keepalive);
        }
    }
}

/// What the server has to hold of a client that it serves so.
fn held_for(action: &Action) -> Option<ServedClient> {
    match action {
        Action::Program(_) => None,
        Action::Builtin(Builtin::Tcpmux) => Some(ServedClient::Nameless),
        Action::Builtin(_) => Some(ServedClient::Conversation),
        Action::Relay(_) => Some(ServedClient::Relay),
    }
}

/// What the program is told of this connection.
pub(in crate::server) fn connection_facts(bound: Option<&Bound>, connection: &Connection) -> Facts {
    let Some(fronted) = &connection.fronted else { return own_facts(bound, connection) };
    let facts = match (fronted.via, connection.peer) {
        // Whoever has sent it on says where to it was.
        (Some(_), Address::Inet(peer)) => Facts {
            protocol: Proto::Tcp,
            local: fronted.local,
            remote: Some(peer),
            ..Facts::default()
        },
        // The program's end is none of the connection's.
        (None, Address::Inet(_)) if fronted.local.is_some() => {
            Facts { local: fronted.local, ..own_facts(bound, connection) }
        }
        _ => own_facts(bound, connection),
    };
    Facts { fronted: Some(Rc::clone(fronted)), ..facts }
}

/// The same of one that nothing stands in front of.
fn own_facts(bound: Option<&Bound>, connection: &Connection) -> Facts {
    match (bound, connection.peer) {
        (None, Address::Inet(peer)) => Facts {
            protocol: Proto::Tcp,
            local: local_address(connection),
            remote: Some(peer),
            ..Facts::default()
        },
        (None, peer @ Address::Vsock(_)) => vsock_facts(connection, peer),
        (None, _) => Facts { protocol: Proto::Unix, ..Facts::default() },
        (Some(bound), _) => bound_facts(bound, connection),
    }
}

fn bound_facts(bound: &Bound, connection: &Connection) -> Facts {
    match (bound, connection.peer) {
        (Bound::Inet(address), Address::Inet(peer)) => Facts {
            protocol: Proto::Tcp,
            // A listener on one address has accepted on that one.
            local: if address.ip().is_unspecified() {
                local_address(connection)
            } else {
                Some(*address)
            },
            remote: Some(peer),
            ..Facts::default()
        },
        (Bound::Unix(path), Address::Unix { pid, uid }) => Facts {
            protocol: Proto::Unix,
            path: Some(path.clone()),
            credentials: connection
                .peer_gid
                .map(|gid| (i32::try_from(pid).unwrap_or_default(), uid, gid)),
            ..Facts::default()
        },
        (Bound::Vsock(_), peer) => vsock_facts(connection, peer),
        (Bound::Unix(path), _) => {
            Facts { protocol: Proto::Unix, path: Some(path.clone()), ..Facts::default() }
        }
        (Bound::Inet(_), _) => Facts { protocol: Proto::Tcp, ..Facts::default() },
    }
}

/// Each connection has the CID that it was made to.
fn vsock_facts(connection: &Connection, peer: Address) -> Facts {
    let local = own_address(&connection.socket);
    let remote = match peer {
        Address::Vsock(address) => Some(address),
        _ => None,
    };
    Facts { protocol: Proto::Vsock, vsock: (local, remote), ..Facts::default() }
}

pub(in crate::server) fn local_address(connection: &Connection) -> Option<std::net::SocketAddr> {
    let name: SockaddrStorage = getsockname(connection.socket.as_fd().as_raw_fd()).ok()?;
    if let Some(v4) = name.as_sockaddr_in() {
        return Some(std::net::SocketAddrV4::from(*v4).into());
    }
    let v6 = name.as_sockaddr_in6().map(|v6| std::net::SocketAddrV6::from(*v6).into());
    v6.map(canonical)
}
