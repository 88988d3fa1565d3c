//! Going on with whoever was served by the program before us: programs, conversations,
//! relays, those who are being told something, those who ask.

use std::fs::File;
use std::net::UdpSocket;
use std::rc::Rc;

use super::restore::{Adoption, adopted_listener, taken_or_said};
use crate::admission::{Permit, Source};
use crate::builtin::relay::{RelaySocket, Side};
use crate::config::model::{Account, Action, Service};
use crate::front::proxy::Header;
use crate::log::events::{self, Label};
use crate::net::datagram::{Destination, Flow};
use crate::net::listener::Connection;
use crate::server::Server;
use crate::server::control::connection::{ControlConnection, ControlKind, ControlStage};
use crate::server::control::render::Producer;
use crate::server::peers::{Peer, PeerId};
use crate::server::programs::leftovers::Remains;
use crate::server::programs::time_limits::DoomedGroup;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::services::peer_queue::SortedDatagrams;
use crate::server::services::per_peer::PendingPeer;
use crate::server::services::straying::PeerSocket;
use crate::server::sessions::banners::{Admitted, AfterBanner, BannerState};
use crate::server::sessions::builtin::BuiltinStage;
use crate::server::sessions::closing::KeptConnection;
use crate::server::sessions::dialling::Dial;
use crate::server::sessions::idling::{IdleWatch, Movement, Stillness};
use crate::server::sessions::newcomers::{Newcomer, NewcomerStage};
use crate::server::sessions::relay::RelayStage;
use crate::server::sessions::session::{Client, SessionStage};
use crate::server::sessions::stream::Stream;
use crate::server::state::{ProgramStage, Rest, StderrState};
use crate::spawn::environment;
use crate::upgrade::Moment;
use crate::upgrade::state::{self, SavedSessions, State};

impl Server {
    pub(super) fn adopt_whoever_is_served(&mut self, state: State, taken: &mut Adoption) {
        for pipe in state.pipes {
            let key = self.adopt_pipe(pipe, taken);
            taken.pipes.push(key);
        }
        let lingering = state.lingering.iter();
        let lingering = lingering.filter_map(|place| *taken.pipes.get(*place)?);
        self.programs.orphan_pipes.extend(lingering);
        for child in state.children {
            self.adopt_child(child, taken);
        }
        let mut remains = state.remains;
        for (pid, due) in state.leftovers {
            let place = remains.iter().position(|it| it.pid == pid);
            let remains = place.map(|place| remains.swap_remove(place));
            let remains = remains.map(|it| {
                let kept = it.kept.as_ref().and_then(|it| kept(it, taken));
                Box::new(Remains::taken_over(&it, kept, self.reactor.now))
            });
            self.keep_group(DoomedGroup { pid, due: taken.clock.instant(due), remains });
        }
        for conversation in state.conversations {
            self.adopt_conversation(conversation, taken);
        }
        for relay in state.relays {
            self.adopt_relay(relay, taken);
        }
        for banner in state.banners {
            self.adopt_banner(banner, taken);
        }
        for homing in state.homing {
            self.adopt_homing(&homing, taken);
        }
        self.keep_earlier_workers(state.front_workers);
        for newcomer in state.newcomers {
            self.adopt_newcomer(&newcomer, taken);
        }
        for door in state.doors {
            self.adopt_door(&door, taken);
        }
        for edge in state.edges {
            self.adopt_edge(edge, taken);
        }
    }

    /// Goes on with a socket. Who has been taken from it and waits for room is announced by
    /// nobody.
    pub(super) fn listen_again(&mut self, key: Key) {
        self.register_listener(key);
        let state = self.services.listeners.get(key);
        if state.is_some_and(|it| it.parked.is_some() || !it.sorted.is_empty()) {
            self.queue(Owner::Listener(key));
        }
    }

    fn adopt_pipe(&mut self, pipe: state::SavedPipe, taken: &mut Adoption) -> Option<Key> {
        let descriptor = taken_or_said(&mut taken.descriptors, pipe.descriptor)?;
        let service = key_of(pipe.service, taken);
        let key = self.programs.stderr.insert(StderrState::handed_over(
            pipe,
            descriptor,
            service,
            self.reactor.now,
        ));
        self.watch_stderr(key);
        Some(key)
    }

