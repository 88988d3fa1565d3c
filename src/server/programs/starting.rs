//! Starting a program: for a connection, for the first datagram of a peer, or with
//! the socket of a `wait` service itself. All go through [`Server::start`].

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use crate::admission::Permit;
use crate::config::model::Service;
use crate::log::events::{self, Label};
use crate::net::address::Address;
use crate::net::fronted::Whom;
use crate::server::Server;
use crate::server::peers::PeerId;
use crate::server::programs::Programs;
use crate::server::programs::dying::Dying;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::sessions::closing::KeptConnection;
use crate::server::sessions::departing::FrontedClient;
use crate::server::sessions::idling::{IdleWatch, Movement};
use crate::server::sessions::session::SessionTable;
use crate::server::sessions::session::{Client, SessionStage};
use crate::server::sessions::terminals::PromisedTerminal;
use crate::server::state::{ProgramStage, StderrState};
use crate::spawn::environment::ConnectionEnvironment;
use crate::spawn::sandbox::cgroup::Cgroup;
use crate::spawn::{DescriptorTable, NotStarted, SandboxRefusal, Started};
use crate::sys::descriptor;

/// The step of a start at which most fail.
pub(in crate::server) const SPAWN: &str = "spawn";

/// What became of a start.
pub(in crate::server) enum StartOutcome {
    /// The program runs, or is on its way.
    Runs(Key),
    /// The system has no room for it now. Nothing has been said of it yet.
    Later(NotStarted, Permit),
    /// It cannot be started; that has been logged. What it would have got.
    Failed(OwnedFd),
    /// There is no terminal for it, or nobody to sit there; the client has been refused.
    Refused,
}

/// A program that is to be started, for somebody who has been admitted.
pub(in crate::server) struct ProgramStart<'a> {
    pub(in crate::server) service: Key,
    pub(in crate::server) peer: Address,
    /// What the program is told.
    pub(in crate::server) facts: &'a ConnectionEnvironment,
    /// The listener that it gets, for `wait` services.
    pub(in crate::server) listener: Option<Key>,
    /// The peer is known already: it came through tcpmux.
    pub(in crate::server) peer_id: Option<PeerId>,
}

impl<'a> ProgramStart<'a> {
    /// For a connection.
    pub(in crate::server) fn new(
        service: Key,
        peer: Address,
        facts: &'a ConnectionEnvironment,
    ) -> Self {
        Self { service, peer, facts, listener: None, peer_id: None }
    }
}

impl Server {
    /// Starts a program with `socket`. Failure is logged and takes nothing with it but
    /// the connection, which comes back if the same may succeed later.
    pub(in crate::server) fn start(
        &mut self,
        start: &ProgramStart<'_>,
        permit: Permit,
        socket: OwnedFd,
    ) -> StartOutcome {
        let ProgramStart { service, peer, .. } = *start;
        let state = self.services.all.get(service);
        let prepared = state.and_then(|state| Some((state, Rc::clone(state.prepared.as_ref()?))));
        let Some((state, mut prepared)) = prepared else {
            self.cancel(permit, service);
            return StartOutcome::Failed(socket);
        };
        let (definition, label) = (Rc::clone(&state.service), state.label.clone());
        if prepared.refusal().is_some_and(SandboxRefusal::may_be_over) {
            prepared = self.prepare_again(service).unwrap_or(prepared);
        }
        if let Some(refusal) = prepared.refusal() {
            self.start_failed((service, peer), permit, (refusal.stage, &refusal.error));
            return StartOutcome::Failed(socket);
        }
        let whom = Whom { peer, via: start.facts.via() };
        let whose = (&*definition, start.facts.fronted.as_deref());
        let seated = self.seat_at_terminal(service, whose, (whom, permit), socket);
        let Some((socket, promised, permit)) = seated else { return StartOutcome::Refused };
        let before = Instant::now();
        match self.programs.spawner.spawn(&prepared, socket, start.facts, self.table()) {
            Ok(started) => {
                if let Some(promised) = promised {
                    promised.hand_over();
                }
                self.count(service, |counters| counters.started(before.elapsed()));
                let what = (&*definition, label, prepared.group());
                StartOutcome::Runs(self.started(start, permit, (started, before), what))
            }
            Err(failed) if failed.may_pass() => {
                let NotStarted { error, socket } = failed;
                let socket = promised.map_or(socket, PromisedTerminal::take_back);
                StartOutcome::Later(NotStarted { error, socket }, permit)
            }
            Err(failed) => {
                self.start_failed((service, peer), permit, (SPAWN, &failed.error));
                if prepared.group().is_some_and(|group| !group.exists()) {
                    // The next finds another.
                    self.prepare_again(service);
                }
                StartOutcome::Failed(failed.socket)
            }
        }
    }

    /// At the end of a turn: makes what the next program needs while nobody waits for it.
    pub(in crate::server) fn make_ready(&mut self) {
        let is_calm = self.reactor.ready.is_empty()
            && !self.reloading.is_busy()
            && !self.upgrading.is_tried()
            && self.life.stop.is_none();
        if self.programs.spawner.make_ready(self.reactor.now, is_calm) {
            self.programs.look_at_spares(&mut self.reactor);
        }
        if self.programs.spawner.awaits_end() {
            self.await_next_end();
        }
    }

