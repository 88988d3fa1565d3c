//! Going on where another program has left off. First everything is as it was there,
//! with services of which no more is known than what a reload recognises them by; then
//! the configuration is applied, and from there on it is a reload: sockets that both
//! have stay, what is no more goes, programs run on.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admission::{Admission, Limits, ServiceId};
use crate::config::model::{Action, Attributes, Service, SocketSpec};
use crate::control::answer::{self, RequestRefusal, Upgraded};
use crate::log::events::{self, Label};
use crate::log::sink;
use crate::net::listener::Listener;
use crate::reload::{Loading, Step};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::feeding::Row;
use crate::server::services::occupied::PastSessions;
use crate::server::services::rejection_log::Refusals;
use crate::server::sessions::banners::Banners;
use crate::server::state::{ListenerState, Rest, ServiceState, Stopped};
use crate::spawn::sandbox::cgroup::{Cgroup, Cgroups};
use crate::spawn::{Confinement, Failure, Prepared, ServerFacts, Stage};
use crate::sys::handed;
use crate::upgrade::state::{self, State};
use crate::upgrade::{Image, Snapshot};

use super::examining::stub;
use super::places::{self, OfServices, OfSockets, Placed as _};
use crate::server::programs::Programs;
use crate::server::services::peer_queue::SortedDatagrams;

/// What has been taken over so far, by the places in the state.
pub(in crate::server) struct Restoring {
    pub(in crate::server) services: Vec<Key>,
    /// Of the service manager's sockets that a service has: as handed over, and now.
    lent: HashMap<RawFd, RawFd>,
    pub(in crate::server) groups: HashMap<OsString, Rc<Cgroup>>,
    /// By these, programs of services that are no more are counted, and whom we serve.
    pub(in crate::server) gone: (ServiceId, ServiceId),
}

impl Restoring {
    fn new(admission: &mut Admission) -> Self {
        let limits = || Limits::new(&Attributes::default(), false);
        let programs = admission.add(limits());
        let own = admission.add(limits().for_builtin(true));
        Self {
            services: Vec::new(),
            lent: HashMap::new(),
            groups: HashMap::new(),
            gone: (programs, own),
        }
    }
}

impl Server {
    /// Goes on with what is in the parcel, and serves this configuration. Nothing in it
    /// can fail as a whole. The pid file, if there is one.
    pub(crate) fn take_over(&mut self, parcel: Snapshot, mut loading: Loading) -> Option<OwnedFd> {
        self.reactor.now = Instant::now();
        let refused = parcel.refused().map(str::to_owned);
        let state = parcel.open_up();
        set_process_name(&state.program);
        let (from, began) = (state.version.clone(), state.began);
        let mut taken = Restoring::new(&mut self.admission);
        let pid_file = state.pid_file.and_then(take_or_log);
        sink::go_on_with(&state.log, state.log_dropped, state.log_untold);
        self.restore_server(&state);
        self.restore_services(&state, &mut taken);
        self.restore_stored_sockets(&state, &mut taken);
        let clients: Vec<u32> = state.services.iter().map(|it| it.clients.0).collect();
        self.restore_sessions(state, &mut taken);
        self.restore_client_counts(&clients, &taken);
        for id in [taken.gone.0, taken.gone.1] {
            self.admission.retire(id);
        }
        taken.groups.clear();
        remove_held(&mut loading);
        self.install(loading);
        self.use_new_labels();
        handed::close_rest();
        places::forget();
        if self.facts.sees_every_end {
            self.reap_orphans();
        }
        let pause = self.reactor.now.saturating_duration_since(began.into());
        self.log_upgraded(&from, refused.as_deref(), pause);
        pid_file
    }

    /// What concerns the server as a whole.
    fn restore_server(&mut self, state: &State) {
        self.upgrading.image = Image::handed_over(&state.program, &state.arguments);
        self.facts.server.nofile = state.nofile;
        self.life.born = (state.born.0, state.born.1.into());
        self.statistics = state.total.clone();
        if let Some(last) = state.last_here {
            self.life.idle_exit.last = last.into();
        }
        let failures = state.failures.iter().filter_map(|(pid, stage, errno)| {
            Some((*pid, Failure { stage: Stage::from_number(*stage)?, errno: *errno }))
        });
        let reader = state.failure_pipe.and_then(take_or_log);
        self.programs.spawner.take_over(failures, reader);
        let path = |text: &OsString| PathBuf::from(text);
        let state::SavedCgroups { base, own, lingering } = &state.groups;
        let lingering = lingering.iter().map(path).collect();
        self.programs.cgroups =
            Cgroups::taken_over(base.as_ref().map(path), own.as_ref().map(path), lingering);
        self.sessions.peers = read(state.peers.clone()).unwrap_or_default();
        self.sessions.recall_front(&state.front);
    }

