//! Who is admitted, held or turned away, and let in later.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Caller, HeldClient, PARTS};
use crate::admission::{Denial, Permit, Reason, ServiceId, Source};
use crate::log::events::Why;
use crate::net::address::Address;
use crate::net::fronted::Whom;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;

/// How long a program may take to exit: most of it is spent waiting for a processor.
const MOMENT: Duration = Duration::from_millis(250);

/// So many are held at once, where there are descriptors.
const MOST: usize = 256;

impl Server {
    /// Whether this peer may start now. Whoever is held comes first.
    pub(in crate::server) fn try_to_admit(
        &mut self,
        id: ServiceId,
        peer: Address,
    ) -> Result<Permit, Reason> {
        self.look_for_room(id, Some(Source::from(peer)));
        self.let_in();
        self.admission.admit(&self.services.conditions.observed(self.reactor.now), id, peer)
    }

    /// The same of somebody who cannot be held.
    pub(in crate::server) fn admits(
        &mut self,
        id: ServiceId,
        peer: Address,
    ) -> Result<Permit, Denial> {
        let admitted = self.try_to_admit(id, peer);
        admitted.map_err(|reason| self.admission.deny(self.reactor.now, id, reason))
    }

    /// The same of one who has sent a datagram, and is refused if he may not.
    pub(in crate::server) fn admits_datagram(
        &mut self,
        service: Key,
        peer: Address,
    ) -> Option<Permit> {
        let id = self.services.all.get(service)?.admission;
        match self.admits(id, peer) {
            Ok(permit) => Some(permit),
            Err(Denial::Refuse(reason) | Denial::Rest(reason, _)) => {
                self.refuse(service, peer, reason, Why::Plain);
                self.log_limits();
                None
            }
        }
    }

    /// Somebody cannot be admitted now: he is held, or turned away.
    pub(in crate::server) fn hold_or_turn_away(&mut self, caller: Caller, reason: Reason) {
        let source = Source::from(caller.whom().peer);
        let most = MOST.min(self.room_for_clients() / PARTS).max(1);
        let waits =
            reason.ends_with_a_program() && !self.life.drain.closes() && self.life.stop.is_none();
        if !(waits && self.sessions.holding.has_place_for(source, most)) {
            return self.turn_away(caller, reason, Why::Plain);
        }
        let until = self.reactor.now + MOMENT;
        self.sessions.holding.held.push_back(HeldClient { caller, source, reason, until });
        if !std::mem::replace(&mut self.sessions.holding.timed, true) {
            self.reactor.timers.set(until, Timer::Held);
        }
    }

    /// Lets those in for whom an end has made room.
    pub(in crate::server) fn let_in(&mut self) {
        if self.sessions.holding.busy {
            return;
        }
        self.sessions.holding.busy = true;
        while std::mem::take(&mut self.sessions.holding.freed) {
            for held in std::mem::take(&mut self.sessions.holding.held) {
                if let Some(held) = self.let_one_in(held) {
                    self.sessions.holding.held.push_back(held);
                }
            }
        }
        self.seat_newcomers();
        self.sessions.holding.busy = false;
    }

    /// Gives him back if there is still no room.
    fn let_one_in(&mut self, held: HeldClient) -> Option<HeldClient> {
        let service = match &held.caller {
            // Who has come to one that has gone has been turned away.
            Caller::Taken { listener, .. } => self.services.listeners.get(*listener)?.service,
            Caller::Named { entry, .. } => *entry,
        };
        let state = self.services.all.get(service).filter(|state| !state.stopped.is_so());
        let Some(id) = state.map(|state| state.admission) else {
            self.turn_away(held.caller, Reason::Gone, Why::Plain);
            return None;
        };
        if let Caller::Taken { connection, .. } = &held.caller
            && self.services.has_to_begin_anew(service, connection)
        {
            return self.let_one_come((service, id), held);
        }
        if let Caller::Taken { connection, .. } = &held.caller
            && !self.is_let_in(service, connection)
        {
            return None;
        }
        if self.admission.awaits_an_end(id, Some(held.source)) {
            return Some(held);
        }
        let peer = held.caller.whom().peer;
        match (
            self.admission.admit(&self.services.conditions.observed(self.reactor.now), id, peer),
            held.caller,
        ) {
            (Ok(permit), Caller::Taken { listener, connection, told: false }) => {
                self.greet_client((listener, service), connection, permit);
            }
            (Ok(permit), Caller::Taken { listener, connection, told: true }) => {
                self.serve_connection((listener, service), connection, permit);
            }
            (Ok(permit), Caller::Named { entry, waits }) => self.enter(entry, *waits, permit),
            (Err(reason), caller) => self.turn_away(caller, reason, Why::Plain),
        }
        None
    }

