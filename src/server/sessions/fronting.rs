//! Clients behind a front: each is given to a worker ([`workers`](super::workers)), which says
//! when it may have its program. Until then it takes no place of the service's, and has its
//! time; there are so many at once, and who has waited longest of the source that has most of
//! them goes first.
//!
//! The server keeps one end of a pair of sockets, which is to be the program's. As long as it
//! has it, the client can be given up by closing it; from then on the client is as any other
//! whose connection that end is.

mod turns;

use std::collections::HashMap;
use std::time::Instant;

use super::crowd::Crowd;
use crate::net::listener::Connection;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::upgrade::places::{OfSockets, Placed as _};
use crate::sys::handed;
use crate::upgrade::state;

/// So many for each processor wait for the end of their handshake.
const FOR_EACH: usize = 4 * 64;

/// Somebody who is with a worker, and has no program yet.
#[derive(Debug)]
struct Handshake {
    listener: Key,
    /// What is to be the program's, and whose it is.
    connection: Connection,
    due: Instant,
}

/// All of them.
#[derive(Debug)]
pub(in crate::server) struct Fronting {
    all: HashMap<u64, Handshake>,
    /// By whom they are from.
    crowd: Crowd<()>,
    /// Numbers are never used again.
    last: u64,
    /// Numbers of settings neither.
    last_settings: u32,
    most: usize,
}

impl Fronting {
    pub(in crate::server) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            all: HashMap::new(),
            crowd: Crowd::new(),
            last: 0,
            last_settings: 0,
            most: FOR_EACH.saturating_mul(processors),
        }
    }

    /// Whether this one has no program yet.
    pub(super) fn has(&self, number: u64) -> bool {
        self.all.contains_key(&number)
    }

    /// All of them, as data.
    pub(super) fn hand_over(&self) -> Vec<state::SavedHandshake> {
        let all = self.all.values().filter_map(|handshake| {
            let Connection { socket, peer, peer_gid, fronted } = &handshake.connection;
            let through = fronted.as_deref().cloned().unwrap_or_default();
            Some(state::SavedHandshake {
                socket: OfSockets::place(handshake.listener)?,
                descriptor: handed::number(socket),
                watched: through.watched.as_ref().map(|it| handed::number(&*it.0)),
                peer: *peer,
                peer_gid: *peer_gid,
                due: handshake.due.into(),
                through,
            })
        });
        all.collect()
    }

    pub(in crate::server) fn len(&self) -> usize {
        self.all.len()
    }

    /// The last number of a client, also over an upgrade.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn go_on_after(&mut self, last: u64) {
        self.last = last;
    }

    pub(in crate::server) fn next_settings(&mut self) -> u32 {
        self.last_settings = self.last_settings.saturating_add(1);
        self.last_settings
    }

    /// Who goes first where there may be so many.
    fn one_too_many(&self, most: usize) -> Option<u64> {
        let first = self.crowd.first_of_most().filter(|_| self.crowd.len() > most);
        first.map(|(number, ())| number)
    }

    fn take(&mut self, number: u64, reactor: &mut Reactor) -> Option<Handshake> {
        let taken = self.all.remove(&number)?;
        self.crowd.remove(taken.connection.peer.into(), number);
        reactor.timers.cancel(taken.due, Timer::Front(number));
        Some(taken)
    }
}
