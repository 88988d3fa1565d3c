//! Noticing that programs have ended, and what they write to standard error: by a
//! pidfd and by the pipe, which are polled only when a program has outlived its first
//! milliseconds.
//!
//! Most end sooner. For them nothing is made or registered, and nobody is woken (but see
//! `ends`): they are looked at once in a millisecond, several at once, after the loop has
//! served whoever came meanwhile; when nobody comes, a few milliseconds later. What the
//! loop leaves undone between the start of a program and going to sleep, the program need
//! not wait for: the kernel likes to give a child the processor of its parent.
//!
//! Nobody waits for that. Before anybody is told that there is no room they are looked
//! at ([`Server::look_for_room`]), as they are for signals and requests; and while a
//! listener rests until a child ends, all are polled from their start.

use std::io;
use std::time::{Duration, Instant};

use crate::admission::{ServiceId, Source};
use crate::log::events;
use crate::server::Server;
use crate::server::programs::Programs;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::sessions::session::Session;
use crate::server::state::{ProgramStage, StderrState};
use crate::sys::descriptor;
use crate::sys::process;

/// The first turn after so long notices ends and writes the log.
pub(in crate::server) const MOMENT: Duration = Duration::from_millis(1);

/// So much later the loop wakes up for it, if it has not been woken.
const PATIENCE: Duration = Duration::from_millis(4);

/// How long a program is looked at once in a [`MOMENT`] and not polled: /bin/date takes
/// less on a busy machine.
const YOUTH: Duration = Duration::from_millis(16);

/// With some programs, but no more, the system is asked for others that have ended when one has:
/// it looks at all for that.
const FEW: usize = 64;

/// A child that cannot be polled is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// One that has ended, of which whoever traces it is told first.
const SOON: Duration = Duration::from_millis(100);

/// Which of the programs that run [`Server::tidy`] polls from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Tidy {
    /// Those that are young no more.
    WhatIsDue,
    /// All.
    Everything,
}

/// When the loop wakes up for what the first turn from `when` on does.
pub(in crate::server) fn at_latest(when: Instant) -> Instant {
    when + PATIENCE
}

impl Server {
    /// A program has been started.
    pub(super) fn watch_in_a_moment(&mut self, key: Key, has_listener: bool, is_kept: bool) {
        if has_listener || self.somebody_awaits_an_end() {
            return self.watch_child(key);
        }
        self.programs.unwatched.push(key);
        self.programs.tidy_by.get_or_insert(self.reactor.now + MOMENT);
        if is_kept {
            // Of whoever had ended when this turn began, the poll has told. While others are
            // started in it, clients of those that have ended wait.
            let before = self.programs.started_in.replace(self.reactor.now);
            let ended = match before == Some(self.reactor.now) {
                true => self.programs.exit_notifier.take(),
                false => self.programs.exit_notifier.announce_next(),
            };
            self.reap_young(ended);
        }
    }

    /// Whether somebody waits until a program ends.
    pub(super) fn somebody_awaits_an_end(&self) -> bool {
        !self.services.paused.is_empty()
            || !self.sessions.holding.is_empty()
            || self.sessions.newcomers.wait_for_a_place()
            || !self.services.exhausted.is_empty()
    }

    /// The next end is to be announced.
    pub(super) fn await_next_end(&mut self) {
        let ended = self.programs.exit_notifier.announce_next();
        self.reap_young(ended);
    }

    /// The end of some program has been announced; true if all that are young are to be looked
    /// at.
    pub(in crate::server) fn some_end_announced(&mut self) -> bool {
        let keeps =
            |key: &Key| self.sessions.table.program(*key).is_some_and(|child| child.kept.is_some());
        let awaited = self.programs.spawner.awaits_end();
        let ended = self
            .programs
            .exit_notifier
            .announced(awaited || self.programs.unwatched.iter().any(keeps));
        self.reap_young(ended);
        awaited
    }

    /// One has ended, and perhaps others with it, of which nothing more is said.
    fn reap_young(&mut self, ended: Option<i32>) {
        let Some(first) = ended else { return };
        self.look_at_young(first);
        while (1..=FEW).contains(&self.sessions.table.programs())
            && let Ok(Some((pid, _))) = process::ended(None, false)
        {
            if !self.look_at_young(pid) {
                return;
            }
        }
    }

