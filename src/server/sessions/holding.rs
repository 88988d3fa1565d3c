//! Clients over a limit that are held for a moment instead of being refused.
//!
//! A program whose client has seen its end may still be exiting: the kernel closes what it
//! has before it says that it has ended. Whoever opens the next connection when the one
//! before has ended comes too early then, by a fraction of a millisecond on an idle machine
//! and by many on a busy one. So a client that only the end of a program keeps out waits for
//! one, for a moment; then it is refused as ever.
//!
//! There are few such places, and of them one source has a part: a flood is refused at once.
//! Whoever is admitted when he comes costs nothing more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::builtin::BuiltinStage;
use super::session::Client;
use crate::admission::{Denial, Permit, Reason, ServiceId, Source};
use crate::log::events::Why;
use crate::net::address::Address;
use crate::net::fronted::Whom;
use crate::net::listener::Connection;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;

/// How long a program may take to exit: most of it is spent waiting for a processor.
const MOMENT: Duration = Duration::from_millis(250);

/// So many are held at once, where there are descriptors.
const MOST: usize = 256;

/// One source has one of so many parts of the places.
const PARTS: usize = 4;

/// Who is held.
#[derive(Debug)]
pub(in crate::server) enum Caller {
    /// Somebody whom a listener has taken; `told` if he has had his banner already.
    Taken { listener: Key, connection: Connection, told: bool },
    /// Somebody who has named a service to tcpmux: this one.
    Named { entry: Key, waits: Box<(Client, BuiltinStage)> },
}

impl Caller {
    fn whom(&self) -> Whom {
        match self {
            Self::Taken { connection, .. } => connection.whom(),
            Self::Named { waits, .. } => {
                let (client, builtin) = &**waits;
                Whom { peer: client.peer, via: builtin.fronted.as_ref().and_then(|it| it.via) }
            }
        }
    }
}

#[derive(Debug)]
struct HeldClient {
    caller: Caller,
    source: Source,
    /// Why he was not admitted when he came.
    reason: Reason,
    until: Instant,
}

/// All that are held, in the order in which they came.
#[derive(Debug, Default)]
pub(in crate::server) struct Holding {
    held: VecDeque<HeldClient>,
    /// Something has ended since they were last looked at.
    freed: bool,
    /// They are being looked at.
    busy: bool,
    /// A timer is set for the first of them.
    timed: bool,
}

impl Holding {
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(in crate::server) fn len(&self) -> usize {
        self.held.len()
    }

    /// Something has ended, or what was counted for it was given back.
    pub(in crate::server) fn made_room(&mut self) {
        self.freed = !self.held.is_empty();
    }

    fn has_place_for(&self, source: Source, most: usize) -> bool {
        let share = (most / PARTS).max(1);
        self.held.len() < most
            && self.held.iter().filter(|held| held.source == source).count() < share
    }
}

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
                self.refuse(service, peer, reason);
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
            return self.turn_away(caller, reason);
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
            Caller::Taken { listener, .. } => {
                let open =
                    self.services.listeners.get(*listener).filter(|it| it.listener.is_some());
                // Closed meanwhile: whoever is in its backlog is gone, too.
                open?.service
            }
            Caller::Named { entry, .. } => *entry,
        };
        let state = self.services.all.get(service).filter(|state| !state.stopped.is_so());
        let Some(id) = state.map(|state| state.admission) else {
            self.turn_away(held.caller, Reason::Gone);
            return None;
        };
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
                self.welcome((listener, service), connection, permit);
            }
            (Ok(permit), Caller::Taken { listener, connection, told: true }) => {
                self.serve_connection((listener, service), connection, permit);
            }
            (Ok(permit), Caller::Named { entry, waits }) => self.enter(entry, *waits, permit),
            (Err(reason), caller) => self.turn_away(caller, reason),
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
            self.turn_away(held.caller, held.reason);
        }
        let next = self.sessions.holding.held.front().map(|held| held.until);
        self.sessions.holding.timed = next.is_some();
        if let Some(until) = next {
            self.reactor.timers.set(until, Timer::Held);
        }
    }

    /// Nobody is let in any more.
    pub(in crate::server) fn hold_nobody(&mut self) {
        for held in std::mem::take(&mut self.sessions.holding.held) {
            self.turn_away(held.caller, held.reason);
        }
    }

    pub(super) fn turn_away(&mut self, caller: Caller, reason: Reason) {
        self.turn_away_for(caller, reason, Why::Plain);
    }

    /// The same, with what else is known.
    pub(super) fn turn_away_for(&mut self, caller: Caller, reason: Reason, why: Why) {
        let whom = caller.whom();
        match caller {
            Caller::Taken { listener, connection, told } => {
                let Some(owner) = self.services.listeners.get(listener).map(|state| state.service)
                else {
                    return;
                };
                self.deny(owner, whom, (reason, why));
                if !told {
                    self.dismiss(owner, connection.socket);
                }
            }
            Caller::Named { entry, waits } => {
                self.deny(entry, whom, (reason, why));
                let (client, builtin) = *waits;
                self.say_not_available(client, builtin);
            }
        }
    }

    fn deny(&mut self, service: Key, whom: Whom, (reason, why): (Reason, Why)) {
        if let Some(state) = self.services.all.get(service) {
            self.admission.deny(self.reactor.now, state.admission, reason);
        }
        self.refuse_for(service, whom, reason, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_a_part_of_the_places() {
        let address = |last: u8| Address::Inet(([127, 0, 0, last], 1).into());
        let socket = || std::fs::File::open("/dev/null").unwrap().into();
        let mut holding = Holding::default();
        let mut come = |last: u8| {
            let (peer, source) = (address(last), Source::from(address(last)));
            let has_place = holding.has_place_for(source, 8);
            if has_place {
                let connection =
                    Connection { socket: socket(), peer, peer_gid: None, fronted: None };
                let caller = Caller::Taken { listener: Key::NOBODY, connection, told: false };
                let (reason, until) = (Reason::PerSource, Instant::now());
                holding.held.push_back(HeldClient { caller, source, reason, until });
            }
            has_place
        };
        assert!(come(1) && come(1) && !come(1), "its share");
        assert!((2..=7).all(&mut come), "others have room");
        assert!(!come(8), "there are no more places");
    }
}
