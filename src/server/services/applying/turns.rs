//! A configuration applied step by step, some services each turn.

use std::collections::HashMap;
use std::rc::Rc;

use super::{ApplyStage, Applying};
use crate::config::model::{Endpoint, Service, SocketSpec};
use crate::log::{events, sink};
use crate::net::unix_path::BoundPath;
use crate::net::vsock::{ANY, VsockAddress};
use crate::reload::plan::{Fate, SocketRef};
use crate::reload::{From, Loading, Serve, ServiceChange, Step};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;
use crate::server::services::reserve::Reserve;
use crate::server::services::restoring::is_shared;
use crate::server::state::{ListenerState, Rest};
use crate::sys::descriptor;

/// Services in a row of unchanged ones that count as one.
const SAME: usize = 1024;

/// Sockets that are looked at for one.
const SOCKETS: usize = 64;

impl Server {
    /// Serves the first configuration. The number of sockets that are open.
    pub(crate) fn install(&mut self, loading: Loading) -> usize {
        let applying = self.begin_to_apply(loading);
        let mut applying = Applying { mends: false, certificates: None, ..applying };
        let mut all = usize::MAX;
        while self.apply_some(&mut applying, &mut all) {}
        self.programs.cgroups.look_for_left_over();
        self.programs.tidy_groups(&mut self.reactor);
        self.services.open_count()
    }

    pub(in crate::server) fn begin_to_apply(&mut self, loading: Loading) -> Applying {
        descriptor::expect_services(loading.services);
        self.facts.reserve.with(|| sink::open_files(loading.log_files.iter()));
        let changes = loading.steps.iter().any(|step| !matches!(step, Step::Same { .. }));
        Applying {
            steps: loading.steps.into_iter(),
            old: self.services.order.clone(),
            had: HashMap::new(),
            order: Vec::with_capacity(loading.services),
            unopened: HashMap::new(),
            stage: ApplyStage::Steps,
            log_files: loading.log_files,
            names: loading.names,
            overview: loading.overview,
            mends: true,
            certificates: Some(self.services.certificates()),
            before: (self.reloading.turnover, loading.updated),
            changes,
            turns: 0,
            most: 0,
        }
    }

    /// Goes on until `left` is used up. False when all is done.
    pub(in crate::server) fn apply_some(
        &mut self,
        applying: &mut Applying,
        left: &mut usize,
    ) -> bool {
        let before = *left;
        while *left > 0 && !matches!(applying.stage, ApplyStage::Done) {
            let cost = self.apply_next(applying);
            *left = left.saturating_sub(cost);
            applying.most = applying.most.max(before.saturating_sub(*left));
        }
        applying.turns = applying.turns.saturating_add(1);
        if !matches!(applying.stage, ApplyStage::Done) {
            return true;
        }
        log::debug!("applied turns={} most={}", applying.turns, applying.most);
        false
    }

    /// One step; what it costs in services and sockets.
    fn apply_next(&mut self, applying: &mut Applying) -> usize {
        match &mut applying.stage {
            ApplyStage::Steps => match applying.steps.next() {
                Some(step) => self.step(applying, step),
                None => {
                    self.services.order = std::mem::take(&mut applying.order);
                    self.programs.tidy_groups(&mut self.reactor);
                    let rested = std::mem::take(&mut self.services.paused);
                    applying.stage = ApplyStage::Rested(rested);
                    1
                }
            },
            ApplyStage::Rested(services) => {
                match services.pop() {
                    Some(key) => {
                        if let Some(state) = self.services.all.get_mut(key) {
                            state.resting.clear();
                        }
                    }
                    None => {
                        self.open_in_order();
                        applying.stage = ApplyStage::Sockets(0);
                    }
                }
                1
            }
            ApplyStage::Sockets(from) => {
                let first = *from;
                *from = first.saturating_add(SOCKETS);
                match self.look_over_sockets(first, applying.mends) {
                    Some(cost) => cost,
                    None => {
                        let before = applying.certificates.take();
                        let new = before.map(|before| self.services.new_certificates(&before));
                        let new = new.unwrap_or_default().into_iter();
                        applying.stage = ApplyStage::Certificates(new);
                        1
                    }
                }
            }
            ApplyStage::Certificates(new) => {
                match new.next() {
                    Some(certificate) => certificate.say(),
                    None => applying.stage = ApplyStage::Overview,
                }
                1
            }
            ApplyStage::Overview => {
                self.apply_overview(applying);
                applying.stage = ApplyStage::Done;
                crate::server::reload::PORTION
            }
            ApplyStage::Done => 0,
        }
    }

