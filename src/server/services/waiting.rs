//! `wait` services: their program gets the socket itself, and meets its peers itself.

use std::io;
use std::time::Duration;

use crate::admission::{Denial, Reason, ServiceId};
use crate::log::events::{self, Why};
use crate::net::address::Address;
use crate::net::datagram;
use crate::net::listener::{Bound, Condition, Listener, Socket};
use crate::server::Server;
use crate::server::programs::starting::{ProgramStart, SPAWN};
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;
use crate::server::state::Rest;
use crate::spawn::environment::{ConnectionEnvironment, Proto};
use crate::sys::descriptor;
use crate::sys::tcp;

/// Bytes of a datagram that are compared to see whether it has been taken.
const HEAD: usize = 64;

/// Refused datagrams taken out of one socket in one turn.
const DATAGRAMS: usize = 64;

impl Server {
    /// Starts a `wait` service's program: it gets the socket itself, blocking, and
    /// nobody else takes from it until it has ended.
    pub(super) fn hand_over(&mut self, key: Key) {
        if !self.may_accept(key) {
            return;
        }
        let Some((state, service)) = self.services.of(key) else { return };
        let (owner, id) = (state.service, service.admission);
        if !self.drop_refused_datagrams(key, owner, id) {
            return;
        }
        let head = self.services.open(key).and_then(head);
        if head.is_none() {
            return self.found_nothing_to_read(key);
        }
        if !self.services.is_for_somebody(key, &mut self.reactor) {
            return;
        }
        let permit = match self.admits(id, Address::None) {
            Ok(permit) => permit,
            Err(Denial::Rest(_, until)) => {
                self.log_limits();
                return self.services.rest_for_limit(key, until, &mut self.reactor);
            }
            Err(Denial::Refuse(_)) => return,
        };
        self.services.deregister_listener(key, &self.reactor);
        let state = self.services.listeners.get_mut(key);
        let listener =
            state.and_then(|it| Some((&mut it.rest, &mut it.head, it.listener.as_mut()?)));
        let Some((rest, state_head, listener)) = listener else {
            return self.release_unserved(permit, owner);
        };
        listener.share();
        (*rest, *state_head) = (Rest::Program, head);
        let facts = wait_facts(listener);
        let copy = listener.set_blocking(true).and_then(|()| descriptor::copy(listener));
        let start =
            ProgramStart { listener: Some(key), ..ProgramStart::new(owner, Address::None, &facts) };
        let runs = match copy {
            Ok(copy) => {
                let child = self.start_or_say(&start, permit, copy);
                let pid = child
                    .and_then(|child| self.sessions.table.program(child))
                    .map(|child| child.pid);
                if let (Some(state), Some(pid)) = (self.services.listeners.get_mut(key), pid) {
                    state.sessions.begins(pid);
                }
                child.is_some()
            }
            Err(error) => {
                self.start_failed((owner, Address::None), permit, (SPAWN, &error));
                false
            }
        };
        if !runs {
            self.take_back(key, WaitRun::Failed);
        }
    }

    /// Takes datagrams out of a socket whose senders may not use the service: they must
    /// not start its program. False if none is left that may.
    fn drop_refused_datagrams(&mut self, key: Key, owner: Key, id: ServiceId) -> bool {
        if !self.admission.looks_at_senders(id) {
            return true;
        }
        for _ in 0..DATAGRAMS {
            let socket = self.services.open(key).map(Listener::socket);
            let Some(Socket::Udp(socket)) = socket else { return true };
            let peer = match datagram::peek(socket, &mut [0]) {
                Ok((_, peer)) => Address::Inet(peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Something sent before could not be delivered.
                Err(_) => continue,
            };
            if self.admission.admits_sender(self.reactor.now, id, peer) {
                return true;
            }
            datagram::drop_first(socket);
            self.refuse(owner, peer, Reason::Access, Why::Plain);
        }
        self.reactor.ready.push(Owner::Listener(key));
        false
    }

    /// Another takes its place.
    pub(super) fn renew_socket(&mut self, key: Key) {
        self.shut_listener(key);
        self.try_to_open(key);
    }

    /// A `wait` service's socket is ours again, and its program is started again when
    /// something waits there. It gets time first when it has left that unread: at once when it
    /// has failed, too, else when it has done so often.
    pub(in crate::server) fn take_back(&mut self, key: Key, run: WaitRun) {
        let listener = self.services.open(key);
        if let Some(Err(error)) = listener.map(|listener| listener.set_blocking(false)) {
            self.services.log_trouble(key, "fcntl", &error);
        }
        let condition = self.services.restore_socket(key);
        self.services.watch_address(key, &mut self.reactor);
        let Some(state) = self.services.listeners.get_mut(key) else { return };
        let Some(listener) = &state.listener else { return };
        let (before, waiting) = (state.head.take(), head(listener));
        let sure = matches!(listener.socket(), Socket::Udp(_));
        state.rest = Rest::Backoff;
        state.row.run_ends(run == WaitRun::Long, self.reactor.now);
        let unread = waiting.is_some() && waiting == before && (sure || run != WaitRun::Long);
        if !unread {
            state.unread = 0;
        }
        if !unread && !state.row.is_endless() {
            state.backoff = FIRST_BACKOFF;
        }
        if let Condition::Ruined(why) = condition
            && !self.replace_ruined(key, why)
        {
            return;
        }
        if !unread {
            return self.services.resume(key, &mut self.reactor);
        }
        let (services, reactor) = (&mut self.services, &mut self.reactor);
        let Some(state) = services.listeners.get_mut(key) else { return };
        state.rest = Rest::Backoff;
        state.unread = state.unread.saturating_add(1);
        let times = state.unread;
        match run {
            WaitRun::Failed | WaitRun::Long => services.back_off(key, reactor),
            WaitRun::Short if times < UNREAD => services.resume(key, reactor),
            WaitRun::Short if sure => services.back_off(key, reactor),
            WaitRun::Short => services.rest_for(key, (PAUSE, times == UNREAD), reactor),
        }
    }
}

impl Services {
    /// A reload may have mended what a program has failed for: no rest, and no long delays.
    pub(super) fn forget_backoff(&mut self, key: Key, reactor: &mut Reactor) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        (state.unread, state.backoff) = (0, FIRST_BACKOFF);
        state.row.forget();
        if state.rest == Rest::Backoff {
            state.not_before = None;
            self.resume(key, reactor);
        }
    }