    /// Not a copy of ours if we have many, nor while a reload closes sockets: their
    /// addresses would stay in use until the child has closed its copies.
    pub(in crate::server) fn table(&self) -> DescriptorTable {
        if descriptor::are_many() || self.reloading.is_busy() {
            DescriptorTable::Ours
        } else {
            DescriptorTable::Own
        }
    }

    /// [`Self::start`] for whom there is no later: the child, if it runs.
    pub(in crate::server) fn start_or_say(
        &mut self,
        start: &ProgramStart<'_>,
        permit: Permit,
        socket: OwnedFd,
    ) -> Option<Key> {
        match self.start(start, permit, socket) {
            StartOutcome::Runs(key) => Some(key),
            StartOutcome::Failed(_) | StartOutcome::Refused => None,
            StartOutcome::Later(failed, permit) => {
                self.start_failed((start.service, start.peer), permit, (SPAWN, &failed.error));
                None
            }
        }
    }

    fn started(
        &mut self,
        start: &ProgramStart<'_>,
        permit: Permit,
        (started, before): (Started, Instant),
        (definition, label, group): (&Service, Label, Option<Rc<Cgroup>>),
    ) -> Key {
        let ProgramStart { service, peer, .. } = *start;
        let pid = started.pid;
        let stderr = started.stderr.map(|pipe| {
            self.programs.keep_stderr(pipe, service, label.clone(), pid, self.reactor.now)
        });
        let whom = Whom { peer, via: start.facts.via() };
        let what = (label, definition.attributes.log.on_success);
        let fronted = start.facts.fronted.as_deref();
        let who = (whom, fronted, start.peer_id);
        let client = self.begin(service, what, who, (Some(pid), permit));
        let (now, limits) = (self.reactor.now, &definition.attributes.limits);
        // A terminal is one of which somebody who is left may keep hold.
        let has_terminal = definition.attributes.front.has_terminal();
        let fronted = start.facts.fronted.as_ref();
        let whose = fronted.map(|fronted| &**fronted);
        let front = FrontedClient::of(whose, &definition.attributes);
        let watched = fronted.filter(|_| has_terminal).and_then(|it| it.watched.clone());
        let kept = KeptConnection::of(started.socket, definition, before)
            .or_else(|| KeptConnection::watched(&watched?.0));
        // What moves on one that a worker has alone, that sees.
        let is_ours = fronted.is_none_or(|it| it.number.is_none() || it.watched.is_some());
        let still = limits.idle_timeout.filter(|_| is_ours && kept.is_some());
        let child = ProgramStage {
            pid,
            pidfd: None,
            terms: definition.attributes.ending,
            listener: start.listener,
            peer_socket: None,
            kept,
            front,
            has_terminal,
            watched: still.map(|limit| Box::new(IdleWatch::new(limit, Movement::since(now)))),
            stderr,
            group,
            deadline: limits.timeout.map(|timeout| now + timeout),
            overdue: false,
            dying: Dying::default(),
        };
        let (has_listener, is_kept) = (child.listener.is_some(), child.kept.is_some());
        let key = self.sessions.table.keep_program(client, child, &mut self.reactor);
        self.watch_in_a_moment(key, has_listener, is_kept);
        key
    }

    /// Somebody admitted cannot be served, since this step has failed: says so and gives back
    /// what was counted.
    pub(in crate::server) fn start_failed(
        &mut self,
        (service, peer): (Key, Address),
        permit: Permit,
        (stage, error): (&str, &dyn std::fmt::Display),
    ) {
        if let Some(state) = self.services.all.get(service) {
            events::failed(&state.label, peer, None, (stage, None), error);
            self.count_failure(service, stage, error);
        }
        self.cancel(permit, service);
    }
}

impl Programs {
    fn keep_stderr(
        &mut self,
        pipe: OwnedFd,
        service: Key,
        label: Label,
        pid: i32,
        now: Instant,
    ) -> Key {
        self.stderr.insert(StderrState {
            pipe: pipe.into(),
            service,
            label,
            pid,
            partial: Vec::new(),
            skipping: false,
            dropped: 0,
            read: 0,
            since: now,
            registered: false,
        })
    }

    /// Lets children go that were made ahead and that nobody has needed for a while.
    pub(in crate::server) fn look_at_spares(&mut self, reactor: &mut Reactor) {
        if let Some(next) = self.spawner.look_at_spares(reactor.now) {
            reactor.timers.set(next, Timer::Spares);
        }
    }
}

impl SessionTable {
    /// A program runs: until when may it, and when is it looked whether anything has moved?
    pub(in crate::server) fn keep_program(
        &mut self,
        client: Client,
        child: ProgramStage,
        reactor: &mut Reactor,
    ) -> Key {
        let (deadline, look) = (child.deadline, child.watched.as_ref().map(|it| it.due));
        let key = self.insert(client, SessionStage::Program(Box::new(child)));
        if let Some(deadline) = deadline {
            reactor.timers.set(deadline, Timer::Overdue(key));
        }
        if let Some(look) = look {
            reactor.timers.set(look, Timer::Still(key));
        }
        key
    }
}
