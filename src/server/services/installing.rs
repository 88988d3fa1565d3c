//! Services coming and going: what is made of a definition, and sockets, those included
//! that cannot be opened yet.

use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};

use super::feeding::Row;
use super::managing::open_socket;
use super::occupied::PastSessions;
use super::rejection_log::Refusals;
use super::reserve::is_exhausted;
use super::waiting::FIRST_BACKOFF;
use crate::admission::{Limits, ServiceId};
use crate::config::model::{Action, Service, SocketSpec};
use crate::control::statistics::LastError;
use crate::log::events::{self, Label};
use crate::log::sink;
use crate::net::listener::{Listener, NotOpened, ShownEndpoint};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::Services;
use crate::server::sessions::banners::Banners;
use crate::server::state::{ListenerState, Rest, ServiceState, Stopped};
use crate::spawn::{Confinement, Prepared};
use crate::sys::calendar::unix_time;

/// Delay before the first further attempt to open a socket; doubles each time.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest delay.
pub(super) const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What the log says of programs that have outlived their server where limits cannot.
const GAP: &str = "programs from before the start had no limits for a while, \
    and memory that they took by now is not counted";

impl Server {
    /// What is served.
    #[must_use]
    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// Opens what has been taken and is free by now.
    pub(crate) fn open_what_is_free(&mut self) -> usize {
        for key in self.services.listeners.keys() {
            self.try_to_open(key);
        }
        self.services.open_count()
    }

    /// The key under which a service of the new configuration is served.
    pub(super) fn install_service(&mut self, service: &Rc<Service>, before: Option<Key>) -> Key {
        let prepared = self.prepare(service, before);
        let (front, not_sealed) = self.seal_front(service, before);
        // Nobody waits for a built-in service's program, whatever is written.
        let builtin = runs_no_program(service);
        let waits = service.wait && !builtin;
        let limits = Limits::new(&service.attributes, waits).for_builtin(builtin);
        let label = label_of(service);
        if let Some(key) = before.filter(|key| self.services.all.get(*key).is_some()) {
            let admission = self.counted_by(key, service, limits);
            let Some(state) = self.services.all.get_mut(key) else { return key };
            state.admission = admission;
            self.services.entries.define(key, Some(&state.service), service);
            (state.service, state.label, state.prepared) = (Rc::clone(service), label, prepared);
            state.banners = Banners::of(service);
            (state.since, state.not_sealed) = (unix_time(), not_sealed);
            self.put_front(key, front);
            return key;
        }
        let (admission, departed) = self.counted_again(service, limits);
        let key = self.services.all.insert(ServiceState {
            service: Rc::clone(service),
            label,
            prepared,
            admission,
            listeners: Vec::new(),
            resting: Vec::new(),
            front,
            not_sealed,
            banners: Banners::of(service),
            refusals: Refusals::default(),
            statistics: None,
            fruitless: 0,
            stopped: Stopped::No,
            handed_over: false,
            since: unix_time(),
        });
        self.services.entries.define(key, None, service);
        if let Some(before) = departed {
            self.take_clients_back(key, before);
        }
        key
    }

    /// Those who are here are counted by source from now on, if they have not been.
    pub(super) fn count_sources_if(&mut self, counts: bool, id: ServiceId) {
        if counts {
            let now = self.reactor.now;
            self.each_permit(|admission, permit| admission.count_source(now, id, permit));
        }
    }

    /// By what a service is counted that goes on as another.
    fn counted_by(&mut self, key: Key, service: &Service, limits: Limits) -> ServiceId {
        let same =
            |state: &&ServiceState| runs_no_program(&state.service) == runs_no_program(service);
        match self.services.all.get(key).filter(same).map(|state| state.admission) {
            Some(id) => {
                let counts = self.admission.update(self.reactor.now, id, limits);
                self.count_sources_if(counts, id);
                self.sessions.newcomers.made_room();
                id
            }
            None => {
                // What is counted differs, so each is counted by itself.
                self.retire(key);
                self.admission.add(limits)
            }
        }
    }

    /// Nobody is admitted by this service's limits any more. Those that bite end with that,
    /// which is said while it is known whose they were.
    fn retire(&mut self, key: Key) {
        let Some(state) = self.services.all.get(key) else { return };
        self.admission.retire(state.admission);
        self.log_limits();
    }

