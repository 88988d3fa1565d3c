//! The state of the server as the data that the next one is handed. Nothing is changed
//! by it: the trial may fail.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::handed::{HandedRemains, HandedSession};
use super::places::{self, OfPipes, OfServices, OfSockets, Placed as _};
use crate::config::model::{Action, Endpoint, SocketSpec, SocketType};
use crate::log::sink;
use crate::net::datagram::Flow;
use crate::net::listener::{Bound, Listener};
use crate::net::unix_path::BoundPath;
use crate::server::Server;
use crate::server::control::connection::ControlSockets;
use crate::server::control::connection::ControlStage;
use crate::server::programs::Programs;
use crate::server::programs::leftovers::DoomedGroup;
use crate::server::programs::leftovers::Remains;
use crate::server::sessions::newcomers::Newcomer;
use crate::server::sessions::session::SessionTable;
use crate::server::sessions::session::{Session, SessionStage};
use crate::server::state::{ListenerState, Rest, ServiceState, Stopped};
use crate::spawn::sandbox::cgroup::Cgroup;
use crate::sys::handed;
use crate::systemd::Store;
use crate::upgrade::Moment;
use crate::upgrade::state::{self, FORMAT, State};

/// Sessions by how they are served.
#[derive(Default)]
struct HandedSessions {
    programs: Vec<Value>,
    builtins: Vec<Value>,
    relays: Vec<Value>,
}

impl Server {
    /// Collects the state; `image` is the number of the program that runs, to go back to.
    pub(super) fn save_state(&mut self, image: Option<RawFd>) -> State {
        self.make_answers_whole();
        self.note_places();
        let _ = handed::written();
        let sessions = self.sessions.table.save_sessions();
        let failures = self.programs.spawner.failures();
        let failures = failures.map(|(pid, it)| (pid, it.stage as u32, it.errno)).collect();
        let sink::Unwritten { log, dropped, untold } = sink::unwritten();
        let services = self.services.order.iter().filter_map(|key| self.services.all.get(*key));
        let services = services.map(|state| self.save_service(state)).collect();
        let (programs, newcomers) = (&self.programs, &self.sessions.newcomers.all);
        let pending = &self.sessions.pending_peers;
        let lingering = programs.orphan_pipes.iter().filter_map(|key| OfPipes::place(*key));
        let doomed = &programs.doomed.groups;
        let remains = |group: &DoomedGroup| {
            let remains: &Remains = group.remains.as_deref()?;
            Some(value(&HandedRemains { pid: group.pid, remains }))
        };
        let mut state = State {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arguments: self.upgrading.image.arguments().to_vec(),
            program: self.upgrading.image.path().as_os_str().to_owned(),
            image,
            began: self.upgrading.began().into(),
            born: (self.life.born.0, self.life.born.1.into()),
            nofile: self.facts.server.nofile,
            pid_file: self.upgrading.pid_file.map(|it| handed::number(&it)),
            log,
            log_dropped: dropped,
            log_untold: untold,
            total: self.statistics.clone(),
            services,
            failures,
            failure_pipe: Some(handed::number(programs.spawner.failure_reader())),
            leftovers: doomed.iter().map(|(_, it)| (it.pid, it.due.into())).collect(),
            remains: doomed.iter().filter_map(|(_, it)| remains(it)).collect(),
            lingering: lingering.collect(),
            groups: self.programs.save_cgroups(),
            pipes: programs.stderr.iter().map(|(_, it)| value(it)).collect(),
            children: sessions.programs,
            builtins: sessions.builtins,
            relays: sessions.relays,
            banners: self.sessions.banners.iter().map(|(_, it)| value(it)).collect(),
            pending_peers: pending.iter().map(|(_, it)| value(it)).collect(),
            newcomers: newcomers.iter().filter_map(|(_, it)| newcomer(it)).collect(),
            front_workers: self.sessions.workers.pids(),
            front: self.sessions.hand_over_front(),
            peers: value(&self.sessions.peers),
            held: stored_sockets(&self.manager.sockets),
            last_here: Some(self.life.idle_exit.last.into()),
            watchdog: self.manager.watchdog,
            names: self.services.naming.known().clone(),
            control_listeners: self.control.save_control_listeners(),
            control_connections: self.control.save_control_connections(),
            descriptors: Vec::new(),
        };
        places::forget();
        state.descriptors = handed::written();
        state
    }

    fn note_places(&self) {
        places::forget();
        for (service, place) in self.services.order.iter().zip(0..) {
            OfServices::note(place, *service);
            let listeners = self.services.all.get(*service).map(|state| &*state.listeners);
            for (listener, index) in listeners.unwrap_or_default().iter().zip(0..) {
                OfSockets::note((place, index), *listener);
            }
        }
        for ((pipe, _), place) in self.programs.stderr.iter().zip(0..) {
            OfPipes::note(place, pipe);
        }
    }