    /// Counts somebody as before, by the service if that is one of the same kind.
    fn count_again(&mut self, served: &SavedSessions, program: bool, taken: &Adoption) -> Permit {
        let state = self.services.all.get(key_of(served.service, taken));
        let same = |action: &Action| matches!(action, Action::Program(_)) == program;
        let own = state.filter(|state| same(&state.service.action)).map(|state| state.admission);
        let id = own.unwrap_or(if program { taken.gone.0 } else { taken.gone.1 });
        self.admission.restore(self.reactor.now, id, Source::from(served.peer))
    }

    /// Whatever served him is lost.
    fn lose(&mut self, served: &SavedSessions, taken: &Adoption) {
        let (service, since) = (Rc::from(&*served.label), taken.clock.instant(served.started));
        let peer = Peer { address: served.peer, service, pid: None, running: false, since };
        self.sessions.peers.ended(PeerId::from_number(served.peer_id), peer);
    }

    fn client_again(&mut self, served: &SavedSessions, program: bool, taken: &Adoption) -> Client {
        Client {
            service: key_of(served.service, taken),
            label: Label::new(&served.label, None),
            log: served.log,
            permit: Some(self.count_again(served, program, taken)),
            peer: served.peer,
            peer_id: PeerId::from_number(served.peer_id),
            since: taken.clock.instant(served.started),
        }
    }

    fn adopt_child(&mut self, handed: state::SavedChild, taken: &mut Adoption) {
        let state::SavedChild { served, pid, ending, .. } = handed;
        let listener = handed
            .socket
            .and_then(|(service, socket)| taken.sockets.get(service)?.get(socket).copied());
        let peer_socket = handed.peer_socket.and_then(|it| {
            let socket = taken_or_said(&mut taken.descriptors, it.descriptor)?;
            Some(PeerSocket::taken_over(socket, it.peer))
        });
        let kept = handed.kept.and_then(|it| kept(&it, taken));
        let watched = handed.watched.filter(|_| kept.is_some()).map(|it| watched(&it, taken));
        let client = self.client_again(&served, true, taken);
        let child = ProgramStage {
            pid,
            pidfd: None,
            terms: ending,
            listener,
            peer_socket,
            kept,
            // Its worker goes on alone.
            front: None,
            watched: watched.map(Box::new),
            stderr: handed.pipe.and_then(|place| *taken.pipes.get(place)?),
            group: handed.group.and_then(|path| self.find_group(&path, taken)),
            deadline: handed.deadline.map(|when| taken.clock.instant(when)),
            overdue: handed.overdue,
        };
        let key = self.keep_program(client, child);
        self.watch_child(key);
        if let Some(listener) = listener {
            self.deregister_listener(listener);
            if let Some(state) = self.services.listeners.get_mut(listener) {
                state.rest = Rest::Program;
                state.program = Some(handed.pid);
            }
        }
    }

    fn adopt_conversation(&mut self, handed: state::SavedBuiltin, taken: &mut Adoption) {
        let served = &handed.served;
        let stream = taken_or_said(&mut taken.descriptors, handed.descriptor);
        let machine = serde_json::from_value(handed.machine);
        let machine = machine.map_err(|error| events::trouble(&served.label, "state", &error));
        let Some((stream, conversation)) = stream.zip(machine.ok()) else {
            return self.lose(served, taken);
        };
        let active = taken.clock.instant(handed.active);
        let client = self.client_again(served, false, taken);
        let builtin = BuiltinStage {
            conversation,
            stream: Stream::from(stream),
            fronted: handed.fronted.map(Rc::new),
            active,
            silence: handed.silence,
            limited: handed.limited,
            due: active.checked_add(handed.silence).unwrap_or(active),
            queued: false,
        };
        self.watch_builtin(client, builtin, false);
    }

