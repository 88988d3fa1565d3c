//! Relays to unix sockets of a server of root: who connects is the user of the service. One
//! process for each such user, started when it is needed and let go when it has been idle for
//! a while, connects for all of that user's relays ([`crate::builtin::relay::connector`]). It
//! is not trusted: what it does not answer in time fails, and it is ended; what it answers
//! without having been asked ends it, too.

mod turns;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::builtin::relay::connector::Connector;
use crate::config::model::{Account, Action, Endpoint, RelayTarget, Service};
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::{Key, Slab};
use crate::server::reactor::timers::Timer;

/// A process that connects.
#[derive(Debug)]
struct Process {
    account: Rc<Account>,
    pid: i32,
    /// None once it is ended, and still to be reaped.
    connector: Option<Connector>,
    /// What it has not answered: the number, and whose relay it is for.
    asked: VecDeque<(u64, Key)>,
    /// It has answered before: it works.
    has_answered: bool,
    active: Instant,
}

/// All of them.
#[derive(Debug)]
pub(in crate::server) struct Connecting {
    processes: Slab<Process>,
    /// Numbers are never used again.
    last: u64,
    due: Option<Instant>,
}

impl Connecting {
    pub(in crate::server) fn new() -> Self {
        Self { processes: Slab::new(), last: 0, due: None }
    }

    /// Whether a process is one of them.
    pub(in crate::server) fn has(&self, pid: i32) -> bool {
        self.processes.iter().any(|(_, process)| process.pid == pid)
    }

    fn of(&self, account: &Account) -> Option<Key> {
        let same = |it: &Account| {
            (it.uid, it.gid, &it.groups) == (account.uid, account.gid, &account.groups)
        };
        self.processes.iter().find(|(_, process)| same(&process.account)).map(|(key, _)| key)
    }

    fn look_at(&mut self, when: Instant, reactor: &mut Reactor) {
        reactor.timers.set_sooner(&mut self.due, when, Timer::Connectors);
    }
}

/// Whether somebody else connects to the target of a service than the server itself.
pub(super) fn connects_as_another(service: &Service) -> bool {
    let account = &service.account;
    // Who connects is nothing that virtual sockets tell.
    let is_unix = |to: &Endpoint| !matches!(to, Endpoint::Vsock(_));
    matches!(&service.action, Action::Relay(RelayTarget::Unix(to)) if is_unix(to))
        && account.switch
        && account.uid != nix::unistd::geteuid().as_raw()
}