    /// What the programs of a service need, which `before` may have a part of already.
    fn prepare(&mut self, service: &Service, before: Option<Key>) -> Option<Rc<Prepared>> {
        let Action::Program(program) = &service.action else { return None };
        let before = before.and_then(|key| self.services.all.get(key));
        let before = before.and_then(|state| state.prepared.as_ref());
        let group = before.and_then(|prepared| prepared.group());
        let cgroups = &mut self.programs.cgroups;
        let reserve = self.facts.reserve;
        let confinement = reserve.with_half(|| Confinement::prepare(service, cgroups, group));
        let said = before.and_then(|prepared| prepared.refusal()).map(|it| it.error.as_str());
        if let Some(refusal) = confinement.refusal().filter(|it| said != Some(&it.error)) {
            events::trouble(&service.label, refusal.stage, &refusal.error);
        }
        if confinement.tell_gap() {
            events::trouble(&service.label, "cgroup", &GAP);
        }
        match Prepared::new(service, program, &self.facts.server, confinement) {
            Ok(prepared) => Some(Rc::new(prepared)),
            Err(error) => {
                // The reader of configurations lets no NUL byte through.
                events::trouble(&service.label, "prepare", &error);
                None
            }
        }
    }

    /// Makes ready again what the programs of a service need, after it was lacking.
    pub(in crate::server) fn prepare_again(&mut self, key: Key) -> Option<Rc<Prepared>> {
        let service = Rc::clone(&self.services.all.get(key)?.service);
        let prepared = self.prepare(&service, Some(key));
        if let Some(state) = self.services.all.get_mut(key) {
            state.prepared.clone_from(&prepared);
        }
        prepared
    }

    pub(super) fn remove_service(&mut self, key: Key) {
        self.turn_away_all_of(key);
        self.services.log_all_refusals(key);
        self.retire(key);
        let Some(state) = self.services.all.remove(key) else { return };
        self.services.departed.note(key, &state, &self.admission);
        if let Some(front) = state.front {
            self.sessions.workers.forget_settings(front.number);
        }
        self.leave_workers_of(key);
        self.services.entries.remove(key, &state.service);
        self.services.paused.retain(|resting| *resting != key);
        self.stop_children_of(key);
    }

    /// What `on_stop` says for the programs of a service.
    pub(in crate::server) fn stop_children_of(&mut self, key: Key) {
        for child in self.sessions.table.programs_that(|client, _| client.service == key) {
            self.sessions.stop_child(child, &mut self.reactor);
        }
    }

    pub(in crate::server) fn close_listener(&mut self, key: Key) {
        self.services.deregister_listener(key, &self.reactor);
        self.services.stop_listening(key);
        let state = self.services.listeners.remove(key);
        if let Some(listener) = state.and_then(|state| state.listener) {
            self.close_socket(listener, false);
        }
        self.sessions.newcomers.made_room();
    }

    pub(in crate::server) fn open(&mut self, key: Key) -> std::io::Result<()> {
        // It may have been opened meanwhile, and would be in its own way.
        let closed = self.services.of(key).filter(|(state, _)| state.listener.is_none());
        let Some((state, service)) = closed else { return Ok(()) };
        let waits = service.service.missing_target().is_some();
        if service.stopped.is_so() || waits || self.life.drain.closes() {
            return Ok(());
        }
        if !self.fits(key) {
            return Err(std::io::Error::from_raw_os_error(libc::EMFILE));
        }
        let (spec, service) = (state.spec.clone(), Rc::clone(&service.service));
        let sockets = &mut self.manager.sockets;
        let opened = self.facts.reserve.leaving_some(|| open_socket(sockets, &spec, &service));
        if let Some(listener) = opened? {
            self.listen(key, &service, listener);
        }
        Ok(())
    }

    /// Somebody has deleted the path of a unix socket: it gets another one. Whoever has the
    /// old one goes on with it, and so does the server if there can be no other.
    pub(super) fn open_anew(&mut self, key: Key) {
        let served = self.services.of(key).filter(|(_, service)| !service.stopped.is_so());
        let Some((state, service)) = served else { return };
        let service = Rc::clone(&service.service);
        match self.facts.reserve.with(|| Listener::open(&state.spec, &service)) {
            Ok(listener) => {
                self.shut_listener(key);
                self.listen(key, &service, listener);
            }
            Err(error) => self.services.log_trouble(key, "bind", &error),
        }
    }

    pub(in crate::server) fn listen(
        &mut self,
        key: Key,
        service: &Service,
        mut listener: Listener,
    ) {
        if matches!(service.action, Action::Builtin(_)) {
            listener.tell_senders();
        }
        self.reloading.turnover.opens();
        log::debug!("opened descriptor={}", listener.as_raw_fd());
        events::listening(&service.label, listener.address(), listener.is_adopted());
        if let Some(state) = self.services.listeners.get_mut(key) {
            state.listener = Some(listener);
            (state.left_out, state.is_behind) = (false, false);
            state.last_error = None;
            state.retry = FIRST_RETRY;
        }
        self.services.register_listener(key, &mut self.reactor);
    }

