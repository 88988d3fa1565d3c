//! Stopping services that have had their clients.

use super::NAME;
use crate::config::model::Service;
use crate::log::events;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::services::Services;
use crate::server::state::{Rest, ServiceState, Stopped};

impl Server {
    /// At the end of a turn: stops the services that have had their clients.
    pub(in crate::server) fn stop_spent(&mut self) {
        if self.admission.take_spent() {
            self.services.quota.spent = self.services.all.keys();
        }
        for key in std::mem::take(&mut self.services.quota.spent) {
            if !self.is_spent(key) {
                continue;
            }
            if self.is_still_needed(key) {
                self.services.quota.spent.push(key);
            } else {
                self.stop_one_spent(key);
            }
        }
        self.end_with_the_last();
    }

    fn is_spent(&self, key: Key) -> bool {
        let state = self.services.all.get(key).filter(|state| state.stopped == Stopped::No);
        state.is_some_and(|state| self.admission.is_spent(state.admission))
    }

    /// Whether somebody who has been admitted needs a socket of the service.
    fn is_still_needed(&self, key: Key) -> bool {
        let listeners = self.services.all.get(key).map(|state| state.listeners.as_slice());
        let mut listeners = listeners.unwrap_or_default().iter();
        let has_program = |key: &Key| {
            self.services.listeners.get(*key).is_some_and(|listener| listener.rest == Rest::Program)
        };
        listeners.any(has_program)
            || self.sessions.pending_peers.iter().any(|(_, pending)| pending.owner == key)
    }

    fn stop_one_spent(&mut self, key: Key) {
        let Some(state) = self.services.all.get_mut(key) else { return };
        state.stopped = Stopped::Spent;
        let clients = self.admission.clients(state.admission);
        events::service_stopped(&state.label, NAME, clients);
        for listener in state.listeners.clone() {
            self.shut_listener(listener);
        }
    }

    /// `oxinetd run` ends with its service, when nobody is served any more.
    fn end_with_the_last(&mut self) {
        let is_spent = |(_, state): (Key, &ServiceState)| state.stopped == Stopped::Spent;
        let are_spent = || self.services.all.len() > 0 && self.services.all.iter().all(is_spent);
        if self.services.quota.only_one
            && self.life.stop.is_none()
            && are_spent()
            && self.has_no_clients()
        {
            self.life.stop = Some(NAME);
        }
    }

    /// Whether nobody is served, nor waits for it or for what is left of a program.
    pub(in crate::server) fn has_no_clients(&self) -> bool {
        let held = [
            self.sessions.table.len(),
            self.sessions.banners.len(),
            self.sessions.pending_peers.len(),
            self.programs.doomed.groups.len(),
            self.sessions.holding.len(),
            self.sessions.newcomers.all.len(),
            self.sessions.fronting.len(),
        ];
        held.iter().all(|number| *number == 0) && !self.services.has_parked_clients()
    }

    /// A service goes on with another definition: whoever it has had belongs to the one before.
    /// An upgrade only knows whether that says another number.
    pub(in crate::server::services) fn count_clients_afresh(
        &mut self,
        key: Key,
        service: &Service,
    ) {
        let Some(state) = self.services.all.get_mut(key) else { return };
        let same =
            state.service.attributes.limits.max_clients == service.attributes.limits.max_clients;
        if std::mem::take(&mut state.handed_over) && same {
            return;
        }
        if state.stopped == Stopped::Spent {
            state.stopped = Stopped::No;
        }
        self.admission.set_clients(state.admission, 0);
    }
}

impl Services {
    /// Whether somebody has been accepted and waits until the system has room.
    fn has_parked_clients(&self) -> bool {
        let mut listeners = self.exhausted.iter().filter_map(|key| self.listeners.get(*key));
        listeners.any(|listener| listener.parked.is_some())
    }
}
