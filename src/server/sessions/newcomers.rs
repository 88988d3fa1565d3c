//! Connections of which it is not known yet whom they are from: something comes first, a PROXY
//! header, and until it is there nobody is admitted, no place of the service is taken and no
//! program is started.
//!
//! # To let something else come first
//! Another [`NewcomerStage`] with what is to be kept of it. Whoever is received begins in it
//! ([`Server::receive`]) and is kept in the one table, which has a bound of its own and a
//! deadline each; of the sender that has most of them, who has been silent for longest goes
//! first ([`Server::keep_newcomer`]). When it is over, [`Server::introduce`] goes on with what
//! is known then (a peer, and [`Fronted`]) as for anybody who has just been accepted:
//! admission, banner, program. If it fails, [`Server::expel`].
//!
//! # Waiting for a place
//! While `instances` programs run, a listener rests. Who has come before that, and says only
//! now who he is, waits for a place like those in the backlog, for as long as they do. His
//! header is still in the socket then, so that an upgrade needs nothing but the socket. Who has
//! come through a worker waits for as long as his handshake might have taken. There is a bound
//! of their own for those who wait; whom the header names counts, and the last goes first, who
//! would have had to wait for longest.

use std::collections::VecDeque;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;

use super::crowd::Crowd;
use super::header::{self, Heard};
use super::holding::Caller;
use crate::admission::{Permit, Reason, ServiceId, Source};
use crate::config::model::{DEFERRED, ProxyProtocol};
use crate::front::proxy::Header;
use crate::log::events::Why;
use crate::net::fronted::Fronted;
use crate::net::listener::Connection;
use crate::server::Server;
use crate::server::reactor::slab::{Key, Slab};
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::{self, Owner};
use crate::sys::descriptor;

/// So many of each kind are kept at once, where there are descriptors; else one of so many parts
/// of them.
const MOST: usize = 1024;
const PARTS: usize = 4;

/// Somebody who has come.
#[derive(Debug)]
pub(in crate::server) struct Newcomer {
    pub(in crate::server) connection: Connection,
    /// Where he has come.
    pub(in crate::server) listener: Key,
    pub(in crate::server) stage: NewcomerStage,
    /// Until when he has to have said who he is.
    pub(in crate::server) due: Instant,
    pub(in crate::server) queued: bool,
    /// The number in which he has been kept.
    pub(in crate::server) number: u64,
}

impl Newcomer {
    /// Whose place among those who wait for the same he takes.
    fn source(&self) -> Source {
        let peer = match &self.stage {
            NewcomerStage::Header => self.connection.peer,
            NewcomerStage::Place(header, _) => header::peer(&self.connection, header),
        };
        peer.into()
    }

    /// Whether he waits no longer than until he is due.
    fn has_time(&self) -> bool {
        let is_fronted = |fronted: &Rc<Fronted>| fronted.number.is_some();
        matches!(self.stage, NewcomerStage::Header)
            || self.connection.fronted.as_ref().is_some_and(is_fronted)
    }
}

/// What he waits for.
#[derive(Debug)]
pub(in crate::server) enum NewcomerStage {
    /// The rest of his header.
    Header,
    /// A place; this is the header, and why he has none.
    Place(Box<Header>, Reason),
}

/// All of them.
#[derive(Debug)]
pub(in crate::server) struct Newcomers {
    pub(in crate::server) all: Slab<Newcomer>,
    /// Those who have not said yet who they are, by whom they have come through.
    silent: Crowd<Key>,
    /// Those who wait for a place, by who they are.
    waiting: Crowd<Key>,
    last: u64,
    /// Those who wait for a place, in the order in which they have said it.
    seated_next: VecDeque<Key>,
    /// A place may have become free since they were looked at.
    freed: bool,
}

impl Newcomers {
    pub(in crate::server) fn new() -> Self {
        Self {
            all: Slab::new(),
            silent: Crowd::new(),
            waiting: Crowd::new(),
            last: 0,
            seated_next: VecDeque::new(),
            freed: false,
        }
    }

    /// Something has ended, a service too, or there are other limits.
    pub(in crate::server) fn made_room(&mut self) {
        self.freed = !self.seated_next.is_empty();
    }

    /// Whether somebody waits for the end of a program.
    pub(in crate::server) fn wait_for_a_place(&self) -> bool {
        self.waiting.len() > 0
    }