    fn adopt_relay(&mut self, handed: state::SavedRelay, taken: &mut Adoption) {
        let served = &handed.served;
        let mut socket = |number| {
            let taken = taken_or_said(&mut taken.descriptors, number);
            taken.map(RelaySocket::taken_over)
        };
        let (client, target) = (socket(handed.client), handed.target.and_then(&mut socket));
        let machine = serde_json::from_value(handed.machine);
        let machine = machine.map_err(|error| events::trouble(&served.label, "state", &error));
        let Some((client, relay)) = client.zip(machine.ok()) else {
            return self.lose(served, taken);
        };
        let instant = |moment: Moment| taken.clock.instant(moment);
        let dial = handed.dial.map(|dial| {
            // Still to be connected: its target matters, and nothing else.
            let account = Rc::new(dial.account.unwrap_or_else(nobody));
            let action = Action::Relay(dial.target);
            let service = Service { account, ..Service::unwritten(&served.label, action) };
            let definition = Rc::new(service);
            let (deadline, due) = (instant(dial.deadline), instant(dial.due));
            Box::new(Dial { definition, at: dial.at, deadline, due, busy: None, asked: None })
        });
        let still = handed.still.map(|(limit, last)| Stillness::new(limit, instant(last)));
        let due = dial.as_ref().map(|dial| dial.due);
        let has_target = target.is_some();
        let session = self.client_again(served, false, taken);
        let relay = RelayStage { relay, client, target, dial, queued: false, probes: false, still };
        let key = self.sessions.table.insert(session, SessionStage::Relay(Box::new(relay)));
        if let Some(still) = still {
            self.reactor.timers.set(still.due, Timer::StillRelay(key));
        }
        if let Some(due) = due {
            self.reactor.timers.set(due, Timer::Connect(key));
        }
        if self.watch_side(key, Side::Client) && has_target {
            self.watch_side(key, Side::Target);
        }
    }

    fn adopt_banner(&mut self, handed: state::SavedBanner, taken: &mut Adoption) {
        let Some(socket) = taken_or_said(&mut taken.descriptors, handed.descriptor) else { return };
        let then = match handed.then {
            state::SavedThen::Close { left } => AfterBanner::Close { left },
            state::SavedThen::Serve { service, peer, peer_gid, facts, since } => {
                let service = key_of(service, taken);
                // Of a service that is no more nobody is served.
                let Some(state) = self.services.all.get(service) else { return };
                let (now, source) = (self.reactor.now, Source::from(peer));
                let permit = self.admission.restore(now, state.admission, source);
                let since = taken.clock.instant(since);
                let facts = facts_of(*facts);
                AfterBanner::Serve(Box::new(Admitted {
                    service,
                    permit,
                    peer,
                    peer_gid,
                    facts,
                    since,
                }))
            }
        };
        let due = taken.clock.instant(handed.due);
        let text = Rc::from(handed.unsent);
        self.keep_telling(BannerState { socket, text, sent: 0, then, due, queued: false });
    }

    fn adopt_homing(&mut self, handed: &state::SavedPendingPeer, taken: &mut Adoption) {
        let (service, socket) = handed.socket;
        let owner = key_of(Some(service), taken);
        let listener = taken.sockets.get(service).and_then(|sockets| sockets.get(socket));
        let (Some(state), Some(&listener)) = (self.services.all.get(owner), listener) else {
            return;
        };
        let id = state.admission;
        let Some(socket) = taken_or_said(&mut taken.descriptors, handed.descriptor) else { return };
        let state::SavedPendingPeer { peer, to, sender, expected, looks, .. } = *handed;
        let permit = self.admission.restore(self.reactor.now, id, peer.ip().into());
        let (socket, flow) =
            (UdpSocket::from(socket), Flow { peer, to: to.map(Destination::from) });
        self.look_again(PendingPeer {
            listener,
            owner,
            permit,
            socket,
            flow,
            sender,
            expected,
            looks,
        });
    }