    /// True if it was one that is young, and has ended.
    fn look_at_young(&mut self, pid: i32) -> bool {
        let is_it =
            |key: &&Key| self.sessions.table.program(**key).is_some_and(|child| child.pid == pid);
        let key = self.programs.unwatched.iter().find(is_it).copied();
        key.is_some_and(|key| self.reap_if_ended(key))
    }

    /// Reaps whoever has ended, and polls those that go on.
    pub(in crate::server) fn tidy(&mut self, tidy: Tidy) {
        self.reap_the_ended();
        for key in std::mem::take(&mut self.programs.unwatched) {
            if self.reap_if_ended(key) {
                continue;
            }
            let is_young = |it: &Session| {
                tidy == Tidy::WhatIsDue
                    && self.reactor.now.saturating_duration_since(it.client.since) < YOUTH
            };
            if self.sessions.table.get(key).is_some_and(is_young) {
                self.programs.unwatched.push(key);
            } else {
                self.watch_child(key);
            }
        }
        self.programs.tidy_by =
            (!self.programs.unwatched.is_empty()).then(|| self.reactor.now + MOMENT);
        descriptor::forget_closed();
    }

    /// Before somebody is told that there is no room, for the service or for the source.
    pub(in crate::server) fn look_for_room(&mut self, id: ServiceId, source: Option<Source>) {
        let may_have_ended = !self.programs.unwatched.is_empty() || !self.programs.ended.is_empty();
        if may_have_ended && self.admission.awaits_an_end(id, source) {
            self.tidy(Tidy::Everything);
        }
    }

    /// Reaps a program whose end has been announced, or that cannot be polled.
    pub(in crate::server) fn look_at_child(&mut self, key: Key) {
        if self.reap_if_ended(key) {
            return;
        }
        if self.sessions.table.program(key).is_some_and(|child| child.pidfd.is_none()) {
            return self.watch_child(key);
        }
        // Announced too early: whoever traces it is told first.
        self.reactor.after(SOON, Timer::Child(key));
    }

    /// Polls a program, and its pipe. One that has ended is announced at once.
    pub(in crate::server) fn watch_child(&mut self, key: Key) {
        let Some((client, child)) = self.sessions.table.program_mut(key) else { return };
        let stderr = child.stderr;
        // Without pidfds a signal tells of every end.
        if process::has_pidfds()
            && let Err(error) = poll_child(&self.reactor, child, key)
        {
            self.reactor.after(LOOK, Timer::Child(key));
            let label = client.label.clone();
            if self.services.exhaustion_is_new(self.reactor.now) {
                events::trouble(&label, "pidfd", &error);
            }
        }
        if let Some(stderr) = stderr {
            self.programs.watch_stderr(stderr, &self.reactor);
        }
        self.sessions.watch_peer_socket(key, &self.reactor);
        let child = self.sessions.table.program_mut(key);
        if let Some(kept) = child.and_then(|(_, child)| child.kept.as_mut()) {
            descriptor::raise_held_in_place(&mut kept.socket);
        }
    }
}

impl Programs {
    /// Polls the pipe of a program's standard error.
    pub(in crate::server) fn watch_stderr(&mut self, key: Key, reactor: &Reactor) {
        let Some(state) = self.stderr.get_mut(key).filter(|state| !state.registered) else {
            return;
        };
        if let Err(error) = poll_pipe(reactor, state, key) {
            // The program's lines are read when it ends.
            events::trouble(&state.label, "epoll_ctl", &error);
        }
    }
}

fn poll_child(reactor: &Reactor, child: &mut ProgramStage, key: Key) -> io::Result<()> {
    let pidfd = descriptor::raise_held(process::open_pidfd(child.pid)?);
    reactor.watch(&pidfd, Owner::Child(key))?;
    child.pidfd = Some(pidfd);
    Ok(())
}

fn poll_pipe(reactor: &Reactor, state: &mut StderrState, key: Key) -> io::Result<()> {
    descriptor::set_nonblocking(&state.pipe)?;
    descriptor::raise_held_in_place(&mut state.pipe);
    reactor.watch(&state.pipe, Owner::Stderr(key))?;
    state.registered = true;
    Ok(())
}
