//! Sockets that a program has had itself: as they should be again, or others in their place.

use std::io;
use std::rc::Rc;

use crate::config::model::{Endpoint, Service, SocketSpec};
use crate::log::events;
use crate::net::listener::{Condition, Listener, Socket};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;
use crate::server::state::{ListenerState, Rest};

impl Server {
    /// A socket is ready, and nothing is there that a program could take. What an earlier one
    /// has left behind may have it still, and do so again and again.
    pub(super) fn found_nothing_to_read(&mut self, key: Key) {
        if self.services.listeners.get(key).is_some_and(is_shared) && self.look_after(key) {
            let Some(state) = self.services.listeners.get_mut(key) else { return };
            state.rest = Rest::Backoff;
            self.services.back_off(key, &mut self.reactor);
        }
    }

    /// It is time to look after the sockets that programs have had: whatever they have left behind
    /// may have done something to one. It is looked who has them, too, and when that is known they
    /// are looked after again: who has ended meanwhile does nothing more.
    pub(in crate::server) fn look_after_shared(&mut self) {
        if !self.services.occupied.is_searching() {
            self.look_after_all();
        }
        if self.services.look_at_addresses(&mut self.reactor) {
            self.look_after_all();
        }
    }

    fn look_after_all(&mut self) {
        for key in self.services.watched() {
            let is_new = self.look_after(key);
            let state = self.services.listeners.get(key).filter(|_| !is_new);
            // What has come before it was undone is not announced again.
            if state.is_some_and(|state| state.rest == Rest::No && state.has_waiting()) {
                self.reactor.ready.push(Owner::Listener(key));
            }
        }
    }

    /// Looks whether a socket that a program has had, and has no more, is as it should be, and
    /// sees to it; true if it is another one now.
    pub(super) fn look_after(&mut self, key: Key) -> bool {
        match self.services.restore_socket(key) {
            Condition::Sound => false,
            Condition::Ruined(why) => self.replace_ruined(key, why),
        }
    }

    /// Opens another socket in the place of one that is of no use any more; false if there is
    /// none now. One of the service manager's stays closed: it alone can make another.
    pub(super) fn replace_ruined(&mut self, key: Key, why: &'static str) -> bool {
        self.services.deregister_listener(key, &self.reactor);
        let Some(state) = self.services.listeners.get_mut(key) else { return false };
        let Some(service) = self.services.all.get(state.service) else { return false };
        let service = Rc::clone(&service.service);
        let Some(listener) = state.listener.take() else { return false };
        (state.rest, state.registered) = (Rest::No, false);
        events::renewed(&service.label, listener.address(), why);
        let keeps_name = matches!(state.spec.endpoint, Endpoint::Abstract(_));
        let former = listener.inode().filter(|_| keeps_name && !listener.is_adopted());
        let next = if listener.is_adopted() {
            self.close_socket(listener, true);
            None
        } else {
            let next = succeed(listener, &state.spec, &service);
            self.reloading.turnover.closes();
            next.ok()
        };
        match next {
            Some(next) => self.listen(key, &service, next),
            None => self.try_to_open(key),
        }
        let is_open =
            self.services.listeners.get(key).is_some_and(|state| state.listener.is_some());
        if let Some(inode) = former.filter(|_| !is_open) {
            self.services.look_who_keeps((key, inode), &mut self.reactor);
        }
        is_open
    }
}

impl Services {
    pub(super) fn restore_socket(&self, key: Key) -> Condition {
        let Some((state, owner)) = self.of(key) else { return Condition::Sound };
        let Some(listener) = &state.listener else { return Condition::Sound };
        listener.restore(&state.spec, &owner.service.attributes)
    }
}

pub(in crate::server) fn is_shared(state: &ListenerState) -> bool {
    state.listener.as_ref().is_some_and(Listener::is_shared)
}

/// A UDP socket has its successor beside it before it goes, which works though somebody else
/// has it still; another gives its place up first.
fn succeed(old: Listener, spec: &SocketSpec, service: &Service) -> io::Result<Listener> {
    old.give_up();
    let held = matches!(old.socket(), Socket::Udp(_)).then_some(old);
    let next = Listener::open_in_place(spec, service);
    drop(held);
    next
}
