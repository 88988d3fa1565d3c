//! Listeners that rest: when a limit or the system says so, until a time or until room is
//! made. A resting listener keeps its port and its backlog, and is not polled once somebody
//! has come.

use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;

use crate::admission::{Permit, Wake};
use crate::log::events;
use crate::server::Server;
use crate::server::programs::watching::Tidy;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::{self, Owner};
use crate::server::services::Services;
use crate::server::state::Rest;

/// The same trouble again within this time is not told again.
const EPISODE: Duration = Duration::from_secs(10);

/// Rest of a listener when the system has no descriptors and no child ends.
const EXHAUSTED: Duration = Duration::from_millis(250);

impl Server {
    /// Somebody whom a service has admitted has gone: those resume for whom that has made room.
    pub(in crate::server) fn release(&mut self, permit: Permit, service: Key) {
        let wake = self.admission.release(self.reactor.now, permit);
        self.wake(wake, service);
        for key in std::mem::take(&mut self.services.exhausted) {
            self.services.resume(key, &mut self.reactor);
        }
    }

    /// Somebody has been admitted and is not served. Those resume for whom limits leave room
    /// again. Nothing else has become free: who could not be started now would have the others
    /// try in vain, and they him.
    pub(in crate::server) fn cancel(&mut self, permit: Permit, service: Key) {
        let wake = self.admission.cancel(self.reactor.now, permit);
        self.wake(wake, service);
    }

    /// The same of one whose service is not there, which cannot be.
    pub(in crate::server) fn release_unserved(&mut self, permit: Permit, service: Key) {
        debug_assert!(false, "somebody was admitted to a service that is not there");
        self.cancel(permit, service);
    }

    fn wake(&mut self, wake: Wake, service: Key) {
        self.sessions.holding.made_room();
        self.sessions.newcomers.made_room();
        match wake {
            Wake::Nobody => {}
            Wake::Service(_) => self.services.wake_service(service, &mut self.reactor),
            Wake::All => {
                for service in std::mem::take(&mut self.services.paused) {
                    self.services.wake_service(service, &mut self.reactor);
                }
            }
        }
    }

    /// Lets a listener rest while the system has no descriptors or no memory.
    pub(in crate::server) fn exhausted(
        &mut self,
        key: Key,
        call: &str,
        error: &dyn std::fmt::Display,
    ) {
        let Some(state) = self.services.listeners.get_mut(key) else { return };
        state.rest = Rest::Exhausted;
        if !self.services.exhausted.contains(&key) {
            self.services.exhausted.push(key);
        }
        self.services.look_after_in(key, EXHAUSTED, Timer::Resume, &mut self.reactor);
        if self.services.exhaustion_is_new(self.reactor.now) {
            self.services.log_trouble(key, call, error);
        }
        self.close_at_once();
        self.programs.spawner.free_descriptors();
        // The end of any child may help, so all are polled.
        self.tidy(Tidy::Everything);
    }
}