    fn insert(&mut self, mut newcomer: Newcomer) -> Key {
        self.last = self.last.saturating_add(1);
        newcomer.number = self.last;
        let (source, waits) =
            (newcomer.source(), matches!(newcomer.stage, NewcomerStage::Place(..)));
        let key = self.all.insert(newcomer);
        if waits {
            self.waiting.insert(source, self.last, key);
            self.seated_next.push_back(key);
        } else {
            self.silent.insert(source, self.last, key);
        }
        key
    }

    fn remove(&mut self, key: Key) -> Option<Newcomer> {
        let newcomer = self.all.remove(key)?;
        let crowd = match newcomer.stage {
            NewcomerStage::Header => &mut self.silent,
            NewcomerStage::Place(..) => &mut self.waiting,
        };
        crowd.remove(newcomer.source(), newcomer.number);
        if self.seated_next.len() > self.waiting.len().saturating_mul(2).saturating_add(16) {
            let all = &self.all;
            self.seated_next.retain(|key| all.get(*key).is_some());
        }
        Some(newcomer)
    }

    /// Who goes first where there may be so many.
    fn one_too_many(&self, most: usize) -> Option<Key> {
        if self.silent.len() > most {
            return self.silent.first_of_most().map(|(_, key)| *key);
        }
        let waits_in_vain = self.waiting.last_of_most().filter(|_| self.waiting.len() > most);
        waits_in_vain.map(|(_, key)| *key)
    }
}

impl Server {
    /// Takes in somebody for whose service something comes first; who may not say for whom he
    /// comes is refused, or is `Some` to be served as who he is.
    pub(in crate::server) fn receive(
        &mut self,
        listener: Key,
        connection: Connection,
    ) -> Option<Connection> {
        let owner = self.services.listeners.get(listener)?.service;
        let state = self.services.all.get(owner)?;
        let front = &state.service.attributes.front;
        if front.proxy_protocol == ProxyProtocol::No {
            self.take_to_front(listener, owner, connection);
            return None;
        }
        let (needs_worker, mode) = (front.need_worker(), front.proxy_protocol);
        let (patience, was_deferred) = (front.proxy_timeout, front.lets_clients_begin());
        if !self.admission.may_speak_for_others(state.admission, connection.peer) {
            if mode == ProxyProtocol::Accept {
                if needs_worker {
                    self.take_to_front(listener, owner, connection);
                    return None;
                }
                return Some(connection);
            }
            self.expel_from(listener, connection, header::FOREIGN);
            return None;
        }
        let due = self.reactor.now.checked_add(patience).unwrap_or(self.reactor.now);
        let stage = NewcomerStage::Header;
        let newcomer = Newcomer { connection, listener, stage, due, queued: false, number: 0 };
        // Most senders have said it by now.
        match header::hear(&newcomer.connection.socket, &mut self.reactor.scratch) {
            Heard::Header(header) => self.introduce(newcomer, header),
            Heard::Nothing => {
                // The kernel has had him until now.
                let had = if was_deferred { DEFERRED } else { Duration::ZERO };
                self.keep_newcomer(Newcomer {
                    due: due.checked_sub(had).unwrap_or(due),
                    ..newcomer
                });
            }
            Heard::Part => self.keep_newcomer(newcomer),
            Heard::Nonsense(why) => self.expel(newcomer, why),
        }
        None
    }

    /// Keeps somebody until he has said who he is, or has a place; somebody else may have to go
    /// for that.
    pub(in crate::server) fn keep_newcomer(&mut self, newcomer: Newcomer) {
        self.keep(newcomer);
        let most = MOST.min(self.room_for_clients() / PARTS).max(1);
        while let Some(key) = self.sessions.newcomers.one_too_many(most) {
            self.expel_kept(key, header::CROWDED);
        }
    }

    fn keep(&mut self, mut newcomer: Newcomer) {
        descriptor::raise_held_in_place(&mut newcomer.connection.socket);
        let (number, due) = (newcomer.connection.socket.as_raw_fd(), newcomer.due);
        let waits = matches!(newcomer.stage, NewcomerStage::Place(..));
        let has_time = newcomer.has_time();
        let key = self.sessions.newcomers.insert(newcomer);
        if has_time {
            self.reactor.timers.set(due, Timer::Newcomer(key));
        }
        if waits {
            return;
        }
        // Edge-triggered: a part of a header is announced once. What has come meanwhile is, too.
        let registry = self.reactor.poll.registry();
        let token = token::pack(Owner::Newcomer(key));
        let registered = registry.register(&mut SourceFd(&number), token, Interest::READABLE);
        if registered.is_err() {
            self.expel_kept(key, header::CROWDED);
        }
    }

