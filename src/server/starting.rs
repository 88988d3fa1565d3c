//! Starting a program: for a connection, for the first datagram of a peer, or with
//! the socket of a `wait` service itself. All go through [`Server::start`].

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use mio::Interest;
use mio::unix::SourceFd;

use super::Server;
use super::slab::Key;
use super::state::{Child, Rest, StderrState};
use super::timers::Timer;
use super::token::{self, Owner};
use crate::address::Address;
use crate::admission::{Reason, Source, Verdict};
use crate::journal;
use crate::listener::{Bound, Listener, Socket};
use crate::peers::PeerId;
use crate::spawn::environment::Connection;
use crate::spawn::{self, Started, kernel};

/// A child whose pidfd cannot be polled is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes of a datagram that are compared to see whether it has been taken.
const HEAD: usize = 64;

/// Refused datagrams taken out of one socket in one turn.
const DATAGRAMS: usize = 64;

/// What a start is made for, beside the service.
pub(super) struct Start {
    /// The listener that the program gets, for `wait` services.
    pub(super) listener: Option<Key>,
    /// The peer is known already: it came through tcpmux.
    pub(super) peer_id: Option<PeerId>,
}

impl Server {
    /// Starts the program of `service`, which has been admitted, with `socket`.
    /// Failure is logged and takes nothing with it but the connection. True if it runs.
    pub(super) fn start(
        &mut self,
        service: Key,
        socket: OwnedFd,
        peer: Address,
        connection: &Connection,
        start: Option<Start>,
    ) -> bool {
        let Some(state) = self.services.get(service) else { return false };
        let Some(prepared) = state.prepared.as_ref().map(Rc::clone) else { return false };
        let start = start.unwrap_or(Start { listener: None, peer_id: None });
        match self.spawner.spawn(&prepared, socket, connection) {
            Ok(started) => {
                self.started(service, peer, started, &start);
                true
            }
            Err(error) => {
                self.start_failed(service, peer, &error);
                false
            }
        }
    }

    fn started(&mut self, service: Key, peer: Address, started: Started, start: &Start) {
        let Some(state) = self.services.get(service) else { return };
        let label = Rc::clone(&state.label);
        let pid = started.pid;
        journal::accepted(&label, peer, Some(pid), state.service.attributes.log_on_success);
        let shown = u32::try_from(pid).ok();
        let peer_id = match start.peer_id {
            Some(known) => {
                self.peers.handed_to(known, shown.unwrap_or_default());
                known
            }
            None => self.peers.connected(peer, Rc::clone(&label), shown),
        };
        let child = Child {
            pid,
            pidfd: started.pidfd,
            service,
            definition: Rc::clone(&state.service),
            label: Rc::clone(&label),
            admission: state.admission,
            source: Source::from(peer),
            peer,
            peer_id,
            started: self.now,
            listener: start.listener,
            stderr: None,
            deadline: None,
            overdue: false,
        };
        let key = self.children.insert(child);
        self.watch_child(key);
        self.set_deadline(key);
        if let Some(pipe) = started.stderr {
            let stderr = self.watch_stderr(pipe, label, pid);
            if let Some(child) = self.children.get_mut(key) {
                child.stderr = stderr;
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

    /// The key of the pipe's state; none if it cannot be polled, and then the
    /// program's lines are lost, which is said.
    fn watch_stderr(&mut self, pipe: OwnedFd, label: Rc<str>, pid: i32) -> Option<Key> {
        let descriptor = pipe.as_raw_fd();
        let key = self.stderr.insert(StderrState {
            pipe: pipe.into(),
            label,
            pid,
            partial: Vec::new(),
            skipping: false,
            read: 0,
            since: self.now,
            queued: false,
        });
        let token = token::pack(Owner::Stderr(key));
        let registered =
            self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE);
        if let Err(error) = registered {
            if let Some(lost) = self.stderr.remove(key) {
                journal::trouble(&lost.label, "epoll_ctl", &error);
            }
            return None;
        }
        Some(key)
    }

    /// Somebody admitted cannot be served: says so and gives back what was counted.
    pub(super) fn start_failed(&mut self, service: Key, peer: Address, error: &io::Error) {
        if let Some(state) = self.services.get(service) {
            journal::failed(&state.label, peer, None, "spawn", error);
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
        let copy = listener
            .set_blocking(true)
            .and_then(|()| kernel::duplicate_from(&listener.as_raw_fd(), spawn::LOWEST));
        let start = Some(Start { listener: Some(key), peer_id: None });
        let runs = match copy {
            Ok(copy) => self.start(owner, copy, Address::None, &facts, start),
            Err(error) => {
                self.start_failed(owner, Address::None, &error);
                false
            }
        };
        if !runs {
            self.take_back(key, true, true);
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

    /// A `wait` service's socket is ours again. After a failure, or when what was
    /// there before is there still, the program gets time before it is started again.
    pub(super) fn take_back(&mut self, key: Key, failed: bool, at_once: bool) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        let Some(listener) = &state.listener else { return };
        if let Err(error) = listener.set_blocking(false) {
            journal::trouble(&listener.address().to_string(), "fcntl", &error);
        }
        let unread = match (&state.head, head(listener)) {
            (Some(before), Some(now)) => *before == now,
            _ => false,
        };
        state.head = None;
        state.rest = Rest::Backoff;
        if !(failed || unread && at_once) {
            state.backoff = FIRST_BACKOFF;
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
        Socket::Tcp(_) | Socket::Unix(_) => {
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
