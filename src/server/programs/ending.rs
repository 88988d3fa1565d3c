//! Children that have ended: each is reaped by its number, which costs the same with
//! one and with ten thousand of them.

use std::path::PathBuf;
use std::time::Duration;

use super::watching::MOMENT;
use crate::config::model::Action;
use crate::front::leaving;
use crate::log::events::{self, End};
use crate::server::Server;
use crate::server::programs::Programs;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::waiting::WaitRun;
use crate::server::sessions::closing::EndedProgram;
use crate::server::sessions::lingering::Lingerer;
use crate::server::sessions::session::SessionTable;
use crate::server::sessions::session::{Client, Session, SessionEnd, SessionStage};
use crate::spawn::{self, Failure, child};
use crate::sys::process::{self, ChildExit};

/// A `wait` program that fails sooner than this has failed at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How soon a group in which something has outlived its service is tried again.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// The same when it has been tried for long: it doubles each time up to this.
const LONGEST: Duration = Duration::from_secs(16);

impl Server {
    /// The pidfd of a child says that it has ended. It has its place until it is reaped, which
    /// the log is told of: later in this turn or in the next, or before somebody is told that
    /// there is no room. True if that must be in this one: somebody may wait for the socket of
    /// a `wait` service, or for the end of the answer.
    pub(in crate::server) fn end_announced(&mut self, key: Key) -> bool {
        self.sessions.table.let_client_go(key);
        self.programs.ended.push(key);
        self.programs.tidy_by.get_or_insert(self.reactor.now + MOMENT);
        let child = self.sessions.table.program(key);
        child.is_some_and(|child| child.listener.is_some() || child.kept.is_some())
    }

    /// Before anything else is done in a turn: whoever waits for a place has those of the
    /// programs that have ended, and comes before others.
    pub(in crate::server) fn make_places(&mut self) {
        if !self.programs.ended.is_empty() && self.somebody_awaits_an_end() {
            self.reap_the_ended();
        }
    }

    /// Reaps those whose end has been announced.
    pub(super) fn reap_the_ended(&mut self) {
        for key in std::mem::take(&mut self.programs.ended) {
            self.look_at_child(key);
        }
    }

    /// Reaps a child that has ended; true if it is there no more.
    pub(in crate::server) fn reap_if_ended(&mut self, key: Key) -> bool {
        self.sessions.look_at_peer_socket(key, &mut self.reactor);
        let Some(child) = self.sessions.table.program(key) else { return true };
        // As long as it is not reaped, its number, and that of its group, is nobody else's.
        let end = match process::ended(Some(child.pid), !child.keeps_its_number()) {
            Ok(None) if !self.sessions.table.is_dead_without_a_word(key, &mut self.reactor) => {
                return false;
            }
            Ok(None) | Err(_) => End::Unknown,
            Ok(Some((_, ending))) => end_of(ending),
        };
        self.reaped(key, end);
        true
    }

    fn reaped(&mut self, key: Key, end: End) {
        let Some(Session { client, stage: SessionStage::Program(mut child) }) =
            self.sessions.table.remove(key)
        else {
            debug_assert!(false, "no program has a session of this key");
            return;
        };
        // First of all, since the client waits for it.
        if let Some(kept) = child.kept.take() {
            let whose = Lingerer::of(client.service, client.peer);
            self.sessions.closing.keep(EndedProgram { pid: child.pid, kept, whose });
        }
        // Closing the pidfd ends its registration. A child on its way to exec may hold
        // a copy for a moment; an event from that has a key that names nobody.
        if let Some(deadline) = child.deadline {
            self.reactor.timers.cancel(deadline, Timer::Overdue(key));
        }
        if let Some(watched) = &child.watched {
            self.reactor.timers.cancel(watched.due, Timer::Still(key));
        }
        self.programs.spawner.reaped(child.pid);
        if let Some(stderr) = child.stderr {
            self.program_ended(stderr);
        }
        // Somebody else may have reaped one of which nothing is known.
        if child.keeps_its_number() && end != End::Unknown {
            let sees_every_end = self.facts.sees_every_end;
            self.programs.hold_group((&client, &child), sees_every_end, &mut self.reactor);
        }
        let left = self.how_client_left(&child.front);
        if left == Some((leaving::IDLE, false)) && !child.overdue {
            // Its end was its connection's.
            client.log_idle(child.pid);
        }
        if let Some(number) = child.front.number.filter(|_| child.has_terminal) {
            self.sessions.workers.program_of_client_ended(number);
        }
        let (end, failure) = match self.failure_of(&client, child.pid, end) {
            // Its client was gone before it had the terminal: as if that were a moment later.
            Some((failure, _)) if failure.is_hung_up() => (End::Signal("SIGHUP"), None),
            failure => (end, failure),
        };
        let time = self.reactor.now.saturating_duration_since(client.since);
        self.end(client, &SessionEnd::Ended(child.pid, (end, left), failure));
        if child.group.take().is_some() {
            self.programs.tidy_groups(&mut self.reactor);
        }
        if let Some(listener) = child.listener {
            let run = match time < AT_ONCE {
                true if end != End::Status(0) => WaitRun::Failed,
                true => WaitRun::Short,
                false => WaitRun::Long,
            };
            self.take_back(listener, run);
        }
    }

    /// Why it has not become a program, and what could not be executed, if that is what has
    /// failed.
    fn failure_of(
        &mut self,
        client: &Client,
        pid: i32,
        end: End,
    ) -> Option<(Failure, Option<PathBuf>)> {
        if end != End::Status(child::FAILED) {
            self.programs.spawner.forget_failure(pid);
            return None;
        }
        let failure = self.programs.spawner.failure_of(pid)?;
        let service = self.services.all.get(client.service).map(|state| &state.service.action);
        let path = match service {
            Some(Action::Program(program)) if failure.stage == spawn::Stage::Exec => {
                Some(program.path.clone())
            }
            _ => None,
        };
        Some((failure, path))
    }
}

impl Programs {
    /// Removes the groups of processes that nobody needs any more; what still runs in
    /// one is looked at again.
    pub(in crate::server) fn tidy_groups(&mut self, reactor: &mut Reactor) {
        self.tidy_groups_and_wait(STRAGGLERS, reactor);
    }

    /// The same, when it is time.
    pub(in crate::server) fn tidy_groups_again(&mut self, reactor: &mut Reactor) {
        let (_, delay) = self.straggling;
        self.tidy_groups_and_wait(delay.saturating_mul(2).min(LONGEST), reactor);
    }

    fn tidy_groups_and_wait(&mut self, delay: Duration, reactor: &mut Reactor) {
        if !self.cgroups.is_untidy() {
            return;
        }
        self.cgroups.tidy();
        if self.cgroups.is_untidy() {
            let next = reactor.now + delay;
            reactor.timers.cancel(self.straggling.0, Timer::Groups);
            reactor.timers.set(next, Timer::Groups);
            self.straggling = (next, delay);
        }
    }
}

impl SessionTable {
    /// Its client need not wait until it is reaped and the log has it, where closing costs
    /// nothing of the answer.
    fn let_client_go(&mut self, key: Key) {
        if let Some((_, child)) = self.program_mut(key) {
            child.kept.take_if(|kept| {
                kept.wait_for_nobody();
                !kept.would_lose()
            });
        }
    }
}

pub(in crate::server) fn end_of(ending: ChildExit) -> End {
    match ending {
        ChildExit::Status(status) => End::Status(status),
        ChildExit::Signal(number) => End::Signal(events::signal_name(number)),
    }
}
