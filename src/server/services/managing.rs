//! The service manager: what it is told, and the sockets that it holds for us.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::config::model::{Service, SocketSpec, SocketType};
use crate::control::answer::Reloaded;
use crate::log::events;
use crate::net::listener::{Listener, ShownEndpoint};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::Services;
use crate::server::state::ServiceState;
use crate::systemd::{Claim, NotifyStatus, Store, needs_own_sockets};

/// How soon a message that the manager had no room for is sent again.
const AGAIN: Duration = Duration::from_millis(100);

impl Server {
    /// Tells the service manager that everything is bound, and from now on, if it
    /// wants to know, that we are alive.
    pub(crate) fn announce(&mut self) {
        let status = self.notify_status(None);
        self.manager.notifier.ready(std::process::id(), status);
        self.retry_manager_later();
        self.expect_watchdog();
    }

    /// A new configuration is about to be read.
    pub(in crate::server) fn reload_begins(&mut self) {
        self.manager.notifier.reloading();
        self.retry_manager_later();
    }

    /// It has been applied, or refused.
    pub(in crate::server) fn reload_ended(&mut self, outcome: &Reloaded) {
        let errors = outcome.diagnostics.iter().filter(|it| it.severity == "error").count();
        let status = self.notify_status((!outcome.reloaded).then_some(errors));
        self.manager.notifier.reloaded(status);
        self.retry_manager_later();
    }

    /// A sign of life, and when the next is due.
    pub(in crate::server) fn notify_alive(&mut self) {
        let status = self.notify_status(None);
        self.manager.notifier.alive(status);
        self.retry_manager_later();
        self.expect_watchdog();
    }

    fn expect_watchdog(&mut self) {
        if let Some(span) = self.manager.watchdog.filter(|_| self.manager.notifier.has_address()) {
            self.reactor.after(span, Timer::Watchdog);
        }
    }

    /// Sends again what the manager had no room for.
    pub(in crate::server) fn flush_manager(&mut self) {
        self.manager.notifier.flush();
        self.retry_manager_later();
    }

    fn retry_manager_later(&mut self) {
        let late = self.manager.notifier.has_unsent();
        if late && self.manager_retry.is_none_or(|when| when <= self.reactor.now) {
            let when = self.reactor.now + AGAIN;
            self.manager_retry = Some(when);
            self.reactor.timers.set(when, Timer::Manager);
        }
    }

    fn notify_status(&self, refused: Option<usize>) -> NotifyStatus {
        let all = self.services.all.len();
        let services =
            self.services.all.iter().filter(|(_, state)| self.services.is_served(state)).count();
        let silent = all.saturating_sub(services);
        NotifyStatus { services, silent, programs: self.sessions.table.programs(), refused }
    }

    /// Closes a socket of ours. One of the service manager's waits for another service; if a
    /// program has ruined it, it is no service's any more.
    pub(in crate::server) fn close_socket(&mut self, listener: Listener, ruined: bool) {
        self.reloading.turnover.closes();
        let shared = listener.is_shared();
        if let Some(descriptor) = listener.into_adopted() {
            self.manager.sockets.put_back(descriptor, shared, ruined);
        }
    }

    /// Says which of the service manager's sockets no service has.
    pub(super) fn log_unclaimed(&mut self) {
        let closed = |spec: &SocketSpec| {
            self.services
                .listeners
                .iter()
                .any(|(_, state)| state.listener.is_none() && state.spec == *spec)
        };
        for (spec, name) in self.manager.sockets.unclaimed(closed) {
            let socket_type = match spec.socket_type {
                SocketType::Stream => "stream",
                SocketType::Dgram => "dgram",
                SocketType::SeqPacket => "seqpacket",
            };
            events::unclaimed(&ShownEndpoint(&spec.endpoint), socket_type, &name);
        }
    }

    /// Takes a socket of the service manager from a service that is to have its own.
    pub(super) fn take_back_unfit(&mut self, key: Key, service: &Service) {
        let Some(state) = self.services.listeners.get(key) else { return };
        let adopted = state.listener.as_ref().is_some_and(Listener::is_adopted);
        if !adopted || !needs_own_sockets(service) {
            return;
        }
        self.services.deregister_listener(key, &self.reactor);
        let state = self.services.listeners.get_mut(key);
        if let Some(listener) = state.and_then(|state| state.listener.take()) {
            self.close_socket(listener, false);
        }
    }
}

impl Services {
    /// Whether anybody can come to it.
    fn is_served(&self, state: &ServiceState) -> bool {
        let mut listeners = state.listeners.iter().filter_map(|key| self.listeners.get(*key));
        state.service.tcpmux.is_some() || listeners.any(|it| it.listener.is_some())
    }
}

/// Opens a socket, or takes the one that the service manager holds. None for one
/// whose clients arrive on another.
pub(super) fn open_socket(
    sockets: &mut Store,
    spec: &SocketSpec,
    service: &Rc<Service>,
) -> io::Result<Option<Listener>> {
    match sockets.claim(spec, service) {
        Claim::None => Listener::open(spec, service).map(Some),
        Claim::Covered => Ok(None),
        Claim::Unfit(why) => Err(io::Error::other(why)),
        Claim::Socket(descriptor, endpoint) => {
            let listener = Listener::adopt(descriptor, &endpoint, spec.socket_type);
            if let Err(error) = listener.update(spec, service) {
                events::trouble(&service.label, "setsockopt", &error);
            }
            Ok(Some(listener))
        }
    }
}