    /// Somebody has said something.
    pub(in crate::server) fn listen_to_newcomer(&mut self, key: Key) {
        let Some(newcomer) = self.sessions.newcomers.all.get_mut(key) else { return };
        newcomer.queued = false;
        if matches!(newcomer.stage, NewcomerStage::Place(..)) {
            return;
        }
        match header::hear(&newcomer.connection.socket, &mut self.reactor.scratch) {
            Heard::Nothing | Heard::Part => {}
            Heard::Header(header) => {
                if let Some(newcomer) = self.take_newcomer(key) {
                    self.introduce(newcomer, header);
                }
            }
            Heard::Nonsense(why) => self.expel_kept(key, why),
        }
    }

    /// Somebody has had his time; what has come together with its end counts.
    pub(in crate::server) fn newcomer_overdue(&mut self, key: Key) {
        self.listen_to_newcomer(key);
        self.expel_kept(key, header::TIMEOUT);
    }

    fn take_newcomer(&mut self, key: Key) -> Option<Newcomer> {
        let newcomer = self.sessions.newcomers.remove(key)?;
        if matches!(newcomer.stage, NewcomerStage::Header) {
            let number = newcomer.connection.socket.as_raw_fd();
            let _ = self.reactor.poll.registry().deregister(&mut SourceFd(&number));
        }
        if newcomer.has_time() {
            self.reactor.timers.cancel(newcomer.due, Timer::Newcomer(key));
        }
        Some(newcomer)
    }

    /// The service to which somebody has come, and its number; None if it serves nobody any more.
    fn service_of(&self, newcomer: &Newcomer) -> Option<(Key, ServiceId)> {
        let (listener, state) = self.services.of(newcomer.listener)?;
        (!state.stopped.is_so()).then_some((listener.service, state.admission))
    }

    /// It is known who somebody is: from here on he is that one.
    fn introduce(&mut self, newcomer: Newcomer, header: Header) {
        let Some((owner, id)) = self.service_of(&newcomer) else {
            return self.turn_away_newcomer(newcomer, &header, Reason::Gone);
        };
        if self.services.all.get(owner).is_some_and(|it| it.service.attributes.front.need_worker())
        {
            let listener = newcomer.listener;
            let taken = header::take(newcomer.connection, &header, &mut self.reactor.scratch);
            if let Some(connection) = taken {
                self.take_to_front(listener, owner, connection);
            }
            return;
        }
        self.find_place(newcomer, header, (owner, id));
    }

    /// Somebody has come through what stands in front of his service.
    pub(super) fn admit_fronted(&mut self, listener: Key, connection: Connection) {
        let state = self.services.of(listener).map(|(_, state)| state);
        let patience = state.map(|it| it.service.attributes.front.tls_timeout).unwrap_or_default();
        let due = self.reactor.now.checked_add(patience).unwrap_or(self.reactor.now);
        let stage = NewcomerStage::Header;
        let newcomer = Newcomer { connection, listener, stage, due, queued: false, number: 0 };
        // All that has been said is taken.
        let header = Header { length: 0, named: None };
        match self.service_of(&newcomer) {
            Some(service) => self.find_place(newcomer, header, service),
            None => self.turn_away_newcomer(newcomer, &header, Reason::Gone),
        }
    }

    fn find_place(&mut self, mut newcomer: Newcomer, header: Header, service: (Key, ServiceId)) {
        let (owner, id) = service;
        let peer = header::peer(&newcomer.connection, &header);
        if !self.is_let_in(owner, &newcomer.connection) {
            return;
        }
        if self.has_share_of(owner, peer) {
            return self.turn_away_newcomer(newcomer, &header, Reason::Share);
        }
        match self.try_to_admit(id, peer) {
            Ok(permit) => self.seat(owner, newcomer, &header, permit),
            Err(reason) if self.admission.waits_for_a_place(id, reason) => {
                newcomer.stage = NewcomerStage::Place(Box::new(header), reason);
                self.keep_newcomer(newcomer);
            }
            Err(reason) => self.turn_away_newcomer(newcomer, &header, reason),
        }
    }