    /// What holds for all services together.
    fn apply_overview(&mut self, applying: &mut Applying) {
        sink::keep_files(applying.log_files.iter());
        self.log_unclaimed();
        let overview = std::mem::take(&mut applying.overview);
        self.look_what_to_observe(&overview);
        self.sessions.guard.set_own_ports(overview.own_ports);
        self.sessions.guard.set_own_names(overview.own_names);
        self.sessions.guard.set_broadcasts(overview.broadcasts);
        self.services.naming.not_served = overview.not_served;
        self.services.naming.learn(std::mem::take(&mut applying.names));
        self.services.expect_names(&mut self.reactor);
        self.log_left_out();
        self.fit_programs_in();
        self.log_room();
        self.adopt_orphans();
    }

    fn step(&mut self, applying: &mut Applying, step: Step) -> usize {
        match step {
            Step::Same { first, count } => {
                let last = first.saturating_add(count);
                applying.order.extend(applying.old.get(first..last).unwrap_or_default());
                1 + count / SAME
            }
            Step::Serve(serve) => self.serve_step(applying, serve),
            Step::Hold { old, sockets } => {
                self.services.hold(applying, old, &sockets);
                1
            }
            Step::Remove { old, close } => {
                let Some(&key) = applying.old.get(old) else { return 1 };
                let had = self.services.listeners_of(key);
                for listener in close.iter().filter_map(|at| had.get(*at)) {
                    self.close_and_retry(applying, *listener);
                }
                self.remove_service(key);
                close.len().saturating_add(1)
            }
        }
    }

    fn serve_step(&mut self, applying: &mut Applying, serve: Serve) -> usize {
        let Serve { fate, what, sockets, close } = serve;
        let index = match fate {
            Fate::New => None,
            Fate::Unchanged(index) | Fate::Updated(index) => Some(index),
        };
        let before = index.and_then(|index| applying.old.get(index)).copied();
        let Some((key, service)) = self.define(before, what) else { return 1 };
        applying.order.push(key);
        let had = self.services.listeners_of(key);
        let listeners = self.sockets_of(applying, (key, &service), &sockets, &had);
        for listener in close.iter().filter_map(|at| had.get(*at)) {
            self.close_and_retry(applying, *listener);
        }
        let mut leaves_some = false;
        for listener in had.iter().filter(|listener| !listeners.contains(listener)) {
            if let Some(state) =
                self.services.listeners.get_mut(*listener).filter(|it| it.service == key)
            {
                state.service = Key::NONE;
                leaves_some = true;
            }
        }
        if let Some(state) = self.services.all.get_mut(key) {
            state.listeners = listeners;
        }
        if let Some(index) = index.filter(|_| leaves_some) {
            applying.had.insert(index, had);
        }
        1 + sockets.len() + close.len()
    }

    /// Gives a service its definition; the key under which it is served.
    fn define(&mut self, before: Option<Key>, what: ServiceChange) -> Option<(Key, Rc<Service>)> {
        let service = match what {
            ServiceChange::New(service) => {
                if let Some(before) = before {
                    self.count_clients_afresh(before, &service);
                }
                service
            }
            ServiceChange::Moved(origin) => {
                let state = self.services.all.get_mut(before?)?;
                if state.service.origin != origin {
                    Rc::make_mut(&mut state.service).origin = origin;
                }
                let service = Rc::clone(&state.service);
                if !service.attributes.are_prepared_anew() {
                    return Some((before?, service));
                }
                service
            }
        };
        Some((self.install_service(&service, before), service))
    }

    /// A service's sockets, opened or taken over.
    fn sockets_of(
        &mut self,
        applying: &mut Applying,
        (key, service): (Key, &Service),
        sockets: &[From],
        had: &[Key],
    ) -> Vec<Key> {
        let mut listeners = Vec::with_capacity(sockets.len());
        for (from, spec) in sockets.iter().zip(&service.sockets) {
            let open = match *from {
                From::Open => None,
                From::Keep { old, reapply } => {
                    let listener = self.services.open_before(applying, old, (key, had));
                    listener.inspect(|listener| self.keep_listener(*listener, key, reapply))
                }
            };
            listeners.push(open.unwrap_or_else(|| self.open_new(applying, key, spec)));
        }
        listeners
    }

    fn open_new(&mut self, applying: &mut Applying, owner: Key, spec: &SocketSpec) -> Key {
        let key = self.services.new_listener(owner, spec.clone());
        if self.open(key).is_err() {
            applying.unopened.entry(place(&spec.endpoint)).or_default().push(key);
        }
        key
    }

    /// Closes a socket, and opens what it was in the way of.
    fn close_and_retry(&mut self, applying: &mut Applying, key: Key) {
        let Some(place) = self.services.listeners.get(key).map(|state| place(&state.spec.endpoint))
        else {
            return;
        };
        self.turn_away_all_at(key);
        self.close_listener(key);
        if let Some(waiting) = applying.unopened.get_mut(&place) {
            waiting.retain(|key| self.open(*key).is_err());
        }
    }

