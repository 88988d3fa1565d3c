//! The state of the server as the data that the next one is handed. Nothing is changed
//! by it: the trial may fail.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::config::model::{Action, Endpoint, RelayTarget, SocketSpec, SocketType};
use crate::log::sink;
use crate::net::datagram::Flow;
use crate::net::listener::{Bound, Listener};
use crate::net::unix_path::BoundPath;
use crate::server::Server;
use crate::server::control::connection::{ControlConnection, ControlKind, ControlStage};
use crate::server::reactor::slab::Key;
use crate::server::sessions::banners::{AfterBanner, BannerState};
use crate::server::sessions::closing::KeptConnection;
use crate::server::sessions::dialling::Dial;
use crate::server::sessions::newcomers::Newcomer;
use crate::server::sessions::session::{Client, Session, SessionStage};
use crate::server::state::{ListenerState, Rest, ServiceState, StderrState, Stopped};
use crate::spawn::sandbox::cgroup::Cgroup;
use crate::upgrade::state::{self, FORMAT, State};
use crate::upgrade::{Clock, Moment};

/// What is being collected: places by key, and every descriptor.
struct Collector {
    clock: Clock,
    descriptors: Vec<RawFd>,
    services: HashMap<Key, usize>,
    /// The service's place and the socket's in it.
    sockets: HashMap<Key, (usize, usize)>,
    pipes: HashMap<Key, usize>,
}

impl Server {
    /// Collects the state; `image` is the number of the program that runs, to go back to.
    pub(super) fn collect_state(&mut self, image: Option<RawFd>) -> State {
        let mut to = self.collector();
        let failures = self.programs.spawner.failures();
        let failures = failures.map(|(pid, it)| (pid, it.stage as u32, it.errno)).collect();
        let sink::Unwritten { log, dropped, untold } = sink::unwritten();
        let services = self.services.order.iter().filter_map(|key| self.services.all.get(*key));
        let services = services.map(|state| self.hand_over_service(state, &mut to)).collect();
        let (programs, sessions) = (&self.programs, &self.sessions);
        let lingering = programs.orphan_pipes.iter().filter_map(|key| to.pipes.get(key)).copied();
        let lingering = lingering.collect();
        let doomed = &programs.doomed.groups;
        State {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arguments: self.upgrading.image.arguments().to_vec(),
            program: self.upgrading.image.path().as_os_str().to_owned(),
            image,
            began: to.clock.moment(self.upgrading.began()),
            born: (self.life.born.0, to.clock.moment(self.life.born.1)),
            nofile: self.facts.server.nofile,
            pid_file: self.upgrading.pid_file.map(|number| to.number(&number)),
            log,
            log_dropped: dropped,
            log_untold: untold,
            total: self.statistics.clone(),
            services,
            failures,
            failure_pipe: Some(to.number(self.programs.spawner.failure_reader())),
            leftovers: doomed.iter().map(|(_, it)| (it.pid, to.clock.moment(it.due))).collect(),
            remains: doomed.iter().filter_map(|(_, it)| it.remains(|it| to.kept(it))).collect(),
            lingering,
            groups: self.hand_over_groups(),
            pipes: programs.stderr.iter().map(|(_, it)| to.pipe(it)).collect(),
            children: sessions.table.iter().filter_map(|(_, it)| to.child(it)).collect(),
            conversations: sessions
                .table
                .iter()
                .filter_map(|(_, it)| to.conversation(it))
                .collect(),
            relays: sessions.table.iter().filter_map(|(_, it)| to.relay(it)).collect(),
            banners: sessions.banners.iter().map(|(_, it)| to.banner(it)).collect(),
            homing: sessions.pending_peers.iter().filter_map(|(_, it)| to.homing(it)).collect(),
            newcomers: sessions
                .newcomers
                .all
                .iter()
                .filter_map(|(_, it)| to.newcomer(it))
                .collect(),
            front_workers: sessions.workers.pids(),
            peers: self.hand_over_peers(to.clock),
            held: self.hand_over_held(&mut to),
            last_here: Some(to.clock.moment(self.life.idle_exit.last)),
            watchdog: self.manager.watchdog,
            names: self.services.naming.known().clone(),
            doors: self.hand_over_doors(&mut to),
            edges: self.hand_over_edges(&mut to),
            descriptors: to.descriptors,
        }
    }

