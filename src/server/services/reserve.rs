//! Descriptors that neither clients nor programs can use up.
//!
//! Where a process may have few, those who hold connections (each as many as its limits let
//! it) could leave none to anybody else: no program would start, nobody could ask the server
//! what is wrong, and the file that mends it could not be read. So clients of built-in
//! services and relays leave a part to programs; and a few descriptors are kept back from
//! both, by a limit that is lifted for the moment in which one is needed. Sockets of services
//! are so many that there is always something to serve with: which ones follows from the file
//! and the limit alone, whatever has been open before. Those that come last in the file are
//! left out, but for those that the service manager holds: they are open anyway, and clients
//! would wait there for ever.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::log::events;
use crate::net::listener::Listener;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::state::ListenerState;
use crate::spawn::Way;
use crate::sys::descriptor::LOWEST;
use crate::sys::fd;

/// Kept for whoever asks, for a reload and for an upgrade: fewer where there are very few.
const KEPT: u64 = 16;
const LEAST_KEPT: u64 = 6;
const VERY_FEW: u64 = 64;

/// What the server has open for itself beside the sockets of services and those at which it is
/// asked.
const OWN_AT_MOST: u64 = 14;

/// However many that may be, sockets of services leave so many to a client and a program.
const LEAST_LEFT: u64 = 3;

/// Left by the sockets of services to those who come there, an eighth within these: two
/// programs at once, or some thirty.
const LEAST_SERVING: u64 = 5;
const SERVING: u64 = 64;

/// What the server has open for itself, and for children on their way.
const OWN: usize = 32;

/// Who may have so many does not run out of them: programs are
/// [bounded](crate::server::host_info), and take no more than three quarters of these.
const PLENTY: u64 = 65_536;

/// One of so many parts is kept from clients whom the server serves itself, for programs; and
/// one from relays, for other clients.
const PARTS: usize = 8;

/// The limit on descriptors, and what is kept back of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Reserve {
    most: u64,
    /// None are where there are plenty.
    kept: u64,
}

impl Reserve {
    /// Keeps some back, where `most` are few.
    pub(in crate::server) fn of(most: u64) -> Self {
        let kept = match most {
            ..VERY_FEW => LEAST_KEPT,
            VERY_FEW..PLENTY => KEPT,
            PLENTY.. => 0,
        };
        let is_kept = kept > 0 && limit_to(most.saturating_sub(kept)).is_ok();
        Self { most, kept: if is_kept { kept } else { 0 } }
    }

    /// Whether the limit of this process is another one now.
    pub(in crate::server) fn is_kept(self) -> bool {
        self.kept > 0
    }

    /// The limit.
    pub(in crate::server) fn most(self) -> u64 {
        self.most
    }

    /// Does what may need one of those that are kept.
    pub(in crate::server) fn with<T>(self, work: impl FnOnce() -> T) -> T {
        self.under(self.most, work)
    }

    /// Opens a socket of a service, which leaves some to those who come there.
    pub(super) fn leaving_some<T>(self, open: impl FnOnce() -> T) -> T {
        let left = self.kept.saturating_add(LEAST_LEFT);
        self.under(self.most.saturating_sub(left), open)
    }

    /// How many sockets services may have, beside so many at which the server is asked.
    fn sockets(self, control_listeners: usize) -> usize {
        if !self.is_kept() {
            return usize::MAX;
        }
        let control_listeners = u64::try_from(control_listeners).unwrap_or(u64::MAX);
        let others = self.kept.saturating_add(self.serving()).saturating_add(OWN_AT_MOST);
        let left = self.most.saturating_sub(others).saturating_sub(control_listeners);
        usize::try_from(left).unwrap_or(usize::MAX).max(1)
    }

    fn under<T>(self, limit: u64, work: impl FnOnce() -> T) -> T {
        if !self.is_kept() {
            return work();
        }
        // Neither can fail: they are no higher than the hard limit.
        let _ = limit_to(limit);
        let result = work();
        let _ = limit_to(self.most.saturating_sub(self.kept));
        result
    }

    /// How many are for those who are served.
    pub(in crate::server) fn serving(self) -> u64 {
        (self.most / 8).clamp(LEAST_SERVING, SERVING)
    }

    /// Programs for which so many that are in use for good leave room. Each has two when it
    /// runs, or three if a copy of its connection is kept, and takes one more when it begins.
    pub(in crate::server) fn programs(self, in_use: usize, keeps: bool) -> u64 {
        let in_use = u64::try_from(in_use).unwrap_or(u64::MAX);
        let left = self.most.saturating_sub(self.kept).saturating_sub(in_use);
        left.saturating_sub(1) / (2 + u64::from(keeps))
    }