    /// The same of somebody who has still to come past what stands in front of his service.
    fn let_one_come(
        &mut self,
        (service, id): (Key, ServiceId),
        held: HeldClient,
    ) -> Option<HeldClient> {
        let observed = self.services.conditions.observed(self.reactor.now);
        let may_come = self.admission.may_come(&observed, id, held.caller.whom().peer);
        match (may_come, held.caller) {
            (Err(reason), caller) if reason.ends_with_a_program() => {
                return Some(HeldClient { caller, ..held });
            }
            (Ok(()), Caller::Taken { listener, connection, .. }) => {
                if self.is_well_introduced(service, &connection) {
                    self.take_to_front(listener, service, connection);
                }
            }
            (may_come, caller) => {
                let reason = may_come.err().unwrap_or(Reason::Gone);
                self.turn_away(caller, reason, Why::Plain);
            }
        }
        None
    }

    /// Some have had their moment.
    pub(in crate::server) fn held_long_enough(&mut self) {
        // What has been announced together with the time comes first.
        self.let_in();
        let now = self.reactor.now;
        while self.sessions.holding.held.front().is_some_and(|held| held.until <= now)
            && let Some(held) = self.sessions.holding.held.pop_front()
        {
            self.turn_away(held.caller, held.reason, Why::Plain);
        }
        let next = self.sessions.holding.held.front().map(|held| held.until);
        self.sessions.holding.timed = next.is_some();
        if let Some(until) = next {
            self.reactor.timers.set(until, Timer::Held);
        }
    }

    /// Nobody is let in any more.
    pub(in crate::server) fn turn_held_away(&mut self) {
        for held in std::mem::take(&mut self.sessions.holding.held) {
            self.turn_away(held.caller, held.reason, Why::Plain);
        }
    }

    /// What these wait for goes: a socket, or a service behind tcpmux.
    pub(in crate::server::sessions) fn hold_no_more(&mut self, waits: impl Fn(&Caller) -> bool) {
        let all = std::mem::take(&mut self.sessions.holding.held);
        let (gone, held): (VecDeque<_>, _) = all.into_iter().partition(|it| waits(&it.caller));
        self.sessions.holding.held = held;
        for held in gone {
            self.turn_away(held.caller, Reason::Gone, Why::Plain);
        }
    }

    pub(in crate::server::sessions) fn turn_away(
        &mut self,
        caller: Caller,
        reason: Reason,
        why: Why,
    ) {
        let whom = caller.whom();
        match caller {
            Caller::Taken { listener, connection, told } => {
                let Some(owner) = self.services.listeners.get(listener).map(|state| state.service)
                else {
                    return;
                };
                self.deny(owner, whom, (reason, why));
                if !told {
                    self.reject(owner, connection);
                }
            }
            Caller::Named { entry, waits } => {
                self.deny(entry, whom, (reason, why));
                let (client, builtin) = *waits;
                self.answer_not_available(client, builtin);
            }
        }
    }

    fn deny(&mut self, service: Key, whom: Whom, (reason, why): (Reason, Why)) {
        if let Some(state) = self.services.all.get(service) {
            self.admission.deny(self.reactor.now, state.admission, reason);
        }
        self.refuse(service, whom, reason, why);
        self.log_limits();
    }
}
