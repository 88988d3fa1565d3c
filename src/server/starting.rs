//! Starting a program: for a connection, for the first datagram of a peer, or with
//! the socket of a `wait` service itself. All go through [`Server::start`].

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;

use super::Server;
use super::slab::Key;
use super::state::{Child, Rest, StderrState};
use super::timers::Timer;
use super::token::{self, Owner};
use crate::address::Address;
use crate::admission::{Reason, Source, Verdict};
use crate::descriptor;
use crate::journal::{self, Label};
use crate::listener::{Bound, Listener, Socket};
use crate::peers::PeerId;
use crate::spawn::environment::Connection;
use crate::spawn::group::Group;
use crate::spawn::{NotStarted, Started, kernel};

/// A child whose pidfd cannot be polled is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// A program that ends sooner has its standard error read only then.
const MOMENT: Duration = Duration::from_millis(10);

/// Bytes of a datagram that are compared to see whether it has been taken.
const HEAD: usize = 64;

/// Refused datagrams taken out of one socket in one turn.
const DATAGRAMS: usize = 64;

/// What became of a start.
pub(super) enum Outcome {
    /// The program runs, or is on its way.
    Runs,
    /// The system has no room for it now. Nothing has been said of it yet.
    Later(NotStarted),
    /// It cannot be started; that has been logged.
    Failed,
}

impl Outcome {
    pub(super) fn runs(&self) -> bool {
        matches!(self, Outcome::Runs)
    }
}

/// What a start is made for, beside the service.
pub(super) struct Start {
    /// The listener that the program gets, for `wait` services.
    pub(super) listener: Option<Key>,
    /// The peer is known already: it came through tcpmux.
    pub(super) peer_id: Option<PeerId>,
}

impl Server {
    /// Starts the program of `service`, which has been admitted, with `socket`.
    /// Failure is logged and takes nothing with it but the connection, which comes back
    /// if the same may succeed later.
    pub(super) fn start(
        &mut self,
        service: Key,
        socket: OwnedFd,
        peer: Address,
        connection: &Connection,
        start: Option<Start>,
    ) -> Outcome {
        let Some(state) = self.services.get(service) else { return Outcome::Failed };
        let Some(prepared) = state.prepared.as_ref().map(Rc::clone) else { return Outcome::Failed };
        let start = start.unwrap_or(Start { listener: None, peer_id: None });
        if let Some(refusal) = prepared.refusal() {
            self.start_failed_at(service, peer, refusal.stage, &refusal.error);
            return Outcome::Failed;
        }
        let before = Instant::now();
        match self.spawner.spawn(&prepared, socket, connection) {
            Ok(started) => {
                self.count(service, |counters| counters.started(before.elapsed()));
                self.started(service, peer, started, &start, prepared.group());
                Outcome::Runs
            }
            Err(failed) if failed.may_pass() => {
                self.cancel_start(service, peer);
                Outcome::Later(failed)
            }
            Err(failed) => {
                self.start_failed(service, peer, &failed.error);
                Outcome::Failed
            }
        }
    }

    /// [`Self::start`] for whom there is no later: true if it runs.
    pub(super) fn start_or_say(
        &mut self,
        service: Key,
        socket: OwnedFd,
        peer: Address,
        connection: &Connection,
        start: Option<Start>,
    ) -> bool {
        let outcome = self.start(service, socket, peer, connection, start);
        if let Outcome::Later(failed) = &outcome
            && let Some(state) = self.services.get(service)
        {
            journal::failed(&state.label, peer, None, "spawn", &failed.error);
            self.count_failure(service, "spawn", &failed.error);
        }
        outcome.runs()
    }

    fn started(
        &mut self,
        service: Key,
        peer: Address,
        started: Started,
        start: &Start,
        group: Option<Rc<Group>>,
    ) {
        let Some(state) = self.services.get(service) else { return };
        let label = state.label.clone();
        let pid = started.pid;
        journal::accepted(&label, peer, Some(pid), state.service.attributes.log_on_success);
        let shown = u32::try_from(pid).ok();
        let peer_id = match start.peer_id {
            Some(known) => {
                self.peers.handed_to(known, shown.unwrap_or_default());
                known
            }
            None => self.peers.connected(peer, label.name(), shown, self.now),
        };
        let child = Child {
            pid,
            pidfd: started.pidfd,
            service,
            definition: Rc::clone(&state.service),
            label: label.clone(),
            admission: state.admission,
            source: Source::from(peer),
            peer,
            peer_id,
            started: self.now,
            listener: start.listener,
            stderr: None,
            _group: group,
            deadline: None,
            overdue: false,
            released: false,
        };
        let key = self.children.insert(child);
        self.watch_child(key);
        self.set_deadline(key);
        if let Some(pipe) = started.stderr {
            let stderr = self.keep_stderr(pipe, service, label, pid);
            if let Some(child) = self.children.get_mut(key) {
                child.stderr = Some(stderr);
            }
        }
    }

