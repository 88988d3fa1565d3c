//! Workers are started when a service needs one: this program once more, as a user that nobody
//! else is, without anything.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::workers::{SealedSettings, WorkerProcess};
use crate::config::model::{Account, Attributes, FrontUser};
use crate::front;
use crate::front::channel::Wire;
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::token::Owner;
use crate::server::sessions::workers::Workers;

/// Why nobody is given to any.
const FULL: &str = "the processes for it have as many clients as they can";

/// Descriptors that a worker has for itself.
const OWN: usize = 8;

impl Server {
    /// The least busy worker, or a new one while each has something to do, or none answers, and
    /// there may be more.
    pub(super) fn worker_for(
        &mut self,
        own: Option<Key>,
        settings: &SealedSettings,
    ) -> io::Result<Key> {
        let room = clients_of(self.facts.reserve.most(), settings.files.len());
        let found = self.sessions.workers.least_busy(own, room);
        let may_be_more = self.sessions.workers.may_be_more(own);
        if let Some(key) = found
            && (!may_be_more || self.sessions.workers.is_idle(key))
        {
            return Ok(key);
        }
        if !may_be_more {
            // Those who are let go now are gone before it hears of the next one.
            let some_go = self.let_all_go();
            let found = self.sessions.workers.least_busy(own, usize::MAX).filter(|_| some_go);
            return found.ok_or_else(|| io::Error::other(FULL));
        }
        match (self.start_worker(own, &settings.user), found) {
            (Ok(key), _) | (Err(_), Some(key)) => Ok(key),
            (Err(error), None) => Err(error),
        }
    }

    fn start_worker(&mut self, own: Option<Key>, user: &FrontUser) -> io::Result<Key> {
        let now = self.reactor.now;
        if self.sessions.workers.not_before.is_some_and(|when| when > now) {
            return Err(io::Error::other("workers die at once"));
        }
        let (wire, theirs) = Wire::pair()?;
        let pid = self.start_worker_process(user, theirs)?;
        let key = self.sessions.workers.all.insert(WorkerProcess::new(pid, wire, own, now));
        log::debug!("front-worker pid={pid}");
        if let Err(error) = self.sessions.workers.watch_worker(key, &self.reactor) {
            self.end_worker(key);
            return Err(error);
        }
        Ok(key)
    }

    /// This program, as a user that nobody else is, without anything.
    fn start_worker_process(&mut self, user: &FrontUser, theirs: OwnedFd) -> io::Result<i32> {
        let account = Account {
            name: user.uid.to_string(),
            uid: user.uid,
            gid: user.gid,
            groups: Vec::new(),
            home: "/".to_owned(),
            shell: "/bin/false".to_owned(),
            switch: user.switch,
        };
        let named = ("front", front::ARGUMENT);
        let confine = |attributes: &mut Attributes| {
            attributes.process.umask = Some(0o777);
            attributes.sandbox.no_new_privs = true;
            attributes.sandbox.capabilities = 0;
        };
        self.start_own_program(named, &Rc::new(account), confine, theirs)
    }
}

/// How many clients a worker has room for that may have so many descriptors, so many of which it is
/// told of a service with. Each client has two.
fn clients_of(descriptors: u64, told: usize) -> usize {
    let left = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(OWN);
    (left.saturating_sub(told) / 2).max(1)
}

impl Workers {
    /// What it says is announced, and what it has said already.
    pub(super) fn watch_worker(&self, key: Key, reactor: &Reactor) -> io::Result<()> {
        let worker = self.all.get(key);
        let wire = worker.and_then(|worker| worker.wire.as_ref());
        wire.map_or(Ok(()), |wire| reactor.watch(wire, Owner::Worker(key)))
    }
}
