//! When it is looked who is at an address, and what is said and done about it.

use std::io::{self, ErrorKind};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid, getsid};

use super::SearchReason;
use crate::log::events;
use crate::net::listener::Listener;
use crate::server::Server;
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

/// Between two parts of a search.
const PAUSE: Duration = Duration::from_millis(1);

/// How soon an address is tried again whose holder has been ended.
const FREED: Duration = Duration::from_millis(50);

impl Server {
    /// A program that has had an internet socket has ended.
    pub(in crate::server) fn watch_address(&mut self, key: Key) {
        let listener = self.services.open(key);
        if listener.is_some_and(|it| it.socket().local_address().is_some()) {
            self.services.occupied.delay = FIRST;
            self.services.occupied.look_at(self.reactor.now + FIRST, &mut self.reactor);
        }
    }

    /// It is time to ask, or to search on.
    pub(in crate::server) fn look_at_addresses(&mut self) {
        self.services.occupied.due = None;
        if !self.services.occupied.search.is_under_way() {
            return self.ask_who_is_there();
        }
        match self.services.occupied.search.go_on() {
            Some(holders) => holders.iter().for_each(|holder| self.found(holder)),
            None => return self.search_is_over(),
        }
        self.services.occupied.look_at(self.reactor.now + PAUSE, &mut self.reactor);
    }

    fn ask_who_is_there(&mut self) {
        let watched: Vec<Key> = self
            .services
            .listeners
            .keys()
            .into_iter()
            .filter(|key| self.services.is_watched(*key))
            .collect();
        if watched.is_empty() {
            return;
        }
        let own: Vec<u64> = self
            .services
            .listeners
            .iter()
            .filter_map(|(_, it)| it.listener.as_ref()?.inode())
            .collect();
        self.services.occupied.is_held = false;
        for key in &watched {
            for inode in self.services.others_at(*key).into_iter().filter(|it| !own.contains(it)) {
                self.services.occupied.search.want(inode, SearchReason::Intruder(*key));
            }
        }
        if self.services.occupied.delay >= LAST {
            let inode = |key: &Key| self.services.listeners.get(*key)?.listener.as_ref()?.inode();
            for inode in watched.iter().filter_map(inode) {
                self.services.occupied.search.want(inode, SearchReason::Ours);
            }
        }
        let pause = if self.services.occupied.search.is_under_way() {
            PAUSE
        } else {
            self.services.occupied.next_delay()
        };
        self.services.occupied.look_at(self.reactor.now + pause, &mut self.reactor);
    }

    /// A socket that was a listener's is kept by somebody, and its name with it.
    pub(in crate::server::services) fn look_who_keeps(&mut self, key: Key, inode: u64) {
        self.services.occupied.search.want(inode, SearchReason::Former(key));
        self.services.occupied.look_at(self.reactor.now + PAUSE, &mut self.reactor);
    }

    fn found(&mut self, holder: &Holder) {
        let key = match self.services.occupied.search.get(holder.inode) {
            Some(SearchReason::Intruder(key) | SearchReason::Former(key)) => *key,
            Some(SearchReason::Ours) => return self.services.occupied.is_held = true,
            None => return,
        };
        let ended = self.services.may_end(key, holder.pid) && end(holder);
        if self.services.occupied.tells(holder.inode) {
            self.services.tell_occupied(key, Some((holder.pid, ended)));
        }
        if ended && self.services.listeners.get(key).is_some_and(|state| state.listener.is_none()) {
            self.services.look_after_in(key, FREED, Timer::Open, &mut self.reactor);
        }
    }

    /// Nobody is left to be looked at.
    fn search_is_over(&mut self) {
        for (inode, sought) in self.services.occupied.search.take() {
            if let SearchReason::Intruder(key) | SearchReason::Former(key) = sought
                && self.services.occupied.tells(inode)
            {
                self.services.tell_occupied(key, None);
            }
        }
        if self.services.occupied.delay < LAST {
            let delay = self.services.occupied.next_delay();
            self.services.occupied.look_at(self.reactor.now + delay, &mut self.reactor);
        } else if std::mem::take(&mut self.services.occupied.is_held) {
            self.services.occupied.look_at(self.reactor.now + EVERY, &mut self.reactor);
        }
    }
}

impl Services {
    /// Whether a program has had it, and has it no more.
    fn is_watched(&self, key: Key) -> bool {
        self.listeners.get(key).is_some_and(|state| {
            let listener = state.listener.as_ref();
            state.rest != Rest::Program
                && listener
                    .is_some_and(|it| it.is_shared() && it.socket().local_address().is_some())
        })
    }

    fn tell_occupied(&self, key: Key, holder: Option<(i32, bool)>) {
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
    fn tell_blind(&mut self, key: Key, error: &io::Error) {
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
                    self.tell_blind(key, &io::Error::other("more sockets than can be told apart"));
                }
                others.sockets.into_iter().map(|other| other.inode).collect()
            }
            Some(Err(error)) => {
                self.tell_blind(key, &error);
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