    /// All that he has said is read again.
    fn adopt_newcomer(&mut self, handed: &state::SavedNewcomer, taken: &mut Adoption) {
        let (service, socket) = handed.socket;
        let listener = taken.sockets.get(service).and_then(|sockets| sockets.get(socket));
        let Some(&listener) = listener else { return };
        let state::SavedNewcomer { descriptor, peer, peer_gid, due, .. } = *handed;
        let Some(socket) = taken_or_said(&mut taken.descriptors, descriptor) else { return };
        // Who has come through what stands in front waits for nothing but a place.
        let stage = match handed.through {
            Some(_) => NewcomerStage::Place(Box::new(Header { length: 0, named: None })),
            None => NewcomerStage::Header,
        };
        let fronted = handed.through.clone().map(Rc::new);
        self.sessions.newcomers.made_room();
        self.keep_newcomer(Newcomer {
            connection: Connection { socket, peer, peer_gid, fronted },
            listener,
            stage,
            due: taken.clock.instant(due),
            queued: false,
        });
    }

    fn adopt_door(&mut self, handed: &state::SavedControlListener, taken: &mut Adoption) {
        let Some(listener) = adopted_listener(&handed.open, &handed.spec, taken) else { return };
        let kind = if handed.controls { ControlKind::Control } else { ControlKind::Metrics };
        let place = listener.address().to_string();
        if let Err(error) = self.open_door(listener, kind) {
            events::trouble(&place, "epoll_ctl", &error);
        }
    }

    fn adopt_edge(&mut self, handed: state::SavedControlConnection, taken: &mut Adoption) {
        let Some(stream) = taken_or_said(&mut taken.descriptors, handed.descriptor) else { return };
        let _ = self.watch_edge(ControlConnection {
            stream: File::from(stream),
            kind: if handed.controls { ControlKind::Control } else { ControlKind::Metrics },
            peer: handed.peer,
            stage: match handed.stage {
                state::SavedControlStage::Asking => ControlStage::Asking,
                state::SavedControlStage::AwaitsUpgrade => ControlStage::AwaitsUpgrade,
                state::SavedControlStage::Told => ControlStage::Told,
            },
            request: handed.request,
            out: handed.unsent,
            sent: 0,
            producer: Producer::Nothing,
            active: self.reactor.now,
            queued: false,
        });
    }
}

/// The copy of a connection. Without it others have it alone, which is said.
fn kept(handed: &state::SavedConnection, taken: &mut Adoption) -> Option<KeptConnection> {
    let state::SavedConnection { descriptor, linger, since } = *handed;
    let socket = taken_or_said(&mut taken.descriptors, descriptor)?;
    Some(KeptConnection { socket, linger, since })
}

fn watched(handed: &state::SavedIdleWatch, taken: &Adoption) -> IdleWatch {
    let state::SavedIdleWatch { limit, last, taken: bytes, is_over } = *handed;
    let movement = Movement { last: taken.clock.instant(last), taken: bytes };
    IdleWatch { is_over, ..IdleWatch::new(limit, movement) }
}

fn key_of(place: Option<usize>, taken: &Adoption) -> Key {
    place.and_then(|place| taken.services.get(place).copied()).unwrap_or(Key::NOBODY)
}

/// Who connects for whom an older program has not said it: somebody without any rights.
fn nobody() -> Account {
    const NOBODY: u32 = 65_534;
    let name = "nobody".to_owned();
    Account {
        name,
        uid: NOBODY,
        gid: NOBODY,
        switch: nix::unistd::geteuid().is_root(),
        ..Account::default()
    }
}

pub(in crate::server) fn sorted(handed: &[state::SavedDatagrams]) -> SortedDatagrams {
    let bytes = |it: &state::Datagram| it.0.clone();
    let flow =
        |it: &state::SavedDatagrams| Flow { peer: it.peer, to: it.to.map(Destination::from) };
    handed.iter().map(|it| (flow(it), it.datagrams.iter().map(bytes).collect())).collect()
}

fn facts_of(facts: state::SavedFacts) -> environment::ConnectionEnvironment {
    let state::SavedFacts { protocol, local, remote, path, credentials, vsock, fronted } = facts;
    let protocol = match protocol.as_str() {
        "UDP" => "UDP",
        "UNIX" => "UNIX",
        "VSOCK" => "VSOCK",
        _ => "TCP",
    };
    environment::ConnectionEnvironment {
        protocol,
        local,
        remote,
        path,
        credentials,
        vsock,
        fronted: fronted.map(Rc::new),
        greeting: b"",
    }
}