impl Services {
    pub(in crate::server) fn register_listener(&mut self, key: Key, reactor: &mut Reactor) {
        let Some(state) = self.listeners.get_mut(key).filter(|state| !state.registered) else {
            return;
        };
        let Some(listener) = &state.listener else { return };
        let token = token::pack(Owner::Listener(key));
        let descriptor = listener.as_raw_fd();
        let (registry, mut source) = (reactor.poll.registry(), SourceFd(&descriptor));
        let added = match registry.register(&mut source, token, Interest::READABLE) {
            // It has not been taken away; this announces what is pending, too.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                registry.reregister(&mut source, token, Interest::READABLE)
            }
            other => other,
        };
        match added {
            Ok(()) => state.registered = true,
            Err(error) => {
                // The system has no memory for it now; looked at again by a timer.
                state.rest = Rest::Exhausted;
                self.log_trouble(key, "epoll_ctl", &error);
                self.look_after_in(key, EXHAUSTED, Timer::Resume, reactor);
            }
        }
    }

    /// Rests until `until`, or until a child ends.
    pub(super) fn rest_for_limit(
        &mut self,
        key: Key,
        until: Option<Instant>,
        reactor: &mut Reactor,
    ) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        state.rest = Rest::Limit;
        if let Some(until) = until {
            return self.set_listener_timer(key, until, Timer::Resume, reactor);
        }
        let owner = state.service;
        let Some(service) = self.all.get_mut(owner) else { return };
        if service.resting.is_empty() {
            self.paused.push(owner);
        }
        service.resting.push(key);
    }

    /// Serves a listener again.
    pub(in crate::server) fn resume(&mut self, key: Key, reactor: &mut Reactor) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        let early = state.not_before.is_some_and(|when| when > reactor.now);
        if matches!(state.rest, Rest::No | Rest::Program) || early {
            return;
        }
        state.rest = Rest::No;
        state.not_before = None;
        let registered = state.registered;
        if registered || self.needs_renewal(key) {
            // The event may have come before the rest began.
            reactor.ready.push(Owner::Listener(key));
        } else {
            // Registering announces what is pending.
            self.register_listener(key, reactor);
        }
    }

    fn wake_service(&mut self, service: Key, reactor: &mut Reactor) {
        let Some(state) = self.all.get_mut(service) else { return };
        if state.resting.is_empty() {
            return;
        }
        for key in std::mem::take(&mut state.resting) {
            self.resume(key, reactor);
        }
        self.paused.retain(|resting| *resting != service);
    }

    /// An event for a listener that rests: it is not polled any more, so that what
    /// arrives meanwhile wakes nobody; one that rests since nobody is there is served again. True
    /// if it rests.
    pub(in crate::server) fn event_while_resting(
        &mut self,
        key: Key,
        reactor: &mut Reactor,
    ) -> bool {
        if self.somebody_has_come(key, reactor) {
            return true;
        }
        let rests = self.listeners.get(key).is_some_and(|listener| listener.rest != Rest::No);
        if rests {
            self.deregister_listener(key, reactor);
        }
        rests
    }

    /// Something of a listener's does not work.
    pub(super) fn log_trouble(&self, key: Key, call: &str, error: &dyn std::fmt::Display) {
        let Some(state) = self.listeners.get(key) else { return };
        let service = self.all.get(state.service).map(|it| it.service.label.clone());
        events::trouble(&service.unwrap_or_else(|| state.label()), call, error);
    }

    pub(in crate::server) fn deregister_listener(&mut self, key: Key, reactor: &Reactor) {
        let Some(state) = self.listeners.get_mut(key).filter(|state| state.registered) else {
            return;
        };
        let Some(listener) = &state.listener else {
            state.registered = false;
            return;
        };
        let number = listener.as_raw_fd();
        let gone = reactor.poll.registry().deregister(&mut SourceFd(&number));
        // One that is polled still is known as such: who rests is told again at each event.
        state.registered = gone.is_err_and(|error| error.kind() != ErrorKind::NotFound);
    }

    /// The system has no room: is that to be told? Once an episode, which is over when
    /// there has been no such error for a while.
    pub(in crate::server) fn exhaustion_is_new(&mut self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.last_exhausted) > EPISODE;
        self.last_exhausted = now;
        quiet
    }

    /// When it is looked after again, whatever was set before: who is looked after for another
    /// reason, and rests once more, must not come to have more and more timers.
    pub(in crate::server) fn set_listener_timer(
        &mut self,
        key: Key,
        when: Instant,
        timer: impl Fn(Key) -> Timer,
        reactor: &mut Reactor,
    ) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        let timer = timer(key);
        if let Some((before, old)) = state.timer.replace((when, timer)) {
            reactor.timers.cancel(before, old);
        }
        reactor.timers.set(when, timer);
    }

    /// The same after a time.
    pub(in crate::server) fn look_after_in(
        &mut self,
        key: Key,
        time: Duration,
        timer: impl Fn(Key) -> Timer,
        reactor: &mut Reactor,
    ) {
        self.set_listener_timer(key, reactor.now + time, timer, reactor);
    }
}
