//! Newcomers from their first byte to a place, or out.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use super::{Newcomer, NewcomerStage};
use crate::admission::{Permit, Reason, ServiceId};
use crate::config::model::{DEFERRED, ProxyProtocol};
use crate::front::proxy::Header;
use crate::log::events::Why;
use crate::net::listener::Connection;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;
use crate::server::sessions::header::{self, Heard};
use crate::server::sessions::holding::Caller;
use crate::sys::descriptor;

/// So many of each kind are kept at once, where there are descriptors; else one of so many parts
/// of them.
const MOST: usize = 1024;

const PARTS: usize = 4;

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
        let newcomer = Newcomer { connection, listener, stage, due, number: 0 };
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
        if self.reactor.watch(&number, Owner::Newcomer(key)).is_err() {
            self.expel_kept(key, header::CROWDED);
        }
    }

    /// Somebody has said something.
    pub(in crate::server) fn listen_to_newcomer(&mut self, key: Key) {
        let Some(newcomer) = self.sessions.newcomers.all.get(key) else { return };
        if matches!(newcomer.stage, NewcomerStage::Place(..)) {
            return;
        }
        match header::hear(&newcomer.connection.socket, &mut self.reactor.scratch) {
            Heard::Nothing | Heard::Part => {}
            Heard::Header(header) => {
                if let Some(newcomer) = self.sessions.newcomers.take(key, &mut self.reactor) {
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

    /// It is known who somebody is: from here on he is that one.
    fn introduce(&mut self, newcomer: Newcomer, header: Header) {
        let Some((owner, id)) = self.services.service_of(&newcomer) else {
            return self.turn_away_newcomer(newcomer, &header, Reason::Gone);
        };
        if self.services.all.get(owner).is_some_and(|it| it.service.attributes.front.need_worker())
        {
            let listener = newcomer.listener;
            let taken = header::take(newcomer.connection, &header, &mut self.reactor.scratch);
            if let Some(connection) = taken
                && self.is_well_introduced(owner, &connection)
            {
                self.take_to_front(listener, owner, connection);
            }
            return;
        }
        self.find_place(newcomer, header, (owner, id));
    }

    /// Somebody has come through what stands in front of his service.
    pub(in crate::server::sessions) fn admit_fronted(
        &mut self,
        listener: Key,
        connection: Connection,
    ) {
        let state = self.services.of(listener).map(|(_, state)| state);
        let patience = state.map(|it| it.service.attributes.front.tls_timeout).unwrap_or_default();
        let due = self.reactor.now.checked_add(patience).unwrap_or(self.reactor.now);
        let stage = NewcomerStage::Header;
        let newcomer = Newcomer { connection, listener, stage, due, number: 0 };
        // All that has been said is taken.
        let header = Header { length: 0, named: None };
        match self.services.service_of(&newcomer) {
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
            Some(connection) if self.is_well_introduced(owner, &connection) => {
                self.greet_client((listener, owner), connection, permit);
            }
            // The connection is over.
            _ => self.cancel(permit, owner),
        }
    }

    /// There may be places again for those who wait for one.
    pub(in crate::server::sessions) fn seat_newcomers(&mut self) {
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
        let service = self.services.service_of(newcomer);
        if let Some((owner, _)) = service
            && self.services.has_to_begin_anew(owner, &newcomer.connection)
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
        let Some(newcomer) = self.sessions.newcomers.take(key, &mut self.reactor) else { return };
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
        let Some(mut newcomer) = self.sessions.newcomers.take(key, &mut self.reactor) else {
            return;
        };
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
        if let Some(newcomer) = self.sessions.newcomers.take(key, &mut self.reactor) {
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
            self.turn_away(Caller::Taken { listener, connection, told: false }, reason, Why::Plain);
        }
    }

    /// Turns those away who have come to a socket that goes with its service.
    pub(in crate::server::sessions) fn expel_all_at(&mut self, listener: Key) {
        let all = self.sessions.newcomers.all.iter();
        let there = all.filter(|(_, it)| it.listener == listener).map(|(key, _)| key);
        for key in there.collect::<Vec<_>>() {
            let taken = self.sessions.newcomers.take(key, &mut self.reactor);
            let Some(newcomer) = taken else { continue };
            let header = match &newcomer.stage {
                NewcomerStage::Header => Header { length: 0, named: None },
                NewcomerStage::Place(header, _) => (**header).clone(),
            };
            self.turn_away_newcomer(newcomer, &header, Reason::Gone);
        }
    }

    fn expel_from(&mut self, listener: Key, connection: Connection, why: &'static str) {
        let caller = Caller::Taken { listener, connection, told: false };
        self.turn_away(caller, Reason::Proxy, Why::Header(why));
    }

    /// Closes all of them.
    pub(in crate::server) fn close_newcomers(&mut self) {
        for key in self.sessions.newcomers.all.keys() {
            self.expel_kept(key, header::CLOSED);
        }
    }
}

impl Services {
    /// The service to which somebody has come, and its number; None if it serves nobody any more.
    fn service_of(&self, newcomer: &Newcomer) -> Option<(Key, ServiceId)> {
        let (listener, state) = self.of(newcomer.listener)?;
        (!state.stopped.is_so()).then_some((listener.service, state.admission))
    }
}
