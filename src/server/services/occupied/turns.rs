//! When it is looked who is at an address, and what is said and done about it.

use std::io::{self, ErrorKind};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid, getsid};

use super::SearchReason;
use crate::log::events;
use crate::net::listener::Listener;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::Services;
use crate::server::services::holders::{Holder, user_of};
use crate::server::state::Rest;
use crate::sys::process;

/// How soon after the end of a program; each time it takes twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// Then it is looked whether anybody has the socket still.
const LAST: Duration = Duration::from_secs(4);

/// As long as that is so.
const EVERY: Duration = Duration::from_secs(60);

/// Else ever more seldom up to this: one who passes it on while he is looked for is not found.
const SELDOM: Duration = Duration::from_secs(3600);

/// Between two parts of a search.
const PAUSE: Duration = Duration::from_millis(1);

/// How soon an address is tried again whose holder has been ended.
const FREED: Duration = Duration::from_millis(50);

impl Services {
    /// A program that has had a socket has ended.
    pub(in crate::server) fn watch_address(&mut self, key: Key, reactor: &mut Reactor) {
        if self.open(key).is_some() {
            self.occupied.delay = FIRST;
            self.occupied.look_at(reactor.now + FIRST, reactor);
        }
    }

    /// It is time to ask, or to search on; true when a search is over.
    pub(in crate::server::services) fn look_at_addresses(&mut self, reactor: &mut Reactor) -> bool {
        self.occupied.due = None;
        if !self.occupied.search.is_under_way() {
            self.ask_who_is_there(reactor);
            return false;
        }
        let Some(holders) = self.occupied.search.go_on() else {
            self.search_is_over(reactor);
            return true;
        };
        holders.iter().for_each(|holder| self.found(holder, reactor));
        self.occupied.look_at(reactor.now + PAUSE, reactor);
        false
    }

    /// The listeners whose sockets programs have had, and have no more.
    pub(in crate::server::services) fn watched(&self) -> Vec<Key> {
        let mut watched = self.listeners.keys();
        watched.retain(|key| self.is_watched(*key));
        watched
    }

    fn ask_who_is_there(&mut self, reactor: &mut Reactor) {
        let watched = self.watched();
        if watched.is_empty() {
            return;
        }
        let own = self.listeners.iter().filter_map(|(_, it)| it.listener.as_ref()?.inode());
        let own: Vec<u64> = own.collect();
        self.occupied.is_held = false;
        for key in &watched {
            for inode in self.others_at(*key).into_iter().filter(|it| !own.contains(it)) {
                self.occupied.search.want(inode, SearchReason::Intruder(*key));
            }
        }
        if self.occupied.delay >= LAST {
            let inode = |key: &Key| self.listeners.get(*key)?.listener.as_ref()?.inode();
            for inode in watched.iter().filter_map(inode) {
                self.occupied.search.want(inode, SearchReason::Ours);
            }
        }
        let pause =
            if self.occupied.search.is_under_way() { PAUSE } else { self.occupied.next_delay() };
        self.occupied.look_at(reactor.now + pause, reactor);
    }

    /// A socket that was a listener's is kept by somebody, and its name with it.
    pub(in crate::server::services) fn look_who_keeps(
        &mut self,
        (key, inode): (Key, u64),
        reactor: &mut Reactor,
    ) {
        self.occupied.search.want(inode, SearchReason::Former(key));
        self.occupied.look_at(reactor.now + PAUSE, reactor);
    }

    fn found(&mut self, holder: &Holder, reactor: &mut Reactor) {
        let key = match self.occupied.search.get(holder.inode) {
            Some(SearchReason::Intruder(key) | SearchReason::Former(key)) => *key,
            Some(SearchReason::Ours) => return self.occupied.is_held = true,
            None => return,
        };
        let ended = self.may_end(key, holder.pid) && end(holder);
        if self.occupied.tells(holder.inode) {
            self.log_occupied(key, Some((holder.pid, ended)));
        }
        if ended && self.listeners.get(key).is_some_and(|state| state.listener.is_none()) {
            self.look_after_in(key, FREED, Timer::Open, reactor);
        }
    }

    /// Nobody is left to be looked at.
    fn search_is_over(&mut self, reactor: &mut Reactor) {
        for (inode, sought) in self.occupied.search.take() {
            if let SearchReason::Intruder(key) | SearchReason::Former(key) = sought
                && self.occupied.tells(inode)
            {
                self.log_occupied(key, None);
            }
        }
        let is_held = self.occupied.delay >= LAST && self.occupied.is_held;
        let pause = if is_held { EVERY } else { self.occupied.next_delay().min(SELDOM) };
        self.occupied.look_at(reactor.now + pause, reactor);
    }

    /// Whether a program has had it, and has it no more.
    fn is_watched(&self, key: Key) -> bool {
        self.listeners.get(key).is_some_and(|state| {
            state.rest != Rest::Program && state.listener.as_ref().is_some_and(Listener::is_shared)
        })
    }

    fn log_occupied(&self, key: Key, holder: Option<(i32, bool)>) {
        if let Some((state, service)) = self.of(key) {
            events::occupied(&service.label, &state.label(), holder);
        }
    }

    /// What the service's user could end, or what belongs to the session of a program of its.
    fn may_end(&self, key: Key, pid: i32) -> bool {
        let Some((state, service)) = self.of(key) else { return false };
        let user = service.service.account.uid;
        let is_users = user != geteuid().as_raw() && user_of(pid) == Some(user);
        let session = || getsid(Some(Pid::from_raw(pid))).ok().map(Pid::as_raw);
        is_users || session().is_some_and(|it| state.sessions.have(it))
    }

    /// Who is at the address of a socket is not known, or not all: said once of each, and not
    /// at all where nobody can know.
    fn log_unknown_holders(&mut self, key: Key, error: &io::Error) {
        if never_tells(error) {
            return log::debug!("sock_diag error={error}");
        }
        let Some(inode) = self.open(key).and_then(Listener::inode) else { return };
        if self.occupied.tells(inode)
            && let Some((_, service)) = self.of(key)
        {
            events::trouble(&service.label, "sock_diag", error);
        }
    }

    fn others_at(&mut self, key: Key) -> Vec<u64> {
        let listener = self.open(key);
        match listener.map(Listener::others) {
            Some(Ok(others)) => {
                if others.are_more {
                    self.occupied.is_held = true;
                    self.log_unknown_holders(
                        key,
                        &io::Error::other("more sockets than can be told apart"),
                    );
                }
                others.sockets.into_iter().map(|other| other.inode).collect()
            }
            Some(Err(error)) => {
                self.log_unknown_holders(key, &error);
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

/// Whether the system tells nobody who is at an address, or not us.
fn never_tells(error: &io::Error) -> bool {
    const SILENT: [i32; 3] = [libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::ENOENT];
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied)
        || error.raw_os_error().is_some_and(|it| SILENT.contains(&it))
}

/// Ends the process that has the socket. It was taken hold of before it was looked at: whoever
/// may have come to its number since then is not meant.
fn end(holder: &Holder) -> bool {
    match &holder.process {
        Some(process) => process::signal_through(process, Signal::SIGKILL).is_ok(),
        None if process::has_pidfds() || !holder.has_it_still() => false,
        None => kill(Pid::from_raw(holder.pid), Signal::SIGKILL).is_ok(),
    }
}
