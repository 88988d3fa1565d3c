//! Services coming and going: the first configuration, sockets that cannot be
//! opened yet, and reloads, which touch nothing before everything is known.

use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use super::Server;
use super::banners::Banners;
use super::refusals::Refusals;
use super::slab::Key;
use super::starting::FIRST_BACKOFF;
use super::state::{ListenerState, Rest, ServiceState};
use super::timers::Timer;
use crate::admission::Limits;
use crate::config::diagnostic::Severity;
use crate::config::model::{Action, Config, Service, SocketSpec};
use crate::config::{self, Loaded};
use crate::control::answer::{Finding, Reloaded};
use crate::journal::{self, Label};
use crate::listener::ShownEndpoint;
use crate::log_sink;
use crate::reload::{Fate, Plan, SocketRef, plan};
use crate::spawn::{Confinement, Prepared, kernel};

/// Delay before the first further attempt to open a socket; doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

impl Server {
    /// Serves a configuration for the first time. The number of sockets that are open.
    pub fn install(&mut self, config: &Config) -> usize {
        self.apply(config);
        self.listeners.iter().filter(|(_, state)| state.listener.is_some()).count()
    }

    /// The last error of a socket that could not be opened, for `oxinetd run`.
    #[must_use]
    pub fn first_open_error(&self) -> Option<String> {
        self.listeners.iter().find_map(|(_, state)| state.last_error.clone())
    }

    /// How many services there are.
    #[must_use]
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// Reads the configuration again; one error in it and everything stays as it is.
    pub(super) fn reload(&mut self) {
        self.reload_begins();
        log_sink::reopen();
        let Loaded { config, diagnostics } = (self.reload)();
        let (errors, _) = config::summary(&diagnostics);
        let mut outcome = Reloaded::default();
        for diagnostic in &diagnostics {
            let is_error = diagnostic.severity == Severity::Error;
            journal::configuration(is_error, &diagnostic.one_line());
            let severity = if is_error { "error" } else { "warning" }.to_owned();
            outcome.diagnostics.push(Finding { severity, text: diagnostic.render() });
        }
        if errors > 0 {
            journal::reload_refused(errors);
            return self.reload_over(&outcome);
        }
        let plan = self.apply(&config);
        // The old model and what was needed to read the new one.
        drop(config);
        kernel::trim_memory();
        let updated = plan.services.iter().filter(|fate| matches!(fate, Fate::Updated(_))).count();
        let held: usize = plan.held.iter().map(|held| held.sockets.len()).sum();
        let kept = plan.kept.len().saturating_add(held);
        journal::reloaded(kept, plan.open.len(), plan.close.len(), updated);
        outcome.reloaded = true;
        (outcome.kept, outcome.opened) = (kept, plan.open.len());
        (outcome.closed, outcome.updated) = (plan.close.len(), updated);
        self.reload_over(&outcome);
    }

    /// The new configuration holds, or the old one goes on.
    fn reload_over(&mut self, outcome: &Reloaded) {
        self.tell_reloaded(outcome);
        self.reload_ended(outcome);
    }

    /// New sockets first, then those that stay, then those that go: whoever connects
    /// meanwhile finds a listener.
    fn apply(&mut self, config: &Config) -> Plan {
        let old = self.what_is_served();
        let plan = plan(&old.services, config);
        use_log_files(config, &plan);
        let install = |(service, fate): (&Rc<Service>, &Fate)| {
            self.install_service(service, *fate, &old.keys)
        };
        let keys: Vec<Key> = config.services.iter().zip(&plan.services).map(install).collect();
        let mut places = Places::new(keys.len());
        for at in &plan.open {
            let Some((owner, spec)) = wanted(config, &keys, *at) else { continue };
            let key = self.new_listener(owner, spec);
            // What is in the way may be a socket that is about to be closed.
            let _ = self.open(key);
            places.put(*at, key);
        }
        for kept in &plan.kept {
            let Some((key, &owner)) = old.socket(kept.old).zip(keys.get(kept.new.service)) else {
                continue;
            };
            places.put(kept.new, key);
            self.keep_listener(key, owner, kept.reapply);
        }
        for key in plan.close.iter().filter_map(|at| old.socket(*at)) {
            self.close_listener(key);
        }
        self.place_listeners(&keys, places);
        self.order = keys;
        self.hold_and_remove(&plan, &old);
        self.tidy_groups();
        self.open_what_is_closed();
        self.say_unclaimed();
        self.resume_after_reload();
        self.update_guard();
        self.look_what_to_observe();
        plan
    }

    fn what_is_served(&mut self) -> Old {
        let keys = std::mem::take(&mut self.order);
        let states = keys.iter().filter_map(|key| self.services.get(*key));
        let (services, sockets) =
            states.map(|state| (Rc::clone(&state.service), state.listeners.clone())).unzip();
        Old { keys, services, sockets }
    }

