//! When it is looked whether a program has come to its end after all.

use std::time::Instant;

use nix::poll::{PollFlags, PollTimeout};
use nix::sys::signal::Signal;

use super::TOLD;
use crate::log::events;
use crate::server::Server;
use crate::server::programs::process_sessions::signal_group;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::sessions::session::SessionTable;
use crate::server::state::ProgramStage;
use crate::sys::descriptor::becomes_ready;
use crate::sys::proc::stat_of;

impl Server {
    /// Whoever has had KILL, or is dead without a word, may be gone.
    pub(in crate::server) fn look_at_dying(&mut self, key: Key) {
        if !self.reap_if_ended(key) {
            self.sessions.table.look_again(key, &mut self.reactor);
        }
    }
}

impl ProgramStage {
    /// Whether it is left as it is: KILL has not ended it.
    pub(in crate::server) fn does_not_end(&self, now: Instant) -> bool {
        self.dying.does_not_end(now)
    }

    /// Whether it is dead, whatever its parent is told; of one that is young, and has not had
    /// KILL, nobody asks.
    fn is_dead(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => becomes_ready(pidfd, PollFlags::POLLIN, PollTimeout::ZERO) == Ok(true),
            None if self.dying.killed.is_some() => {
                stat_of(self.pid).is_ok_and(|stat| stat.has_ended)
            }
            None => false,
        }
    }
}

impl SessionTable {
    /// KILL for a program and its group, and a look whether that has ended it.
    pub(in crate::server) fn kill(&mut self, key: Key, reactor: &mut Reactor) {
        let Some((client, child)) = self.program_mut(key) else { return };
        if let Err(error) = signal_group(child.pid, Signal::SIGKILL) {
            events::trouble(&client.label, "kill", &error);
        }
        self.killed(key, reactor);
    }

    /// A program has had KILL.
    pub(in crate::server) fn killed(&mut self, key: Key, reactor: &mut Reactor) {
        if let Some((_, child)) = self.program_mut(key) {
            child.dying.killed.get_or_insert(reactor.now);
        }
        self.look_again(key, reactor);
    }

    fn look_again(&self, key: Key, reactor: &mut Reactor) {
        let next = self.program(key).and_then(|child| child.dying.next_look(reactor.now));
        if let Some(next) = next {
            reactor.timers.set(next, Timer::Dying(key));
        }
    }

    /// Whether a program that is no more to its parent than one that runs has been dead for so
    /// long that nobody will say how it ended.
    pub(in crate::server::programs) fn is_dead_without_a_word(
        &mut self,
        key: Key,
        reactor: &mut Reactor,
    ) -> bool {
        let Some((_, child)) = self.program_mut(key) else { return false };
        if !child.is_dead() {
            return false;
        }
        match child.dying.dead {
            Some(since) => reactor.now.saturating_duration_since(since) >= TOLD,
            None => {
                child.dying.dead = Some(reactor.now);
                reactor.timers.set(reactor.now + TOLD, Timer::Dying(key));
                false
            }
        }
    }
}
