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

mod turns;

use std::collections::VecDeque;
use std::time::Instant;

use super::builtin::BuiltinStage;
use super::session::Client;
use crate::admission::{Reason, Source};
use crate::net::fronted::Whom;
use crate::net::listener::Connection;
use crate::server::reactor::slab::Key;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::Address;

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
                let caller = Caller::Taken { listener: Key::NONE, connection, told: false };
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