    fn collector(&self) -> Collector {
        let places = self.services.order.iter().copied().zip(0..);
        let services: HashMap<Key, usize> = places.collect();
        let mut sockets = HashMap::new();
        for (key, place) in &services {
            let listeners = self.services.all.get(*key).map(|state| state.listeners.as_slice());
            for (listener, index) in listeners.unwrap_or_default().iter().zip(0..) {
                sockets.insert(*listener, (*place, index));
            }
        }
        let pipes =
            self.programs.stderr.iter().zip(0..).map(|((key, _), place)| (key, place)).collect();
        Collector { clock: Clock::now(), descriptors: Vec::new(), services, sockets, pipes }
    }

    fn hand_over_service(&self, state: &ServiceState, to: &mut Collector) -> state::SavedService {
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
            sockets: listeners.map(|listener| to.socket(listener)).collect(),
        }
    }

    fn hand_over_groups(&self) -> state::SavedCgroups {
        let (base, own, lingering) = self.programs.cgroups.known();
        let text = |path: &Path| path.as_os_str().to_owned();
        let lingering = lingering.iter().map(|path| text(path)).collect();
        state::SavedCgroups { base: base.map(text), own: own.map(text), lingering }
    }

    fn hand_over_peers(&self, clock: Clock) -> state::SavedPeers {
        let known = self.sessions.everybody().into_iter().map(|(id, peer)| {
            let (address, service) = (peer.address, peer.service.to_string());
            let since = clock.moment(peer.since);
            (id.number(), state::SavedPeer { address, service, pid: peer.pid, since })
        });
        let ended = self.sessions.peers.ended_ones().map(|id| id.number()).collect();
        state::SavedPeers { total: self.sessions.peers.total(), known: known.collect(), ended }
    }

    fn hand_over_held(&self, to: &mut Collector) -> Vec<state::SavedStoredSocket> {
        let held = self.manager.sockets.held().map(|(about, descriptor, lent)| {
            if !lent {
                to.number(&descriptor);
            }
            state::SavedStoredSocket { about, descriptor, lent }
        });
        held.collect()
    }

    fn hand_over_doors(&self, to: &mut Collector) -> Vec<state::SavedControlListener> {
        let doors = self.controlling.doors.iter().map(|(_, door)| {
            let endpoint = match (door.listener.path(), door.listener.address()) {
                (Some(path), _) => Endpoint::Unix(path.path().to_owned()),
                (None, Bound::Inet(address)) => Endpoint::Inet(*address),
                (None, Bound::Unix(path)) => Endpoint::Unix(path.into()),
                (None, Bound::Vsock(address)) => Endpoint::Vsock(*address),
            };
            let spec = SocketSpec { socket_type: SocketType::Stream, endpoint, device: None };
            let controls = door.kind == ControlKind::Control;
            state::SavedControlListener { spec, open: to.open(&door.listener), controls }
        });
        doors.collect()
    }

    fn hand_over_edges(&self, to: &mut Collector) -> Vec<state::SavedControlConnection> {
        let edges = self.controlling.edges.iter();
        edges.filter_map(|(_, edge)| self.hand_over_edge(edge, to)).collect()
    }

    /// An answer of which only the beginning has been made is made whole here.
    fn hand_over_edge(
        &self,
        edge: &ControlConnection,
        to: &mut Collector,
    ) -> Option<state::SavedControlConnection> {
        let mut unsent = edge.out.get(edge.sent..).unwrap_or_default().to_vec();
        self.whole_answer(edge.producer.clone(), &mut unsent);
        let stage = match edge.stage {
            ControlStage::Asking => state::SavedControlStage::Asking,
            ControlStage::AwaitsUpgrade => state::SavedControlStage::AwaitsUpgrade,
            ControlStage::Told => state::SavedControlStage::Told,
            // There is no upgrade while these wait.
            ControlStage::AwaitsReload(_) | ControlStage::Stays => return None,
        };
        Some(state::SavedControlConnection {
            descriptor: to.number(&edge.stream),
            controls: edge.kind == ControlKind::Control,
            peer: edge.peer,
            stage,
            request: edge.request.clone(),
            unsent,
        })
    }
}

