//! Going on with whoever was served by the program before us: programs, conversations,
//! relays, those who are being told something, those who ask.

use std::collections::HashMap;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::handed::{HandedRemains, HandedSession};
use super::places::{OfPipes, OfSockets, Placed as _};
use super::restore::{Restoring, listener_of, read, take_or_log};
use crate::admission::{Reason, Source};
use crate::builtin::relay::Side;
use crate::config::model::Action;
use crate::front::proxy::Header;
use crate::log::events;
use crate::net::fronted::{Fronted, Watched};
use crate::net::listener::Connection;
use crate::server::Server;
use crate::server::programs::Programs;
use crate::server::programs::leftovers::DoomedGroup;
use crate::server::programs::leftovers::Remains;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;
use crate::server::services::pending_peer::PendingPeer;
use crate::server::sessions::banners::{AfterBanner, BannerState};
use crate::server::sessions::newcomers::{Newcomer, NewcomerStage};
use crate::server::sessions::relay::RelayStage;
use crate::server::sessions::session::{Client, SessionStage};
use crate::server::sessions::workers;
use crate::server::state::{ProgramStage, Rest};
use crate::spawn::sandbox::cgroup::Cgroup;
use crate::upgrade::state::{self, State};

impl Server {
    pub(super) fn restore_sessions(&mut self, state: State, taken: &mut Restoring) {
        for (pipe, place) in state.pipes.into_iter().zip(0..) {
            self.programs.restore_stderr(pipe, place, &self.reactor);
        }
        let lingering = state.lingering.into_iter();
        self.programs.orphan_pipes.extend(lingering.filter_map(OfPipes::key));
        for child in state.children {
            self.restore_program(child, taken);
        }
        let remains = state.remains.into_iter().filter_map(read::<HandedRemains<Remains>>);
        let mut remains: HashMap<i32, Remains> = remains.map(|it| (it.pid, it.remains)).collect();
        for (pid, due) in state.leftovers {
            let remains = remains.remove(&pid).map(Box::new);
            let group = DoomedGroup { pid, due: due.into(), remains };
            self.programs.keep_group(group, &mut self.reactor);
        }
        for conversation in state.builtins {
            self.restore_builtin(conversation, taken);
        }
        for relay in state.relays {
            self.restore_relay(relay, taken);
        }
        for banner in state.banners.into_iter().filter_map(read) {
            self.restore_banner(banner);
        }
        for pending in state.pending_peers.into_iter().filter_map(read) {
            self.restore_pending_peer(pending);
        }
        self.restore_workers(state.front_workers, state.front);
        for newcomer in state.newcomers {
            self.restore_newcomer(&newcomer);
        }
        for state in state.control_listeners {
            self.restore_control_listener(&state);
        }
        for connection in state.control_connections.into_iter().filter_map(read) {
            let _ = self.control.keep(connection, &mut self.reactor);
        }
    }

    /// Somebody who is served, counted as before, by the service if that is one of the same
    /// kind.
    fn restore_session<S>(
        &mut self,
        handed: Value,
        program: bool,
        taken: &mut Restoring,
    ) -> Option<(Client, S, Option<Rc<Cgroup>>)>
    where
        S: DeserializeOwned,
    {
        let HandedSession::<Client, S> { mut client, stage, group } = read(handed)?;
        let state = self.services.all.get(client.service);
        let same = |action: &Action| matches!(action, Action::Program(_)) == program;
        let own = state.filter(|state| same(&state.service.action)).map(|state| state.admission);
        let id = own.unwrap_or(if program { taken.gone.0 } else { taken.gone.1 });
        let source = Source::from(client.peer);
        client.permit = Some(self.admission.restore(self.reactor.now, id, source));
        let group = group.and_then(|path| self.programs.find_group(&path, taken));
        Some((client, stage, group))
    }

    fn restore_program(&mut self, handed: Value, taken: &mut Restoring) {
        let Some((client, child, group)) = self.restore_session(handed, true, taken) else {
            return;
        };
        let child = ProgramStage { group, ..child };
        let (pid, listener) = (child.pid, child.listener);
        let had_kill = child.overdue && child.deadline.is_none();
        let key = self.sessions.table.keep_program(client, child, &mut self.reactor);
        if had_kill {
            self.sessions.table.killed(key, &mut self.reactor);
        }
        self.watch_child(key);
        if let Some(listener) = listener {
            self.services.deregister_listener(listener, &self.reactor);
            if let Some(state) = self.services.listeners.get_mut(listener) {
                state.rest = Rest::Program;
                state.sessions.begins(pid);
            }
        }
    }

