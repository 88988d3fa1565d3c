//! Connections of which it is not known yet whom they are from: something comes first, a PROXY
//! header, and until it is there nobody is admitted, no place of the service is taken and no
//! program is started.
//!
//! # To let something else come first
//! Another [`NewcomerStage`] with what is to be kept of it. Whoever is received begins in it
//! (`Server::receive`) and is kept in the one table, which has a bound of its own and a
//! deadline each; of the sender that has most of them, who has been silent for longest goes
//! first (`Server::keep_newcomer`). When it is over, `Server::introduce` goes on with what
//! is known then (a peer, and [`Fronted`]) as for anybody who has just been accepted:
//! admission, banner, program. If it fails, `Server::expel`.
//!
//! # Waiting for a place
//! While `instances` programs run, a listener rests. Who has come before that, and says only
//! now who he is, waits for a place like those in the backlog, for as long as they do. His
//! header is still in the socket then, so that an upgrade needs nothing but the socket. Who has
//! come through a worker waits for as long as his handshake might have taken. There is a bound
//! of their own for those who wait; whom the header names counts, and the last goes first, who
//! would have had to wait for longest.

mod turns;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::crowd::Crowd;
use super::header;
use crate::admission::{Reason, Source};
use crate::front::proxy::Header;
use crate::net::fronted::Fronted;
use crate::net::listener::Connection;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::{Key, Slab};
use crate::server::reactor::timers::Timer;

/// Somebody who has come.
#[derive(Debug)]
pub(in crate::server) struct Newcomer {
    pub(in crate::server) connection: Connection,
    /// Where he has come.
    pub(in crate::server) listener: Key,
    pub(in crate::server) stage: NewcomerStage,
    /// Until when he has to have said who he is.
    pub(in crate::server) due: Instant,
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

    fn take(&mut self, key: Key, reactor: &mut Reactor) -> Option<Newcomer> {
        let newcomer = self.remove(key)?;
        if matches!(newcomer.stage, NewcomerStage::Header) {
            reactor.unwatch(&newcomer.connection.socket);
        }
        if newcomer.has_time() {
            reactor.timers.cancel(newcomer.due, Timer::Newcomer(key));
        }
        Some(newcomer)
    }
}