    /// Sockets that are closed or rest, or that nobody finds, among some; what that costs.
    /// None after the last.
    fn look_over_sockets(&mut self, from: usize, mends: bool) -> Option<usize> {
        let some = self.services.listeners.some(from, SOCKETS)?;
        let found = some.filter_map(|(key, state)| Some((key, RecheckReason::at(state)?)));
        // A path that cannot be looked at would seem to be lost.
        let found: Vec<(Key, RecheckReason)> = self.facts.reserve.with(|| found.collect());
        for (key, look) in &found {
            match look {
                RecheckReason::Closed => self.try_at_once(*key, mends),
                RecheckReason::Lost => self.open_anew(*key),
                RecheckReason::Rests => self.services.resume(*key, &mut self.reactor),
                RecheckReason::Shared => _ = self.look_after(*key),
            }
            if mends {
                self.services.forget_backoff(*key, &mut self.reactor);
            }
        }
        Some(found.len().saturating_add(1))
    }

    /// A socket that both configurations have: its descriptor and its backlog stay.
    fn keep_listener(&mut self, key: Key, owner: Key, reapply: bool) {
        let Some(state) = self.services.listeners.get_mut(key) else { return };
        let waited = std::mem::replace(&mut state.service, owner) == Key::NONE;
        if reapply || state.is_behind {
            self.services.apply_again(key, self.facts.reserve);
        }
        if let Some(service) = self.services.all.get(owner).map(|state| Rc::clone(&state.service)) {
            self.take_back_unfit(key, &service);
        }
        if waited || self.services.needs_renewal(key) {
            // Who has come meanwhile has been announced to nobody.
            self.reactor.ready.push(Owner::Listener(key));
        }
    }
}

impl Services {
    /// Sets again what an open socket can be given afterwards; what cannot be set is tried again
    /// at the next reload.
    fn apply_again(&mut self, key: Key, reserve: Reserve) {
        let Some((state, owner)) = self.of(key) else { return };
        let Some(listener) = &state.listener else { return };
        let updated = reserve.with(|| listener.update(&state.spec, &owner.service));
        if let Err(error) = &updated {
            events::trouble(&owner.service.label, "setsockopt", error);
        }
        if let Some(state) = self.listeners.get_mut(key) {
            state.is_behind = updated.is_err();
        }
    }

    /// A socket of the old configuration, whatever its service is by now.
    fn open_before(
        &self,
        applying: &Applying,
        at: SocketRef,
        (key, had): (Key, &[Key]),
    ) -> Option<Key> {
        if let Some(had) = applying.had.get(&at.service) {
            return had.get(at.socket).copied();
        }
        let owner = *applying.old.get(at.service)?;
        if owner == key {
            return had.get(at.socket).copied();
        }
        self.all.get(owner)?.listeners.get(at.socket).copied()
    }

    /// What should replace this service is withheld: it goes on as it was.
    fn hold(&mut self, applying: &mut Applying, old: usize, sockets: &[SocketRef]) {
        let Some(&key) = applying.old.get(old) else { return };
        let Some(state) = self.all.get_mut(key) else { return };
        if sockets.len() < state.listeners.len() {
            let (all, places) = (&state.listeners, sockets.iter().map(|at| at.socket));
            let listeners = places.clone().filter_map(|place| all.get(place)).copied().collect();
            let service = Rc::make_mut(&mut state.service);
            let specs = places.filter_map(|place| service.sockets.get(place)).cloned().collect();
            (service.sockets, state.listeners) = (specs, listeners);
        }
        applying.order.push(key);
    }

    fn listeners_of(&self, key: Key) -> Vec<Key> {
        self.all.get(key).map(|state| state.listeners.clone()).unwrap_or_default()
    }
}

/// Why a socket is looked at.
enum RecheckReason {
    Closed,
    Lost,
    Rests,
    /// A program has had it, and may have left it in any state, or have done so since.
    Shared,
}

impl RecheckReason {
    fn at(state: &ListenerState) -> Option<Self> {
        match &state.listener {
            None => Some(Self::Closed),
            Some(listener) if listener.path().is_some_and(BoundPath::is_lost) => Some(Self::Lost),
            Some(_) if state.rest == Rest::Limit => Some(Self::Rests),
            Some(_) => (is_shared(state) && state.rest != Rest::Program).then_some(Self::Shared),
        }
    }
}

/// What another socket must not have, so that one can be bound: the port, on whatever
/// address or CID, or the path or name.
fn place(endpoint: &Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::Inet(address) => Endpoint::Inet(([0, 0, 0, 0], address.port()).into()),
        Endpoint::Vsock(address) => Endpoint::Vsock(VsockAddress { cid: ANY, ..*address }),
        other => other.clone(),
    }
}
