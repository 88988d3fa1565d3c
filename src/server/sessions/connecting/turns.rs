//! The processes that connect: started, asked, heard, ended and reaped.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;

use super::{Connecting, Process};
use crate::builtin::relay::connector::{self, ConnectResult, Connector};
use crate::builtin::relay::{RelaySocket, Side, is_busy};
use crate::config::model::{Account, Endpoint};
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::token::Owner;
use crate::server::sessions::own_program::end_own_program;

/// An idle one is let go after so long.
const IDLE: Duration = Duration::from_secs(10);

/// How soon one that is ended is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// Sockets that one has at a time.
const MOST: usize = 64;

/// Answers taken from one in one turn.
const ANSWERS: usize = 64;

impl Server {
    /// Has a socket connected for a relay; that it is busy is the answer to try again.
    ///
    /// # Errors
    /// Why that cannot be done.
    pub(in crate::server::sessions) fn ask_connector(
        &mut self,
        relay: Key,
        account: &Rc<Account>,
        to: &Endpoint,
    ) -> io::Result<(u64, RelaySocket)> {
        let busy = || io::Error::from(Errno::EAGAIN);
        if self.upgrading.is_tried() {
            return Err(busy());
        }
        let socket = RelaySocket::unconnected()?;
        let key = match self.sessions.connecting.of(account) {
            Some(key) => key,
            None => self.start_connector(account)?,
        };
        let number = self.sessions.connecting.last.wrapping_add(1);
        let Some(process) = self.sessions.connecting.processes.get_mut(key) else {
            return Err(busy());
        };
        let Some(connector) = &process.connector else { return Err(busy()) };
        if process.asked.len() >= MOST {
            return Err(busy());
        }
        match connector.ask(number, &socket, to) {
            Ok(()) => {}
            Err(error) if is_busy(&error) => return Err(error),
            // It has ended, which is told when it is reaped.
            Err(_) => {
                self.sessions.connecting.end(key, &mut self.reactor);
                return Err(busy());
            }
        }
        process.asked.push_back((number, relay));
        process.active = self.reactor.now;
        self.sessions.connecting.last = number;
        Ok((number, socket))
    }

    fn start_connector(&mut self, account: &Rc<Account>) -> io::Result<Key> {
        let named = ("relay", connector::ARGUMENT);
        let (connector, theirs) = Connector::pair()?;
        let pid = self.start_own_program(named, account, |_| {}, theirs)?;
        let descriptor = connector.as_raw_fd();
        let key = self.sessions.connecting.processes.insert(Process {
            account: Rc::clone(account),
            pid,
            connector: Some(connector),
            asked: VecDeque::new(),
            has_answered: false,
            active: self.reactor.now,
        });
        log::debug!("connecting user={} pid={pid}", account.name);
        if let Err(error) = self.reactor.watch(&descriptor, Owner::Connector(key)) {
            self.sessions.connecting.end(key, &mut self.reactor);
            return Err(error);
        }
        self.sessions.connecting.look_at(self.reactor.now + IDLE, &mut self.reactor);
        Ok(key)
    }