    fn watch_child(&mut self, key: Key) {
        let Some(child) = self.children.get(key) else { return };
        let token = token::pack(Owner::Child(key));
        let descriptor = child.pidfd.as_raw_fd();
        let registered =
            self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE);
        if let Err(error) = registered {
            journal::trouble(&child.label, "epoll_ctl", &error);
            self.timers.set(self.now + LOOK, Timer::Child(key));
        }
    }

    /// Keeps the pipe of a program's standard error. It is polled only if the program
    /// is still there after a moment: most end sooner, and then one read will do.
    fn keep_stderr(&mut self, pipe: OwnedFd, service: Key, label: Label, pid: i32) -> Key {
        let key = self.stderr.insert(StderrState {
            pipe: pipe.into(),
            service,
            label,
            pid,
            partial: Vec::new(),
            skipping: false,
            dropped: 0,
            read: 0,
            since: self.now,
            registered: false,
            queued: false,
        });
        self.unwatched.push_back((self.now + MOMENT, key));
        key
    }

    /// Polls the pipes of those programs that are still there after their moment.
    pub(super) fn watch_stderr(&mut self) {
        while let Some((when, key)) = self.unwatched.front().copied() {
            if when > self.now {
                return;
            }
            self.unwatched.pop_front();
            let Some(state) = self.stderr.get_mut(key) else { continue };
            let descriptor = state.pipe.as_raw_fd();
            let token = token::pack(Owner::Stderr(key));
            let registered = self.poll.registry().register(
                &mut SourceFd(&descriptor),
                token,
                Interest::READABLE,
            );
            state.registered = registered.is_ok();
            if let Err(error) = registered {
                // The program's lines are read when it ends.
                journal::trouble(&state.label, "epoll_ctl", &error);
            }
        }
    }

    /// Somebody admitted cannot be served: says so and gives back what was counted.
    pub(super) fn start_failed(&mut self, service: Key, peer: Address, error: &io::Error) {
        self.start_failed_at(service, peer, "spawn", error);
    }

    /// The same, at a step of its own.
    fn start_failed_at(
        &mut self,
        service: Key,
        peer: Address,
        stage: &str,
        error: &dyn std::fmt::Display,
    ) {
        if let Some(state) = self.services.get(service) {
            journal::failed(&state.label, peer, None, stage, error);
            self.count_failure(service, stage, error);
        }
        self.cancel_start(service, peer);
    }

    /// Gives back what admission has counted for a program that never ran.
    pub(super) fn cancel_start(&mut self, service: Key, peer: Address) {
        let Some(state) = self.services.get(service) else { return };
        let wake = self.admission.cancel(self.now, state.admission, Source::from(peer));
        self.wake(wake, service);
    }

    /// Starts a `wait` service's program: it gets the socket itself, blocking, and
    /// nobody else takes from it until it has ended.
    pub(super) fn hand_over(&mut self, key: Key) {
        if !self.may_accept(key) {
            return;
        }
        let Some(state) = self.listeners.get(key) else { return };
        let owner = state.service;
        if !self.drop_refused_datagrams(key, owner) {
            return;
        }
        let Some(service) = self.services.get(owner) else { return };
        let observed = self.observed();
        match self.admission.admit(&observed, service.admission, Address::None) {
            Verdict::Admit => {}
            Verdict::Rest(_, until) => return self.rest_for_limit(key, until),
            Verdict::Refuse(_) => return,
        }
        self.deregister_listener(key);
        let Some(state) = self.listeners.get_mut(key) else { return };
        let Some(listener) = &state.listener else { return };
        state.rest = Rest::Program;
        state.head = head(listener);
        let facts = wait_facts(listener);
        let copy = listener.set_blocking(true).and_then(|()| descriptor::low_copy(listener));
        let start = Some(Start { listener: Some(key), peer_id: None });
        let runs = match copy {
            Ok(copy) => self.start_or_say(owner, copy, Address::None, &facts, start),
            Err(error) => {
                self.start_failed(owner, Address::None, &error);
                false
            }
        };
        if !runs {
            self.take_back(key, WaitRun::Failed);
        }
    }

    /// Takes datagrams out of a socket whose senders may not use the service: they must
    /// not start its program. False if none is left that may.
    fn drop_refused_datagrams(&mut self, key: Key, owner: Key) -> bool {
        let Some(id) = self.services.get(owner).map(|state| state.admission) else { return false };
        if !self.admission.looks_at_senders(id) {
            return true;
        }
        for _ in 0..DATAGRAMS {
            let Some(Socket::Udp(socket)) =
                self.listeners.get(key).and_then(|it| it.listener.as_ref()).map(Listener::socket)
            else {
                return true;
            };
            let peer = match socket.peek_from(&mut [0]) {
                Ok((_, peer)) => Address::Inet(peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Something sent before could not be delivered.
                Err(_) => continue,
            };
            if self.admission.admits_sender(self.now, id, peer) {
                return true;
            }
            let _ = socket.recv_from(&mut [0]);
            self.refuse(owner, peer, Reason::Access);
        }
        self.queue(Owner::Listener(key));
        false
    }

    /// A `wait` service's socket is ours again, and its program is started again when
    /// something waits there. It gets time first after a failure, and when it has
    /// often come back at once with something still waiting: it may have left it
    /// unread, which nobody can tell for sure.
    pub(super) fn take_back(&mut self, key: Key, run: WaitRun) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        let Some(listener) = &state.listener else { return };
        if let Err(error) = listener.set_blocking(false) {
            journal::trouble(&listener.address().to_string(), "fcntl", &error);
        }
        let (before, waiting) = (state.head.take(), head(listener));
        state.rest = Rest::Backoff;
        if run == WaitRun::Short && waiting.is_some() && waiting == before {
            state.unread = state.unread.saturating_add(1);
        } else {
            state.unread = 0;
        }
        if run != WaitRun::Failed && state.unread < UNREAD {
            if state.unread == 0 {
                state.backoff = FIRST_BACKOFF;
            }
            return self.resume(key);
        }
        let delay = state.backoff;
        state.backoff = delay.saturating_mul(2).min(LONGEST_BACKOFF);
        state.not_before = Some(self.now + delay);
        let owner = state.service;
        self.timers.set(self.now + delay, Timer::Resume(key));
        if let Some(service) = self.services.get(owner) {
            journal::backoff(&service.label, delay);
        }
    }
}