    fn hold_and_remove(&mut self, plan: &Plan, old: &Old) {
        for held in &plan.held {
            let sockets = held.sockets.iter().filter_map(|at| old.socket(*at)).collect();
            if let Some(&key) = old.keys.get(held.old) {
                self.hold_service(key, &held.service, sockets);
            }
        }
        for key in plan.gone.iter().filter_map(|gone| old.keys.get(*gone)) {
            self.remove_service(*key);
        }
    }

    /// The key under which a service of the new configuration is served.
    fn install_service(&mut self, service: &Rc<Service>, fate: Fate, old: &[Key]) -> Key {
        let before = match fate {
            Fate::New => None,
            Fate::Unchanged(index) | Fate::Updated(index) => old.get(index).copied(),
        };
        let prepared = self.prepare(service, before);
        let limits =
            Limits::new(&service.attributes, service.wait).for_builtin(runs_no_program(service));
        let label = label_of(service);
        if let Some(key) = before
            && let Some(state) = self.services.get_mut(key)
        {
            if runs_no_program(&state.service) == runs_no_program(service) {
                self.admission.update(self.now, state.admission, limits);
            } else {
                // What is counted differs, so each is counted by itself.
                self.admission.retire(state.admission);
                state.admission = self.admission.add(limits);
            }
            (state.service, state.label, state.prepared) = (Rc::clone(service), label, prepared);
            state.banners = Banners::of(service);
            return key;
        }
        let admission = self.admission.add(limits);
        self.services.insert(ServiceState {
            service: Rc::clone(service),
            label,
            prepared,
            admission,
            listeners: Vec::new(),
            resting: Vec::new(),
            banners: Banners::of(service),
            refusals: Refusals::default(),
            statistics: None,
            stopped: false,
        })
    }

    /// What the programs of a service need, which `before` may have a part of already.
    fn prepare(&mut self, service: &Service, before: Option<Key>) -> Option<Rc<Prepared>> {
        let Action::Program(program) = &service.action else { return None };
        let before = before.and_then(|key| self.services.get(key));
        let group = before.and_then(|state| state.prepared.as_ref()?.group());
        let confinement = Confinement::prepare(service, &mut self.groups, group);
        if let Some(refusal) = confinement.refusal() {
            journal::trouble(&service.label, refusal.stage, &refusal.error);
        }
        match Prepared::new(service, program, &self.facts.server, confinement) {
            Ok(prepared) => Some(Rc::new(prepared)),
            Err(error) => {
                // The reader of configurations lets no NUL byte through.
                journal::trouble(&service.label, "prepare", &error);
                None
            }
        }
    }

    fn new_listener(&mut self, service: Key, spec: SocketSpec) -> Key {
        self.listeners.insert(ListenerState {
            service,
            spec,
            listener: None,
            retry: FIRST_RETRY,
            last_error: None,
            parked: None,
            registered: false,
            queued: false,
            rest: Rest::No,
            not_before: None,
            backoff: FIRST_BACKOFF,
            unread: 0,
            head: None,
        })
    }

    /// A socket that both configurations have: its descriptor and its backlog stay.
    fn keep_listener(&mut self, key: Key, owner: Key, reapply: bool) {
        let Some(service) = self.services.get(owner).map(|state| Rc::clone(&state.service)) else {
            return;
        };
        let Some(state) = self.listeners.get_mut(key) else { return };
        state.service = owner;
        if reapply
            && let Some(listener) = &state.listener
            && let Err(error) = listener.update(&state.spec, &service.attributes)
        {
            journal::trouble(&service.label, "setsockopt", &error);
        }
        self.take_back_unfit(key, &service);
    }

    fn place_listeners(&mut self, keys: &[Key], places: Places) {
        for (key, mut place) in keys.iter().zip(places.0) {
            place.sort_unstable();
            if let Some(state) = self.services.get_mut(*key) {
                state.listeners = place.into_iter().map(|(_, listener)| listener).collect();
            }
        }
    }

    /// What should replace this service is withheld: it goes on as it was.
    fn hold_service(&mut self, key: Key, service: &Rc<Service>, listeners: Vec<Key>) {
        if let Some(state) = self.services.get_mut(key) {
            state.service = Rc::clone(service);
            state.listeners = listeners;
            self.order.push(key);
        }
    }

    fn remove_service(&mut self, key: Key) {
        self.tell_all_refusals(key);
        let Some(state) = self.services.remove(key) else { return };
        self.admission.retire(state.admission);
        self.resting_services.retain(|resting| *resting != key);
        self.stop_children_of(key);
    }