    /// How many clients of the server itself there may be, each with a descriptor, beside
    /// so many that are in use for good.
    fn clients(self, in_use: usize) -> usize {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        let kept = usize::try_from(KEPT).unwrap_or_default();
        let left = most.saturating_sub(kept).saturating_sub(OWN);
        but_one_part(left.saturating_sub(in_use)).max(1)
    }
}

/// Whether this process may have no more descriptors.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMFILE)
}

fn limit_to(soft: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
}

pub(super) fn but_one_part(whole: usize) -> usize {
    whole.saturating_sub(whole / PARTS)
}

/// What there is room for.
#[derive(Debug)]
pub(in crate::server) struct DescriptorRoom {
    /// Somebody has said how many programs there may be.
    is_said: bool,
    /// Sockets that are left out, as the log was last told.
    left_out: usize,
    /// How many programs there may be, as the log was last told.
    told: Option<u32>,
    /// How many sockets services have or should have.
    places: usize,
}

impl DescriptorRoom {
    pub(in crate::server) fn new(max_children: Option<u32>) -> Self {
        let is_said = max_children.is_some();
        Self { is_said, left_out: 0, told: None, places: 0 }
    }

    /// The place of one more socket, behind all others.
    pub(super) fn next_place(&mut self) -> usize {
        let place = self.places;
        self.places = place.saturating_add(1);
        place
    }
}

/// A client whom the server serves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum ServedClient {
    /// Of a built-in service.
    Conversation,
    /// Of tcpmux, who has not said yet what he wants.
    Nameless,
    /// Of a relay, with whatever that has connected to.
    Relay,
}

impl ServedClient {
    /// How many are held for him.
    pub(in crate::server) fn descriptors(self) -> usize {
        if self == Self::Relay { 2 } else { 1 }
    }
}

/// Descriptors that a server has for itself, beside those at which it is asked: the standard
/// three, what it waits with, what children tell through.
const OWN_LEAST: usize = 12;

impl Server {
    /// How many more descriptors there must be to serve anybody, if there are too few; and how
    /// many there may be.
    #[must_use]
    pub(crate) fn lacks_descriptors(&self) -> Option<(usize, u64)> {
        let reserve = self.facts.reserve;
        if !reserve.is_kept() {
            return None;
        }
        // One more for a socket, unless we were started with some.
        let own = usize::from(self.manager.sockets.held().next().is_none());
        let needed = usize::try_from(reserve.serving()).unwrap_or_default().saturating_add(own);
        let copies: Vec<_> = (0..needed)
            .map_while(|_| fd::duplicate_from(&self.reactor.poll, LOWEST).ok())
            .collect();
        let lacking = needed.saturating_sub(copies.len());
        (lacking > 0).then_some((lacking, reserve.most()))
    }

    /// What is left by the sockets that are open limits the programs, unless somebody has said
    /// how many there may be.
    pub(super) fn fit_programs_in(&mut self) {
        if self.services.room.is_said || !self.facts.reserve.is_kept() {
            return;
        }
        let open =
            self.services.listeners.iter().filter(|(_, state)| state.listener.is_some()).count();
        let in_use =
            open.saturating_add(OWN_LEAST).saturating_add(self.controlling.listeners.len());
        let keeps = self.keeps_connections();
        let room = u32::try_from(self.facts.reserve.programs(in_use, keeps)).unwrap_or(u32::MAX);
        self.admission.set_max_children(room.min(self.facts.max_children).max(1));
    }

    /// Says how many programs there may be, when that has changed: what services keep open for
    /// each of theirs is known when they are installed.
    pub(super) fn say_room(&mut self) {
        let most = self.admission.max_children();
        if self.services.room.told.replace(most) != Some(most) {
            events::spawning(way_word(self.programs.spawner.way()), most);
        }
    }

    /// Says how many sockets are left out, when that has changed.
    pub(super) fn say_left_out(&mut self) {
        let left_out = self.services.listeners.iter().filter(|(_, state)| state.left_out).count();
        if std::mem::replace(&mut self.services.room.left_out, left_out) != left_out && left_out > 0
        {
            events::left_out(left_out, self.facts.reserve.most());
        }
    }

    /// Whether there is room for a socket at this place.
    pub(in crate::server) fn has_place(&self, place: usize) -> bool {
        let most = self.facts.reserve.sockets(self.controlling.listeners.len());
        // Each socket is asked about, so all of them are not looked at for each.
        let surely = place.saturating_add(self.manager.sockets.count()) < most;
        surely || place < most && place.saturating_add(self.held_behind(place)) < most
    }