    fn restore_builtin(&mut self, handed: Value, taken: &mut Restoring) {
        if let Some((client, builtin, _)) = self.restore_session(handed, false, taken) {
            self.watch_builtin(client, builtin, false);
        }
    }

    fn restore_relay(&mut self, handed: Value, taken: &mut Restoring) {
        let session = self.restore_session::<RelayStage>(handed, false, taken);
        let Some((client, relay, _)) = session else { return };
        let (still, has_target) = (relay.still, relay.target.is_some());
        let due = relay.dial.as_ref().map(|dial| dial.due);
        let key = self.sessions.table.insert(client, SessionStage::Relay(Box::new(relay)));
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

    fn restore_banner(&mut self, mut banner: BannerState) {
        if let AfterBanner::Serve(admitted) = &mut banner.then {
            // Of a service that is no more nobody is served.
            let Some(state) = self.services.all.get(admitted.service) else { return };
            let (now, source) = (self.reactor.now, Source::from(admitted.peer));
            admitted.permit = self.admission.restore(now, state.admission, source);
        }
        self.keep_banner(banner);
    }

    fn restore_pending_peer(&mut self, mut pending: PendingPeer) {
        let Some((listener, state)) = self.services.of(pending.listener) else { return };
        let (owner, id) = (listener.service, state.admission);
        let source = pending.flow.peer.ip().into();
        pending.owner = owner;
        pending.permit = self.admission.restore(self.reactor.now, id, source);
        self.sessions.look_again(pending, &mut self.reactor);
    }

    /// Those that speak otherwise, or have nobody to listen, go on alone.
    fn restore_workers(&mut self, mut pids: Vec<i32>, front: state::SavedFront) {
        let known = front.workers.into_iter().filter(|_| workers::understand(front.version));
        for state::SavedWorker { pid, descriptor, clients, answers } in known {
            if let Some(wire) = take_or_log(descriptor) {
                pids.retain(|other| *other != pid);
                self.keep_earlier_worker((pid, wire), clients, answers);
            }
        }
        self.keep_silent_workers(pids);
        for handshake in front.handshakes {
            self.sessions.restore_handshake(handshake, &mut self.reactor);
        }
    }

    /// All that he has said is read again.
    fn restore_newcomer(&mut self, handed: &state::SavedNewcomer) {
        let Some(listener) = OfSockets::key(handed.socket) else { return };
        let state::SavedNewcomer { descriptor, peer, peer_gid, due, .. } = *handed;
        let Some(socket) = take_or_log(descriptor) else { return };
        // Who has come through what stands in front waits for nothing but a place.
        let stage = match handed.through {
            Some(_) => {
                let header = Header { length: 0, named: None };
                NewcomerStage::Place(Box::new(header), Reason::Instances)
            }
            None => NewcomerStage::Header,
        };
        let watched = handed.watched.and_then(take_or_log).map(|it| Watched(Rc::new(it)));
        let fronted = handed.through.clone().map(|through| Rc::new(Fronted { watched, ..through }));
        self.sessions.newcomers.made_room();
        self.keep_newcomer(Newcomer {
            connection: Connection { socket, peer, peer_gid, fronted },
            listener,
            stage,
            due: due.into(),
            number: 0,
        });
    }

    fn restore_control_listener(&mut self, handed: &state::SavedControlListener) {
        let Some(listener) = listener_of(&handed.open, &handed.spec) else { return };
        let place = listener.address().to_string();
        if let Err(error) = self.answer_at(listener, handed.kind) {
            events::trouble(&place, "epoll_ctl", &error);
        }
    }
}

impl Services {
    /// Goes on with a socket. Who has been taken from it and waits for room is announced by
    /// nobody.
    pub(super) fn listen_again(&mut self, key: Key, reactor: &mut Reactor) {
        self.register_listener(key, reactor);
        let state = self.listeners.get(key);
        if state.is_some_and(|it| it.parked.is_some() || !it.sorted.is_empty()) {
            reactor.ready.push(Owner::Listener(key));
        }
    }
}

impl Programs {
    fn restore_stderr(&mut self, pipe: Value, place: usize, reactor: &Reactor) {
        let Some(pipe) = read(pipe) else { return };
        let key = self.stderr.insert(pipe);
        OfPipes::note(place, key);
        self.watch_stderr(key, reactor);
    }
}