    /// The same with the shortest delays, if a reload may have mended what was in the way.
    pub(super) fn try_at_once(&mut self, key: Key, mends: bool) {
        if let Some(state) = self.services.listeners.get_mut(key).filter(|_| mends) {
            state.retry = FIRST_RETRY;
        }
        self.try_to_open(key);
    }

    /// Opens a socket, or says why not and when it is tried again.
    pub(in crate::server) fn try_to_open(&mut self, key: Key) {
        let Err(error) = self.open(key) else { return };
        let Some(state) = self.services.listeners.get_mut(key) else { return };
        let delay = state.retry;
        state.left_out = is_exhausted(&error);
        state.is_to_come = is_to_come(&error);
        state.retry = delay.saturating_mul(2).min(LONGEST_RETRY);
        let error = NotOpened(&error, &state.spec.endpoint).to_string();
        let is_news = state.last_error.as_ref().is_none_or(|before| before.message != error);
        if is_news {
            state.last_error = Some(LastError { time: unix_time(), message: error.clone() });
        }
        self.services.look_after_in(key, delay, Timer::Open, &mut self.reactor);
        let Some(state) = self.services.listeners.get(key) else { return };
        // Those that are left out are told of together.
        if is_news
            && !state.left_out
            && let Some(service) = self.services.all.get(state.service)
        {
            let endpoint = ShownEndpoint(&state.spec.endpoint);
            events::not_listening(&service.label, &endpoint, &error, delay);
        }
    }
}

impl Services {
    /// How many services there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many sockets are open.
    pub(in crate::server) fn open_count(&self) -> usize {
        self.listeners.iter().filter(|(_, state)| state.listener.is_some()).count()
    }

    /// The first socket that could not be opened and why, for `oxinetd run`.
    #[must_use]
    pub(crate) fn first_open_error(&self) -> Option<String> {
        self.not_open().into_iter().next().or_else(|| self.first_missing_name())
    }

    /// Where nobody can come, and why not, as long as that is so.
    #[must_use]
    pub(crate) fn not_open(&self) -> Vec<String> {
        let closed = self.listeners.iter().filter_map(|(_, state)| {
            let error = &state.last_error.as_ref()?.message;
            Some(format!("{}: {error}", state.label()))
        });
        closed.collect()
    }

    /// Whether there is something to serve and nothing of it is open, for a reason that is not
    /// that something is still to come: an address, a device, a name.
    #[must_use]
    pub(crate) fn has_nothing_open(&self) -> bool {
        let waits = self.listeners.iter().any(|(_, state)| state.is_to_come)
            || self.first_missing_name().is_some();
        self.open_count() == 0 && !waits && self.first_open_error().is_some()
    }

    /// Whether something cannot be opened for another reason than that it is still to come.
    #[must_use]
    pub(crate) fn lacks_what_is_here(&self) -> bool {
        let mut closed = self.listeners.iter().filter(|(_, it)| it.last_error.is_some());
        closed.any(|(_, state)| state.listener.is_none() && !state.is_to_come)
    }

    pub(in crate::server) fn new_listener(&mut self, service: Key, spec: SocketSpec) -> Key {
        let place = self.room.next_place();
        self.listeners.insert(ListenerState {
            service,
            spec,
            place,
            is_to_come: false,
            listener: None,
            retry: FIRST_RETRY,
            left_out: false,
            is_behind: false,
            last_error: None,
            sorted: Vec::new(),
            parked: None,
            sessions: PastSessions::default(),
            registered: false,
            rest: Rest::No,
            timer: None,
            not_before: None,
            backoff: FIRST_BACKOFF,
            unread: 0,
            row: Row::default(),
            head: None,
        })
    }

    /// Nobody gets in from here on. Closing a socket is not enough for that: a child on its
    /// way to its program may have a copy of it for a moment. A `wait` service's program may
    /// have it for longer, and the service manager's is not ours to shut.
    pub(in crate::server) fn stop_listening(&self, key: Key) {
        if let Some((state, owner)) = self.of(key)
            && owner.service.is_accepted_from()
            && let Some(listener) = state.listener.as_ref().filter(|it| !it.is_adopted())
        {
            // It may never have listened.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
    }
}

/// Whether what is lacking may come with a network: an address, a device.
fn is_to_come(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV))
}

fn label_of(service: &Service) -> Label {
    let file = service.attributes.log.file.as_ref();
    Label::new(&service.label, file.and_then(|file| sink::number_of(&file.path)))
}

fn runs_no_program(service: &Service) -> bool {
    !matches!(service.action, Action::Program(_))
}
