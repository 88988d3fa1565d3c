//! Services and their listeners: opened, paused, lent to programs, changed by a reload.
//!
//! | file | what it does |
//! |---|---|
//! | `accepting` | listeners: take, admit, rest, resume |
//! | `applying` | from the old configuration to the new one, some services each turn |
//! | `certificates` | which are shown to clients, and which a reload has brought |
//! | `conditions` | the time of day and the load |
//! | `counting` | counters of services |
//! | `datagrams` | built-in services on datagrams |
//! | `departed` | those that are gone, and serve somebody still |
//! | `entries` | what stands behind tcpmux, by its name |
//! | `feeding` | those that would be started for ever, and for nobody |
//! | `holders` | which processes have a socket |
//! | `installing` | services and their sockets, made from definitions |
//! | `managing` | what the service manager is told, its sockets |
//! | `names` | of which services, by their names |
//! | `naming` | names that services wait for, looked up again by another process |
//! | `occupied` | what programs have left behind at their addresses |
//! | `pausing` | listeners that take nobody for a while |
//! | `peer_queue` | what of theirs waits |
//! | `pending_peer` | a socket on its way to one of their programs |
//! | `per_peer` | a program for each who sends datagrams |
//! | `quota` | services that serve so many clients and no more |
//! | `rejection_log` | refusals in the log |
//! | `reserve` | descriptors that are kept for serving, and for whoever asks |
//! | `restoring` | their sockets, when it has had them |
//! | `shares` | what one service and one source may have of that |
//! | `straying` | those that make their socket one for others |
//! | `waiting` | `wait` services, whose program has the socket itself |

pub(super) mod accepting;
pub(super) mod applying;
mod certificates;
pub(super) mod conditions;
pub(super) mod counting;
pub(super) mod datagrams;
mod departed;
pub(super) mod entries;
pub(super) mod feeding;
pub(super) mod holders;
pub(super) mod installing;
pub(super) mod managing;
pub(super) mod names;
pub(super) mod naming;
pub(super) mod occupied;
pub(super) mod pausing;
pub(super) mod peer_queue;
pub(super) mod pending_peer;
pub(super) mod per_peer;
pub(super) mod quota;
pub(super) mod rejection_log;
pub(super) mod reserve;
pub(super) mod restoring;
pub(super) mod shares;
pub(super) mod straying;
pub(super) mod waiting;

use std::time::{Duration, Instant};

use super::reactor::slab::{Key, Slab};
use super::state::{ListenerState, ServiceState};
use crate::net::listener::Listener;
use conditions::Conditions;
use departed::Departed;
use entries::Entries;
use naming::Naming;
use occupied::Occupied;
use quota::Quota;
use reserve::DescriptorRoom;

/// All services, their listeners, and those of them that wait for something.
pub(crate) struct Services {
    pub(super) all: Slab<ServiceState>,
    pub(super) listeners: Slab<ListenerState>,
    pub(super) entries: Entries,
    /// In the order of the file.
    pub(super) order: Vec<Key>,
    departed: Departed,
    pub(super) naming: Naming,
    pub(super) occupied: Occupied,
    pub(super) quota: Quota,
    /// Services with listeners that are paused until a child ends.
    pub(super) paused: Vec<Key>,
    /// Listeners that are paused because the system has no descriptors.
    pub(super) exhausted: Vec<Key>,
    /// When the system last had none.
    pub(super) last_exhausted: Instant,
    pub(super) room: DescriptorRoom,
    pub(super) conditions: Conditions,
}

impl Services {
    /// A listener and its service, as far as both are there.
    pub(super) fn of(&self, listener: Key) -> Option<(&ListenerState, &ServiceState)> {
        let state = self.listeners.get(listener)?;
        Some((state, self.all.get(state.service)?))
    }

    /// What a listener listens with, if it is open.
    pub(super) fn open(&self, listener: Key) -> Option<&Listener> {
        self.listeners.get(listener)?.listener.as_ref()
    }

    pub(super) fn new(max_children: Option<u32>, quota: Quota, now: Instant) -> Self {
        Self {
            all: Slab::new(),
            listeners: Slab::new(),
            entries: Entries::default(),
            order: Vec::new(),
            departed: Departed::default(),
            naming: Naming::default(),
            occupied: Occupied::default(),
            quota,
            paused: Vec::new(),
            exhausted: Vec::new(),
            last_exhausted: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now),
            room: DescriptorRoom::new(max_children),
            conditions: Conditions::default(),
        }
    }
}