    /// What `on_stop` says for the programs of a service.
    pub(super) fn stop_children_of(&mut self, key: Key) {
        let children = self.children.iter().filter(|(_, child)| child.service == key);
        let children: Vec<Key> = children.map(|(child, _)| child).collect();
        for child in children {
            self.stop_child(child);
        }
    }

    pub(super) fn close_listener(&mut self, key: Key) {
        self.deregister_listener(key);
        let state = self.listeners.remove(key);
        if let Some(listener) = state.and_then(|state| state.listener) {
            self.close_socket(listener);
        }
    }

    /// Limits may have changed: everybody who rests for one is looked at again.
    fn resume_after_reload(&mut self) {
        for key in std::mem::take(&mut self.resting_services) {
            if let Some(state) = self.services.get_mut(key) {
                state.resting.clear();
            }
        }
        for key in self.listeners.keys() {
            let rests = self.listeners.get(key).is_some_and(|state| state.rest == Rest::Limit);
            if rests {
                self.resume(key);
            }
        }
    }

    /// Tries again whatever the sockets that are now closed were in the way of.
    fn open_what_is_closed(&mut self) {
        for key in self.listeners.keys() {
            if self.listeners.get(key).is_some_and(|state| state.listener.is_none()) {
                self.try_to_open(key);
            }
        }
    }

    fn open(&mut self, key: Key) -> std::io::Result<()> {
        let Some(state) = self.listeners.get(key) else { return Ok(()) };
        let Some(service) = self.services.get(state.service) else { return Ok(()) };
        if service.stopped || self.drain.is_some() {
            return Ok(());
        }
        let (spec, service) = (state.spec.clone(), Rc::clone(&service.service));
        let Some(listener) = self.open_socket(&spec, &service)? else { return Ok(()) };
        log::debug!("opened descriptor={:?}", listener.as_fd());
        journal::listening(&service.label, listener.address(), listener.is_adopted());
        if let Some(state) = self.listeners.get_mut(key) {
            state.listener = Some(listener);
            state.last_error = None;
            state.retry = FIRST_RETRY;
        }
        self.register_listener(key);
        Ok(())
    }

    /// Opens a socket, or says why not and when it is tried again.
    pub(super) fn try_to_open(&mut self, key: Key) {
        let Err(error) = self.open(key) else { return };
        let Some(state) = self.listeners.get_mut(key) else { return };
        let delay = state.retry;
        state.retry = delay.saturating_mul(2).min(LONGEST_RETRY);
        let said = state.last_error.replace(error.to_string());
        self.timers.set(self.now + delay, Timer::Open(key));
        let Some(state) = self.listeners.get(key) else { return };
        if said.as_ref() != state.last_error.as_ref()
            && let Some(service) = self.services.get(state.service)
        {
            let endpoint = ShownEndpoint(&state.spec.endpoint);
            journal::not_listening(&service.label, &endpoint, &error, delay);
            let (owner, message) = (state.service, format!("{endpoint}: {error}"));
            self.note_error(owner, &message);
        }
    }
}

/// Opens the files that services have for their lines; those held go on as before.
fn use_log_files(config: &Config, plan: &Plan) {
    let held = plan.held.iter().map(|held| &held.service);
    let services = config.services.iter().chain(held);
    log_sink::use_files(services.filter_map(|service| service.attributes.log_file.as_deref()));
}

fn label_of(service: &Service) -> Label {
    let file = service.attributes.log_file.as_ref();
    Label::new(&service.label, file.and_then(|file| log_sink::number_of(&file.path)))
}

fn runs_no_program(service: &Service) -> bool {
    !matches!(service.action, Action::Program(_))
}

/// What is served before a reload, in the order of its file.
struct Old {
    keys: Vec<Key>,
    services: Vec<Rc<Service>>,
    sockets: Vec<Vec<Key>>,
}

impl Old {
    fn socket(&self, at: SocketRef) -> Option<Key> {
        self.sockets.get(at.service)?.get(at.socket).copied()
    }
}

/// Where each listener belongs: for each new service, which of its sockets is which.
struct Places(Vec<Vec<(usize, Key)>>);

impl Places {
    fn new(services: usize) -> Self {
        Self(vec![Vec::new(); services])
    }

    fn put(&mut self, at: SocketRef, key: Key) {
        if let Some(place) = self.0.get_mut(at.service) {
            place.push((at.socket, key));
        }
    }
}

/// A socket of the new configuration and the key of its service.
fn wanted(config: &Config, keys: &[Key], at: SocketRef) -> Option<(Key, SocketSpec)> {
    let spec = config.services.get(at.service)?.sockets.get(at.socket)?;
    Some((*keys.get(at.service)?, spec.clone()))
}