impl Collector {
    fn number(&mut self, descriptor: &impl AsRawFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.descriptors.push(number);
        number
    }

    fn moment(&self, instant: Option<Instant>) -> Option<Moment> {
        instant.map(|instant| self.clock.moment(instant))
    }

    fn open(&mut self, listener: &Listener) -> state::Open {
        let identity = listener.path().map(BoundPath::identity);
        let shared = listener.is_shared();
        state::Open { descriptor: self.number(listener), identity, shared }
    }

    fn socket(&mut self, state: &ListenerState) -> state::SavedSocket {
        let rests = state.rest == Rest::Backoff;
        state::SavedSocket {
            spec: state.spec.clone(),
            open: state.listener.as_ref().map(|listener| self.open(listener)),
            parked: state.parked.as_ref().map(|parked| state::Parked {
                descriptor: self.number(&parked.socket),
                peer: parked.peer,
                peer_gid: parked.peer_gid,
                fronted: parked.fronted.as_deref().cloned(),
            }),
            not_before: self.moment(state.not_before.filter(|_| rests)),
            backoff: state.backoff,
            unread: state.unread,
            head: state.head.clone(),
            sorted: state.sorted.iter().map(sorted).collect(),
        }
    }

    fn pipe(&mut self, state: &StderrState) -> state::SavedPipe {
        state::SavedPipe {
            descriptor: self.number(&state.pipe),
            service: self.services.get(&state.service).copied(),
            label: state.label.to_string(),
            pid: state.pid,
            partial: state.partial.clone(),
            skipping: state.skipping,
        }
    }

    /// What everybody who is served has.
    fn client(&self, client: &Client) -> state::SavedSessions {
        let Client { service, ref label, log, peer, peer_id, since, .. } = *client;
        state::SavedSessions {
            service: self.services.get(&service).copied(),
            label: label.to_string(),
            peer,
            peer_id: peer_id.number(),
            started: self.clock.moment(since),
            log,
        }
    }

    fn child(&mut self, session: &Session) -> Option<state::SavedChild> {
        let SessionStage::Program(child) = &session.stage else { return None };
        Some(state::SavedChild {
            served: self.client(&session.client),
            pid: child.pid,
            socket: child.listener.and_then(|key| self.sockets.get(&key)).copied(),
            pipe: child.stderr.and_then(|key| self.pipes.get(&key)).copied(),
            peer_socket: child.peer_socket.as_ref().map(|it| state::SavedPeerSocket {
                descriptor: self.number(&it.socket),
                peer: it.peer,
            }),
            kept: child.kept.as_ref().map(|it| self.kept(it)),
            watched: child.watched.as_ref().map(|it| state::SavedIdleWatch {
                limit: it.limit,
                last: self.clock.moment(it.movement.last),
                taken: it.movement.taken,
                is_over: it.is_over,
            }),
            group: child.group.as_deref().map(path_of),
            deadline: self.moment(child.deadline),
            overdue: child.overdue,
            ending: child.terms,
        })
    }

    fn kept(&mut self, kept: &KeptConnection) -> state::SavedConnection {
        state::SavedConnection {
            descriptor: self.number(&kept.socket),
            linger: kept.linger,
            since: kept.since,
        }
    }

    fn conversation(&mut self, session: &Session) -> Option<state::SavedBuiltin> {
        let SessionStage::Builtin(builtin) = &session.stage else { return None };
        Some(state::SavedBuiltin {
            served: self.client(&session.client),
            descriptor: self.number(&builtin.stream),
            machine: value(&builtin.conversation),
            active: self.clock.moment(builtin.active),
            silence: builtin.silence,
            limited: builtin.limited,
            fronted: builtin.fronted.as_deref().cloned(),
        })
    }