    /// Ever longer.
    pub(super) fn back_off(&mut self, key: Key, reactor: &mut Reactor) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        let delay = state.backoff;
        state.backoff = delay.saturating_mul(2).min(LONGEST_BACKOFF);
        self.rest_for(key, (delay, true), reactor);
    }

    pub(super) fn rest_for(
        &mut self,
        key: Key,
        (delay, say): (Duration, bool),
        reactor: &mut Reactor,
    ) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        state.not_before = Some(reactor.now + delay);
        let owner = state.service;
        self.look_after_in(key, delay, Timer::Resume, reactor);
        if let Some(service) = self.all.get(owner).filter(|_| say) {
            events::backoff(&service.label, delay);
        }
    }

    /// Whether a program that would get this socket itself would find nothing there.
    pub(in crate::server) fn is_idle(&self, key: Key) -> bool {
        let Some((state, owner)) = self.of(key) else { return true };
        let service = &owner.service;
        service.wait
            && !service.is_accepted_from()
            && (state.rest != Rest::No
                || state.listener.as_ref().is_none_or(|it| head(it).is_none()))
    }

    /// Whether a program has had the socket from which the loop is to accept now, since its
    /// service waits no more.
    pub(super) fn needs_renewal(&self, key: Key) -> bool {
        self.of(key).is_some_and(|(state, owner)| {
            owner.service.is_accepted_from()
                && state.listener.as_ref().is_some_and(Listener::is_shared)
        })
    }
}

/// How the program of a `wait` service has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum WaitRun {
    /// After a while.
    Long,
    /// Well, and at once.
    Short,
    /// Badly and at once, or it could not be started.
    Failed,
}

/// Short runs in a row that leave the same waiting, after which the program is given time.
const UNREAD: u32 = 16;

/// Delay before a program that leaves what waits unread is started again.
pub(super) const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// It doubles each time up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// The same where nobody can tell whether it was read: one who takes one of many equal ones
/// each time is held up by it, and must not be held up for long.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// What waits first on a socket: who sent it, when it came and how it begins; for listening
/// sockets how many wait. None when nothing does.
fn head(listener: &Listener) -> Option<Vec<u8>> {
    let mut bytes = [0u8; HEAD];
    match listener.socket() {
        Socket::Udp(socket) => {
            let (length, from) = datagram::peek(socket, &mut bytes).ok()?;
            let came = datagram::arrival(socket).unwrap_or_default();
            let mut head = from.to_string().into_bytes();
            head.extend_from_slice(&came.as_nanos().to_ne_bytes());
            head.extend_from_slice(bytes.get(..length).unwrap_or_default());
            Some(head)
        }
        Socket::UnixDatagram(socket) => {
            let length = datagram::peek_unix(socket, &mut bytes).ok()?;
            Some(bytes.get(..length).unwrap_or_default().to_vec())
        }
        Socket::Tcp(socket) => listener
            .has_waiting_clients()
            .then(|| tcp::waiting_connections(socket).unwrap_or_default().to_ne_bytes().to_vec()),
        Socket::Unix(_) | Socket::Vsock(_) => listener.has_waiting_clients().then(Vec::new),
    }
}

/// What a `wait` program is told: it meets its peers itself.
fn wait_facts(listener: &Listener) -> ConnectionEnvironment {
    match listener.address() {
        Bound::Inet(address) => ConnectionEnvironment {
            protocol: if matches!(listener.socket(), Socket::Udp(_)) {
                Proto::Udp
            } else {
                Proto::Tcp
            },
            local: Some(*address),
            ..ConnectionEnvironment::default()
        },
        Bound::Vsock(address) => ConnectionEnvironment {
            protocol: Proto::Vsock,
            vsock: (Some(*address), None),
            ..ConnectionEnvironment::default()
        },
        Bound::Unix(path) => ConnectionEnvironment {
            protocol: Proto::Unix,
            path: Some(path.clone()),
            ..ConnectionEnvironment::default()
        },
    }
}
