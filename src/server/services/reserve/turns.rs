//! What the server keeps back of its descriptors, and what it lacks.

use super::{ServedClient, but_one_part};
use crate::log::events;
use crate::net::listener::Listener;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::state::ListenerState;
use crate::spawn::Way;
use crate::sys::descriptor::LOWEST;
use crate::sys::{fd, inherited};

/// Descriptors that a server has for itself, beside those at which it is asked: the standard
/// three, what it waits with, what children tell through.
const OWN_LEAST: usize = 12;

impl Server {
    /// How many more descriptors there must be to serve anybody, if there are too few; and how
    /// many there may be.
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
    pub(in crate::server::services) fn fit_programs_in(&mut self) {
        if self.services.room.is_said || !self.facts.reserve.is_kept() {
            return;
        }
        let open = self.services.open_count().saturating_add(OWN_LEAST);
        let reserve = self.facts.reserve;
        let in_use = open
            .saturating_add(self.control.listeners.len())
            .saturating_add(self.control.http_listeners().saturating_mul(reserve.askers()))
            .saturating_add(inherited::count_below(reserve.most()));
        let keeps = self.services.keeps_connections();
        let room = u32::try_from(reserve.programs(in_use, keeps)).unwrap_or(u32::MAX);
        self.admission.set_max_children(room.min(self.facts.max_children).max(1));
    }

    /// Says how many programs there may be, when that has changed: what services keep open for
    /// each of theirs is known when they are installed.
    pub(in crate::server::services) fn log_room(&mut self) {
        let most = self.admission.max_children();
        if self.services.room.told.replace(most) != Some(most) {
            events::spawning(way_word(self.programs.spawner.way()), most);
        }
    }

    /// Says how many sockets are left out, when that has changed.
    pub(in crate::server::services) fn log_left_out(&mut self) {
        let left_out = self.services.listeners.iter().filter(|(_, state)| state.left_out).count();
        if std::mem::replace(&mut self.services.room.left_out, left_out) != left_out && left_out > 0
        {
            events::left_out(left_out, self.facts.reserve.most());
        }
    }

    /// Whether there is room for a socket at this place.
    pub(in crate::server) fn has_place(&self, place: usize) -> bool {
        let most = self.facts.reserve.sockets(self.control.listeners.len());
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
    pub(in crate::server::services) fn open_in_order(&mut self) {
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
    pub(in crate::server::services) fn find_room_for_names(&mut self) {
        if !self.has_place(self.services.room.places.saturating_sub(1)) {
            self.open_in_order();
            self.services.listeners.keys().into_iter().for_each(|key| self.try_if_left_out(key));
            self.log_left_out();
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
    pub(in crate::server::services) fn has_no_room_for(&self, held: ServedClient) -> bool {
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