    fn relay(&mut self, session: &Session) -> Option<state::SavedRelay> {
        let SessionStage::Relay(state) = &session.stage else { return None };
        let dial = match state.dial.as_deref() {
            None => None,
            Some(dial) => Some(self.dial(dial)?),
        };
        Some(state::SavedRelay {
            served: self.client(&session.client),
            client: self.number(&state.client),
            target: state.target.as_ref().map(|target| self.number(target)),
            machine: value(&state.relay),
            dial,
            still: state.still.map(|still| (still.limit, self.clock.moment(still.last))),
        })
    }

    fn dial(&self, dial: &Dial) -> Option<state::SavedDial> {
        let (deadline, due) = (self.clock.moment(dial.deadline), self.clock.moment(dial.due));
        target_of(&dial.definition.action).map(|target| state::SavedDial {
            target: target.clone(),
            at: dial.at,
            deadline,
            due,
            account: Some((*dial.definition.account).clone()),
        })
    }

    fn banner(&mut self, state: &BannerState) -> state::SavedBanner {
        let then = match &state.then {
            AfterBanner::Close { left } => state::SavedThen::Close { left: *left },
            AfterBanner::Serve(admitted) => state::SavedThen::Serve {
                service: self.services.get(&admitted.service).copied(),
                peer: admitted.peer,
                peer_gid: admitted.peer_gid,
                facts: Box::new(state::SavedFacts {
                    protocol: admitted.facts.protocol.to_owned(),
                    local: admitted.facts.local,
                    remote: admitted.facts.remote,
                    path: admitted.facts.path.clone(),
                    credentials: admitted.facts.credentials,
                    vsock: admitted.facts.vsock,
                    fronted: admitted.facts.fronted.as_deref().cloned(),
                }),
                since: self.clock.moment(admitted.since),
            },
        };
        state::SavedBanner {
            descriptor: self.number(&state.socket),
            unsent: state.text.get(state.sent..).unwrap_or_default().to_vec(),
            due: self.clock.moment(state.due),
            then,
        }
    }

    fn newcomer(&mut self, newcomer: &Newcomer) -> Option<state::SavedNewcomer> {
        Some(state::SavedNewcomer {
            socket: *self.sockets.get(&newcomer.listener)?,
            descriptor: self.number(&newcomer.connection.socket),
            peer: newcomer.connection.peer,
            peer_gid: newcomer.connection.peer_gid,
            due: self.clock.moment(newcomer.due),
            through: newcomer.connection.fronted.as_deref().cloned(),
        })
    }

    fn homing(
        &mut self,
        homing: &crate::server::services::per_peer::PendingPeer,
    ) -> Option<state::SavedPendingPeer> {
        Some(state::SavedPendingPeer {
            socket: *self.sockets.get(&homing.listener)?,
            descriptor: self.number(&homing.socket),
            peer: homing.flow.peer,
            to: homing.flow.to.map(|to| to.at(0)),
            sender: homing.sender,
            expected: homing.expected,
            looks: homing.looks,
        })
    }
}

fn target_of(action: &Action) -> Option<&RelayTarget> {
    match action {
        Action::Relay(target) => Some(target),
        Action::Program(_) | Action::Builtin(_) => None,
    }
}

fn path_of(group: &Cgroup) -> OsString {
    group.path().as_os_str().to_owned()
}

fn sorted((flow, datagrams): &(Flow, Vec<Vec<u8>>)) -> state::SavedDatagrams {
    let datagrams = datagrams.iter().cloned().map(state::Datagram).collect();
    state::SavedDatagrams { peer: flow.peer, to: flow.to.map(|to| to.at(0)), datagrams }
}

/// Numbers, strings, lists and structures of them: nothing that JSON lacks.
fn value(machine: &impl Serialize) -> Value {
    serde_json::to_value(machine).unwrap_or_default()
}