    fn save_service(&self, state: &ServiceState) -> state::SavedService {
        let group = state.prepared.as_ref().and_then(|prepared| prepared.group());
        let listeners = state.listeners.iter().filter_map(|key| self.services.listeners.get(*key));
        state::SavedService {
            label: state.label.to_string(),
            socket_type: state.service.socket_type,
            tcpmux: state.service.tcpmux.clone(),
            wait: state.service.wait,
            runs_program: matches!(state.service.action, Action::Program(_)),
            stopped: state.stopped.is_so(),
            spent: state.stopped == Stopped::Spent,
            clients: (
                self.admission.clients(state.admission),
                state.service.attributes.limits.max_clients,
            ),
            statistics: state.statistics.as_deref().cloned(),
            group: group.as_deref().map(path_of),
            sockets: listeners.map(socket).collect(),
        }
    }
}

impl ControlSockets {
    fn save_control_listeners(&self) -> Vec<state::SavedControlListener> {
        let control_listeners = self.listeners.iter().map(|(_, state)| {
            let endpoint = match (state.listener.path(), state.listener.address()) {
                (Some(path), _) => Endpoint::Unix(path.path().to_owned()),
                (None, Bound::Inet(address)) => Endpoint::Inet(*address),
                (None, Bound::Unix(path)) => Endpoint::Unix(path.into()),
                (None, Bound::Vsock(address)) => Endpoint::Vsock(*address),
            };
            let spec = SocketSpec { socket_type: SocketType::Stream, endpoint, device: None };
            state::SavedControlListener { spec, open: open(&state.listener), kind: state.kind }
        });
        control_listeners.collect()
    }

    fn save_control_connections(&self) -> Vec<Value> {
        // There is no upgrade while the others wait.
        let goes_on = |stage| {
            matches!(stage, ControlStage::Asking | ControlStage::AwaitsUpgrade | ControlStage::Told)
        };
        let control_connections =
            self.connections.iter().filter(|(_, connection)| goes_on(connection.stage));
        control_connections.map(|(_, connection)| value(connection)).collect()
    }
}

impl Programs {
    fn save_cgroups(&self) -> state::SavedCgroups {
        let (base, own, lingering) = self.cgroups.known();
        let text = |path: &Path| path.as_os_str().to_owned();
        let lingering = lingering.iter().map(|path| text(path)).collect();
        state::SavedCgroups { base: base.map(text), own: own.map(text), lingering }
    }
}

impl SessionTable {
    fn save_sessions(&self) -> HandedSessions {
        let mut all = HandedSessions::default();
        for (_, Session { client, stage }) in self.iter() {
            let group = None;
            match stage {
                SessionStage::Builtin(stage) => {
                    all.builtins.push(value(&HandedSession { client, stage, group }));
                }
                SessionStage::Relay(stage) => {
                    all.relays.push(value(&HandedSession { client, stage, group }));
                }
                SessionStage::Program(stage) => {
                    let group = stage.group.as_deref().map(path_of);
                    all.programs.push(value(&HandedSession { client, stage, group }));
                }
            }
        }
        all
    }
}

fn open(listener: &Listener) -> state::Open {
    let identity = listener.path().map(BoundPath::identity);
    let shared = listener.is_shared();
    state::Open { descriptor: handed::number(listener), identity, shared }
}

fn socket(state: &ListenerState) -> state::SavedSocket {
    let rests = state.rest == Rest::Backoff;
    state::SavedSocket {
        spec: state.spec.clone(),
        open: state.listener.as_ref().map(open),
        parked: state.parked.as_ref().map(value),
        not_before: state.not_before.filter(|_| rests).map(Moment::from),
        backoff: state.backoff,
        unread: state.unread,
        head: state.head.clone(),
        sorted: state.sorted.iter().map(sorted).collect(),
    }
}

fn newcomer(newcomer: &Newcomer) -> Option<state::SavedNewcomer> {
    let watched = newcomer.connection.fronted.as_ref().and_then(|it| it.watched.as_ref());
    Some(state::SavedNewcomer {
        socket: OfSockets::place(newcomer.listener)?,
        descriptor: handed::number(&newcomer.connection.socket),
        peer: newcomer.connection.peer,
        peer_gid: newcomer.connection.peer_gid,
        due: newcomer.due.into(),
        through: newcomer.connection.fronted.as_deref().cloned(),
        watched: watched.map(|it| handed::number(&*it.0)),
    })
}

fn stored_sockets(store: &Store) -> Vec<state::SavedStoredSocket> {
    let held = store.held().map(|(about, descriptor, lent)| {
        if !lent {
            handed::number(&descriptor);
        }
        state::SavedStoredSocket { about, descriptor, lent }
    });
    held.collect()
}

fn path_of(group: &Cgroup) -> OsString {
    group.path().as_os_str().to_owned()
}

fn sorted((flow, datagrams): &(Flow, Vec<Vec<u8>>)) -> state::SavedDatagrams {
    let datagrams = datagrams.iter().cloned().map(state::Datagram).collect();
    state::SavedDatagrams { flow: *flow, datagrams }
}

/// Numbers, strings, lists and structures of them: nothing that JSON lacks.
fn value(machine: &impl Serialize) -> Value {
    serde_json::to_value(machine).unwrap_or_default()
}