    /// It has answered, or is gone.
    pub(in crate::server) fn serve_connector(&mut self, key: Key) {
        for _ in 0..ANSWERS {
            let Some(process) = self.sessions.connecting.processes.get(key) else { return };
            let Some(connector) = &process.connector else { return };
            match connector.answer() {
                Ok(Some(answer)) => {
                    if !self.take_answer(key, answer) {
                        return self.sessions.connecting.end(key, &mut self.reactor);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => return self.sessions.connecting.end(key, &mut self.reactor),
            }
        }
        self.reactor.ready.push(Owner::Connector(key));
    }

    /// False if that was not asked.
    fn take_answer(&mut self, key: Key, answer: ConnectResult) -> bool {
        let now = self.reactor.now;
        let Some(process) = self.sessions.connecting.processes.get_mut(key) else { return true };
        let known = process.asked.iter().position(|(number, _)| *number == answer.number);
        let Some((number, relay)) = known.and_then(|at| process.asked.remove(at)) else {
            return false;
        };
        (process.has_answered, process.active) = (true, now);
        let result = match answer.errno {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        };
        self.connector_answered(relay, number, result);
        true
    }

    /// Reaps those that are ended, and lets those go that nobody needs.
    pub(in crate::server) fn look_at_connectors(&mut self) {
        self.sessions.connecting.due = None;
        for key in self.sessions.connecting.processes.keys() {
            let Some(process) = self.sessions.connecting.processes.get(key) else { continue };
            let idle_at = process.active + IDLE;
            match (process.connector.is_some(), process.asked.is_empty()) {
                (false, _) => self.reap_connector(key),
                (true, true) if idle_at <= self.reactor.now => {
                    self.sessions.connecting.end(key, &mut self.reactor)
                }
                (true, true) => self.sessions.connecting.look_at(idle_at, &mut self.reactor),
                (true, false) => {
                    self.sessions.connecting.look_at(self.reactor.now + IDLE, &mut self.reactor)
                }
            }
        }
    }

    fn reap_connector(&mut self, key: Key) {
        let Some(pid) = self.sessions.connecting.processes.get(key).map(|process| process.pid)
        else {
            return;
        };
        let connecting = &mut self.sessions.connecting;
        let Some((_, failure)) = self.programs.reap_own_program(pid) else {
            return connecting.look_at(self.reactor.now + LOOK, &mut self.reactor);
        };
        let Some(process) = self.sessions.connecting.processes.remove(key) else { return };
        for (number, relay) in process.asked {
            let error = match failure {
                Some(failure) => io::Error::other(format!(
                    "as {}: {}: {failure}",
                    process.account.name,
                    failure.stage.as_str()
                )),
                // It works, or was let go for an upgrade: the next one is asked.
                None if process.has_answered || self.upgrading.is_tried() => Errno::EAGAIN.into(),
                None => io::Error::other(format!("as {}: it was ended", process.account.name)),
            };
            self.connector_answered(relay, number, Err(error));
        }
    }

    /// Lets all go, for an upgrade; whether none is left.
    pub(in crate::server) fn connectors_are_gone(&mut self) -> bool {
        for key in self.sessions.connecting.processes.keys() {
            self.sessions.connecting.end(key, &mut self.reactor);
        }
        self.look_at_connectors();
        self.sessions.connecting.processes.len() == 0
    }

    /// A relay's socket is connected, or why not.
    fn connector_answered(&mut self, key: Key, number: u64, result: io::Result<()>) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(dial) = state.dial.as_mut().filter(|dial| dial.asked == Some(number)) else {
            return;
        };
        dial.asked = None;
        let connected = || match state.target.as_ref().map(RelaySocket::answered) {
            Some(Ok(true)) => Ok(()),
            _ => Err(io::Error::from(Errno::ECONNABORTED)),
        };
        match result.and_then(|()| connected()) {
            Ok(()) => {
                if self.watch_side(key, Side::Target) {
                    self.connected(key);
                }
            }
            Err(error) => self.not_connected(key, error),
        }
    }
}

impl Connecting {
    /// Ends one; what it has not answered is told when it is reaped.
    fn end(&mut self, key: Key, reactor: &mut Reactor) {
        let Some(process) = self.processes.get_mut(key) else { return };
        end_own_program(process.pid, process.connector.take(), reactor);
        self.look_at(reactor.now + LOOK, reactor);
    }

    /// A relay has waited for too long: whoever should connect it is of no use to others.
    pub(in crate::server::sessions) fn end_of(
        &mut self,
        (relay, number): (Key, u64),
        reactor: &mut Reactor,
    ) {
        let asked = |process: &Process| process.asked.contains(&(number, relay));
        let found = self.processes.iter().find(|(_, process)| asked(process));
        if let Some(key) = found.map(|(key, _)| key) {
            self.end(key, reactor);
        }
    }
}