    fn restore_services(&mut self, state: &State, taken: &mut Restoring) {
        for (handed, place) in state.services.iter().zip(0..) {
            let service = Rc::new(stub(handed));
            let limits = Limits::new(&service.attributes, service.wait);
            let group =
                handed.group.as_ref().and_then(|path| self.programs.find_group(path, taken));
            let key = self.services.all.insert(ServiceState {
                label: Label::new(&service.label, None),
                prepared: prepared_in(&service, group, &self.facts.server),
                admission: self.admission.add(limits.for_builtin(!handed.runs_program)),
                listeners: Vec::new(),
                resting: Vec::new(),
                front: None,
                not_sealed: None,
                banners: Banners::default(),
                refusals: Refusals::default(),
                fruitless: 0,
                statistics: handed.statistics.clone().map(Box::new),
                stopped: match (handed.stopped, handed.spent) {
                    (false, _) => Stopped::No,
                    (true, false) => Stopped::Asked,
                    (true, true) => Stopped::Spent,
                },
                handed_over: true,
                since: self.life.born.0,
                service: Rc::clone(&service),
            });
            self.services.entries.define(key, None, &service);
            let sockets = handed.sockets.iter();
            let sockets = sockets.map(|it| self.restore_listener(key, it, &state.held, taken));
            let sockets: Vec<Key> = sockets.collect();
            if let Some(state) = self.services.all.get_mut(key) {
                state.listeners.clone_from(&sockets);
            }
            self.services.order.push(key);
            taken.services.push(key);
            OfServices::note(place, key);
            for (socket, index) in sockets.into_iter().zip(0..) {
                OfSockets::note((place, index), socket);
            }
        }
    }

    fn restore_stored_sockets(&mut self, state: &State, taken: &mut Restoring) {
        self.manager.watchdog = state.watchdog;
        for held in &state.held {
            let state::SavedStoredSocket { about, descriptor, lent } = held.clone();
            let place = match lent {
                true => taken.lent.get(&descriptor).copied().map(Err),
                false => take_or_log(descriptor).map(Ok),
            };
            if let Some(place) = place {
                self.manager.sockets.restore(about, place);
            }
        }
    }

    fn restore_listener(
        &mut self,
        owner: Key,
        handed: &state::SavedSocket,
        held: &[state::SavedStoredSocket],
        taken: &mut Restoring,
    ) -> Key {
        let key = self.services.new_listener(owner, handed.spec.clone());
        let open = handed.open.as_ref();
        let listener = open.and_then(|open| {
            let number = open.descriptor;
            match held.iter().find(|held| held.lent && held.descriptor == number) {
                None => listener_of(open, &handed.spec),
                Some(held) => {
                    let descriptor = take_or_log(number)?;
                    taken.lent.insert(number, descriptor.as_raw_fd());
                    let SocketSpec { endpoint, socket_type, .. } = &held.about.spec;
                    let listener = Listener::adopt(descriptor, endpoint, *socket_type);
                    Some(with_sharing(listener, open))
                }
            }
        });
        if listener.is_some() {
            self.reloading.turnover.opens();
        }
        let parked = handed.parked.clone().and_then(read);
        let not_before = handed.not_before.map(Instant::from);
        if let Some(state) = self.services.listeners.get_mut(key) {
            *state = ListenerState {
                service: state.service,
                spec: handed.spec.clone(),
                listener,
                sorted: sorted(&handed.sorted),
                parked,
                not_before,
                rest: if not_before.is_some() { Rest::Backoff } else { Rest::No },
                timer: None,
                backoff: handed.backoff,
                unread: handed.unread,
                row: Row::default(),
                head: handed.head.clone(),
                sessions: PastSessions::default(),
                retry: state.retry,
                place: state.place,
                is_to_come: false,
                is_behind: false,
                left_out: false,
                last_error: None,
                registered: false,
            };
        }
        match not_before {
            Some(when) => {
                self.services.set_listener_timer(key, when, Timer::Resume, &mut self.reactor)
            }
            None => self.services.listen_again(key, &mut self.reactor),
        }
        if open.is_some_and(|open| open.shared) {
            self.services.watch_address(key, &mut self.reactor);
        }
        key
    }