/// How the program of a `wait` service has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitRun {
    /// Well, after a while.
    Long,
    /// Well, and at once.
    Short,
    /// Badly and at once, or it could not be started.
    Failed,
}

/// Short runs in a row that leave the same waiting, after which the program is given
/// time. A program that takes one of several equal datagrams each time needs some.
const UNREAD: u32 = 16;

/// Delay before a `wait` service's program that has failed is started again.
pub(super) const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// It doubles with each failure up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// What waits first on a socket: who sent it and how it begins; for listening
/// sockets how many wait. None when nothing does.
fn head(listener: &Listener) -> Option<Vec<u8>> {
    let mut bytes = [0u8; HEAD];
    match listener.socket() {
        Socket::Udp(socket) => {
            let (length, from) = socket.peek_from(&mut bytes).ok()?;
            let mut head = from.to_string().into_bytes();
            head.extend_from_slice(bytes.get(..length).unwrap_or_default());
            Some(head)
        }
        Socket::UnixDatagram(socket) => {
            use nix::sys::socket::{MsgFlags, recv};
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
            let length = recv(socket.as_raw_fd(), &mut bytes, flags).ok()?;
            Some(bytes.get(..length).unwrap_or_default().to_vec())
        }
        Socket::Tcp(socket) => {
            let waiting = kernel::waiting_connections(socket).filter(|waiting| *waiting > 0);
            waiting.map(|waiting| waiting.to_ne_bytes().to_vec())
        }
        Socket::Unix(_) => {
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            let mut set = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            poll(&mut set, PollTimeout::ZERO).is_ok_and(|ready| ready > 0).then(Vec::new)
        }
    }
}

/// What a `wait` program is told: it meets its peers itself.
fn wait_facts(listener: &Listener) -> Connection {
    match listener.address() {
        Bound::Inet(address) => Connection {
            protocol: if matches!(listener.socket(), Socket::Udp(_)) { "UDP" } else { "TCP" },
            local: Some(*address),
            ..Connection::default()
        },
        Bound::Unix(path) => {
            Connection { protocol: "UNIX", path: Some(path.clone()), ..Connection::default() }
        }
    }
}