    /// Sockets of the service manager's that take up room and are not before this place.
    fn held_behind(&self, place: usize) -> usize {
        let here = self.manager.sockets.count_here();
        let adopted = |it: &&ListenerState| it.listener.as_ref().is_some_and(Listener::is_adopted);
        let listeners = self.services.listeners.iter().map(|(_, state)| state).filter(adopted);
        here.saturating_add(listeners.filter(|state| state.place > place).count())
    }

    /// Whether a listener may be open: those that the service manager holds are so anyway.
    pub(in crate::server) fn fits(&self, key: Key) -> bool {
        let Some((state, owner)) = self.services.of(key) else { return false };
        let is_held = match &state.listener {
            Some(listener) => listener.is_adopted(),
            None => self.manager.sockets.has_one_for(&state.spec, &owner.service),
        };
        is_held || self.has_place(state.place)
    }

    /// Gives sockets their places in the order of the file: who is left out is the last, and
    /// gives way to those that come before it.
    pub(super) fn open_in_order(&mut self) {
        if !self.facts.reserve.is_kept() {
            return;
        }
        let listeners = self.services.order.iter().filter_map(|key| self.services.all.get(*key));
        let all: Vec<Key> = listeners.flat_map(|state| state.listeners.iter().copied()).collect();
        self.services.room.places = all.len();
        let (mut opened, mut closed) = (Vec::new(), Vec::new());
        for (place, key) in all.iter().enumerate() {
            self.services.listeners.get_mut(*key).into_iter().for_each(|state| state.place = place);
        }
        for key in all {
            let fits = self.fits(key);
            let Some(state) = self.services.listeners.get(key) else { continue };
            match (fits, state.listener.is_some()) {
                (true, false) => opened.push(key),
                (false, true) => closed.push(key),
                _ => {}
            }
        }
        closed.into_iter().for_each(|key| self.shut_listener(key));
        // Why one cannot be opened is said when all are looked over.
        opened.into_iter().for_each(|key| _ = self.open(key));
    }

    /// A name that was waited for has become sockets, which may be more than there is room for.
    pub(super) fn find_room_for_names(&mut self) {
        if !self.has_place(self.services.room.places.saturating_sub(1)) {
            self.open_in_order();
            self.services.listeners.keys().into_iter().for_each(|key| self.try_if_left_out(key));
            self.say_left_out();
        }
    }

    fn try_if_left_out(&mut self, key: Key) {
        let closed = self.services.listeners.get(key).filter(|it| it.listener.is_none());
        if closed.is_some_and(|it| !it.left_out && !self.fits(key)) {
            self.try_to_open(key);
        }
    }

    /// How many clients may be here that no program has.
    pub(in crate::server) fn room_for_clients(&self) -> usize {
        self.facts.reserve.clients(self.services.listeners.len())
    }

    /// Whether there are so many of them that another one would take what programs need.
    pub(super) fn has_no_room_for(&self, held: ServedClient) -> bool {
        let most = self.room_for_clients();
        let relays = self.sessions.table.relays().saturating_mul(2);
        let told = self.sessions.banners.len();
        let told = told.saturating_add(self.sessions.holding.len());
        let told = told.saturating_add(self.sessions.newcomers.all.len());
        let told = told.saturating_add(self.sessions.fronting.len());
        let clients = self.sessions.table.builtins().saturating_add(relays).saturating_add(told);
        // A relay may lead to a service of this server, and would wait for ever for what
        // relays have taken.
        clients >= most || held == ServedClient::Relay && relays >= but_one_part(most)
    }
}

/// How the log calls a way of making children.
fn way_word(way: Way) -> &'static str {
    match way {
        Way::Sharing => "sharing",
        Way::Forking => "forking",
        Way::Apart => "apart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_a_part_and_are_never_none() {
        let of = |most| Reserve { most, kept: 0 };
        assert_eq!(of(1024).clients(8), 847);
        assert_eq!(of(1024).clients(1_000), 1);
        assert_eq!(of(16).clients(100), 1);
        assert!(of(u64::MAX).clients(10_000) > 1_000_000);
    }

    #[test]
    fn sockets_are_as_many_as_the_limit_says() {
        let of = |most, kept| Reserve { most, kept }.sockets(1);
        assert_eq!((of(32, 6), of(24, 6), of(1024, 16)), (6, 1, 929));
        assert_eq!(of(65_536, 0), usize::MAX);
    }
}