    /// Goes on from so many clients, whoever of them is still here.
    fn restore_client_counts(&mut self, clients: &[u32], taken: &Restoring) {
        for (key, clients) in taken.services.iter().zip(clients) {
            if let Some(state) = self.services.all.get(*key) {
                self.admission.set_clients(state.admission, *clients);
            }
        }
    }

    /// Lines about whoever was here already go where those of the service go now.
    fn use_new_labels(&mut self) {
        let services = &self.services.all;
        let renew = |service: Key, label: &mut Label| {
            let now = services.get(service).map(|state| &state.label);
            if let Some(now) = now.filter(|now| ***now == **label) {
                *label = now.clone();
            }
        };
        self.programs.stderr.each(|pipe| renew(pipe.service, &mut pipe.label));
        self.sessions.table.each(|it| renew(it.client.service, &mut it.client.label));
    }

    fn log_upgraded(&mut self, from: &str, refused: Option<&str>, pause: std::time::Duration) {
        let version = env!("CARGO_PKG_VERSION");
        let words = match refused {
            Some(reason) => {
                events::upgrade_refused(reason);
                answer::line(&RequestRefusal { error: reason.to_owned() })
            }
            None => {
                events::upgraded((version, from), pause, self.sessions.table.programs());
                let (upgraded, from) = (version.to_owned(), from.to_owned());
                answer::line(&Upgraded { upgraded, from, pid: std::process::id() })
            }
        };
        self.answer_upgrade(&words);
    }
}

impl Programs {
    pub(super) fn find_group(&self, path: &OsStr, taken: &mut Restoring) -> Option<Rc<Cgroup>> {
        if let Some(known) = taken.groups.get(path) {
            return Some(Rc::clone(known));
        }
        match self.cgroups.find(Path::new(path)) {
            Ok(group) => {
                taken.groups.insert(path.to_owned(), Rc::clone(&group));
                Some(group)
            }
            Err(error) => {
                events::trouble(&path.to_string_lossy(), "open", &error);
                None
            }
        }
    }
}

/// Something to hold the group with, until the real program is prepared in it.
fn prepared_in(
    service: &Service,
    group: Option<Rc<Cgroup>>,
    facts: &ServerFacts,
) -> Option<Rc<Prepared>> {
    let Action::Program(program) = &service.action else { return None };
    let confinement = Confinement::in_group(Some(group?));
    Prepared::new(service, program, facts, confinement).ok().map(Rc::new)
}

/// A program that was executed by its descriptor is called by that in ps(1), and one that was
/// reached through a link (`inetd`, where update-inetd looks for it) by where that leads.
fn set_process_name(program: &OsStr) {
    let own = std::env::args_os().next().filter(|own| !own.is_empty());
    if let Some(name) = Path::new(own.as_deref().unwrap_or(program)).file_name() {
        // For people to read, and nothing else.
        let _ = std::fs::write("/proc/self/comm", name.as_encoded_bytes());
    }
}

/// Services that would go on as they were cannot: what they were is not known any more.
/// There are some on the way back only.
fn remove_held(loading: &mut Loading) {
    for step in &mut loading.steps {
        if let Step::Hold { old, sockets } = step {
            let close = sockets.iter().map(|at| at.socket).collect();
            *step = Step::Remove { old: *old, close };
        }
    }
}

/// A descriptor of the state; without it whatever needs it is lost, which is said.
pub(super) fn take_or_log(number: RawFd) -> Option<OwnedFd> {
    handed::take(number).inspect_err(|error| events::trouble("upgrade", "fcntl", error)).ok()
}

/// What has handed itself over; what cannot be read, as a trial has found that it can, is lost.
pub(super) fn read<T: DeserializeOwned>(handed: Value) -> Option<T> {
    let read = serde_json::from_value(handed);
    read.inspect_err(|error| events::trouble("upgrade", "state", error)).ok()
}

pub(super) fn listener_of(open: &state::Open, spec: &SocketSpec) -> Option<Listener> {
    let descriptor = take_or_log(open.descriptor)?;
    Some(with_sharing(Listener::taken_over(descriptor, spec, open.identity), open))
}

fn with_sharing(mut listener: Listener, open: &state::Open) -> Listener {
    if open.shared {
        listener.share();
    }
    listener
}

/// Datagrams that have been sorted by their peers.
fn sorted(handed: &[state::SavedDatagrams]) -> SortedDatagrams {
    let bytes = |it: &state::Datagram| it.0.clone();
    handed.iter().map(|it| (it.flow, it.datagrams.iter().map(bytes).collect())).collect()
}
