//! What programs of `wait` services leave behind at the addresses of their sockets.
//!
//! Whoever has had a UDP socket may have let others in at its address (SO_REUSEADDR), and bound
//! one of his own there: from then on that gets what is for the service. With TCP, whoever is
//! the server's user may do so (SO_REUSEPORT). And whoever keeps an abstract socket that is of
//! no use any more keeps its name. Nothing in the system hinders it, and nothing announces it.
//!
//! So the kernel is asked who else is at the address, often for some seconds after a program has
//! ended, and then ever more seldom; and every minute for as long as something of it has the
//! socket still, which could do so at any time. What is found is told, and ended where that needs
//! no more rights than those of the service's user, or where it belongs to the session of the
//! program. At the same times the sockets themselves are looked after
//! ([restoring](super::restoring)).

mod turns;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::holders::Search;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;

/// Sockets of others that have been told of.
const REPORTED: usize = 256;

/// Sessions of programs that are remembered, of each listener.
const SESSIONS: usize = 64;

/// The sessions of the last programs that have had a socket: each led one of its own number.
#[derive(Debug, Default)]
pub(in crate::server) struct PastSessions(VecDeque<i32>);

impl PastSessions {
    pub(in crate::server) fn begins(&mut self, pid: i32) {
        if self.0.len() >= SESSIONS {
            self.0.pop_front();
        }
        self.0.push_back(pid);
    }

    /// Whether a session is that of one of them. While anybody is in it no process gets its
    /// number: if there is one, and it is not the last of ours, the number has been given again.
    fn have(&self, session: i32) -> bool {
        let is_gone = || kill(Pid::from_raw(session), None) == Err(Errno::ESRCH);
        self.0.back() == Some(&session) || self.0.contains(&session) && is_gone()
    }
}

/// Why a socket is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SearchReason {
    /// It is at the address of this listener.
    Intruder(Key),
    /// It has been this listener's, and has its name.
    Former(Key),
    /// It is a listener's.
    Ours,
}

/// What is looked for.
#[derive(Debug, Default)]
pub(in crate::server) struct Occupied {
    /// When the kernel is asked, or the search goes on.
    due: Option<Instant>,
    delay: Duration,
    search: Search<SearchReason>,
    reported: VecDeque<u64>,
    /// Somebody has a socket of ours, or there is more at an address than has been told.
    is_held: bool,
}

impl Occupied {
    /// Whether this one has not been told of yet; it has now.
    fn tells(&mut self, inode: u64) -> bool {
        if self.reported.contains(&inode) {
            return false;
        }
        if self.reported.len() >= REPORTED {
            self.reported.pop_front();
        }
        self.reported.push_back(inode);
        true
    }

    /// Whether it is being looked who has sockets.
    pub(super) fn is_searching(&self) -> bool {
        self.search.is_under_way()
    }

    fn next_delay(&mut self) -> Duration {
        self.delay = self.delay.saturating_mul(2);
        self.delay
    }

    fn look_at(&mut self, when: Instant, reactor: &mut Reactor) {
        reactor.timers.set_sooner(&mut self.due, when, Timer::Addresses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sessions_are_remembered_and_numbers_given_again_are_not_meant() {
        let mut sessions = PastSessions::default();
        let ours = std::process::id().cast_signed();
        sessions.begins(ours);
        assert!(sessions.have(ours));
        // No process has such a number.
        sessions.begins(i32::MAX);
        assert!(sessions.have(i32::MAX) && !sessions.have(ours));
        sessions.begins(i32::MAX - 1);
        assert!(sessions.have(i32::MAX) && !sessions.have(i32::MAX - 2));
        (0..64).for_each(|n| sessions.begins(i32::MAX - 100 - n));
        assert!(!sessions.have(i32::MAX));
    }
}