    /// Serves somebody who has been admitted.
    fn seat(&mut self, owner: Key, newcomer: Newcomer, header: &Header, permit: Permit) {
        let listener = newcomer.listener;
        match header::take(newcomer.connection, header, &mut self.reactor.scratch) {
            Some(connection) => self.welcome((listener, owner), connection, permit),
            // The connection is over.
            None => self.cancel(permit, owner),
        }
    }

    /// There may be places again for those who wait for one.
    pub(super) fn seat_newcomers(&mut self) {
        while std::mem::take(&mut self.sessions.newcomers.freed) {
            for key in std::mem::take(&mut self.sessions.newcomers.seated_next) {
                self.seat_if_possible(key);
            }
        }
    }

    fn seat_if_possible(&mut self, key: Key) {
        let Some(newcomer) = self.sessions.newcomers.all.get(key) else { return };
        let NewcomerStage::Place(header, _) = &newcomer.stage else { return };
        let peer = header::peer(&newcomer.connection, header);
        let service = self.service_of(newcomer);
        if let Some((owner, _)) = service
            && self.has_to_begin_anew(owner, &newcomer.connection)
        {
            return self.introduce_again(key);
        }
        let outcome = match service {
            Some((owner, id)) => {
                let admitted = self.admission.admit(
                    &self.services.conditions.observed(self.reactor.now),
                    id,
                    peer,
                );
                admitted.map(|permit| (owner, permit))
            }
            None => Err(Reason::Gone),
        };
        if let (Err(reason), Some((_, id))) = (&outcome, service)
            && self.admission.waits_for_a_place(id, *reason)
        {
            return self.sessions.newcomers.seated_next.push_back(key);
        }
        let Some(newcomer) = self.take_newcomer(key) else { return };
        let NewcomerStage::Place(header, _) = &newcomer.stage else { return };
        let header = (**header).clone();
        match outcome {
            Ok((owner, permit)) if self.is_let_in(owner, &newcomer.connection) => {
                self.seat(owner, newcomer, &header, permit);
            }
            Ok((owner, permit)) => self.cancel(permit, owner),
            Err(reason) => self.turn_away_newcomer(newcomer, &header, reason),
        }
    }

    /// A reload has put something in front of his service while he waited.
    fn introduce_again(&mut self, key: Key) {
        let Some(mut newcomer) = self.take_newcomer(key) else { return };
        let stage = std::mem::replace(&mut newcomer.stage, NewcomerStage::Header);
        if let NewcomerStage::Place(header, _) = stage {
            self.introduce(newcomer, *header);
        }
    }

    /// Refuses somebody of whom it is known who he is, unless a moment may help.
    fn turn_away_newcomer(&mut self, newcomer: Newcomer, header: &Header, reason: Reason) {
        let listener = newcomer.listener;
        let taken = header::take(newcomer.connection, header, &mut self.reactor.scratch);
        if let Some(connection) = taken {
            self.hold_or_turn_away(Caller::Taken { listener, connection, told: false }, reason);
        }
    }

    fn expel_kept(&mut self, key: Key, why: &'static str) {
        if let Some(newcomer) = self.take_newcomer(key) {
            self.expel(newcomer, why);
        }
    }

    /// Refuses somebody who has not said who he is, or waits in vain.
    fn expel(&mut self, newcomer: Newcomer, why: &'static str) {
        let Newcomer { listener, connection, stage, .. } = newcomer;
        let NewcomerStage::Place(header, reason) = stage else {
            return self.expel_from(listener, connection, why);
        };
        if let Some(connection) = header::take(connection, &header, &mut self.reactor.scratch) {
            self.turn_away(Caller::Taken { listener, connection, told: false }, reason);
        }
    }

    fn expel_from(&mut self, listener: Key, connection: Connection, why: &'static str) {
        let caller = Caller::Taken { listener, connection, told: false };
        self.turn_away_for(caller, Reason::Proxy, Why::Header(why));
    }

    /// Closes all of them.
    pub(in crate::server) fn close_newcomers(&mut self) {
        for key in self.sessions.newcomers.all.keys() {
            self.expel_kept(key, header::CLOSED);
        }
    }
}
