//! Children that have ended: each is reaped by its number, which costs the same with
//! one and with ten thousand of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::watching::MOMENT;
use crate::config::model::{Action, OnStop};
use crate::log::events::{self, End};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::waiting::WaitRun;
use crate::server::state::Child;
use crate::spawn::child;
use crate::spawn::{Failure, Stage};
use crate::sys::process::{self, ChildExit};

/// A `wait` program that fails sooner than this has failed at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How soon a group in which something has outlived its service is tried again.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// The same when it has been tried for long: it doubles each time up to this.
const LONGEST: Duration = Duration::from_secs(16);

impl Server {
    /// The pidfd of a child says that it has ended: its slot is free for the next, and
    /// it is reaped later in this turn or in the next. True if that must be in this one:
    /// somebody may wait for the socket of a `wait` service, or for the end of the answer.
    pub(in crate::server) fn end_announced(&mut self, key: Key) -> bool {
        self.release_child(key);
        self.let_client_go(key);
        self.programs.ended.push(key);
        self.programs.tidy_by.get_or_insert(self.reactor.now + MOMENT);
        self.programs
            .children
            .get(key)
            .is_some_and(|child| child.listener.is_some() || child.kept.is_some())
    }

    /// Its client need not wait until it is reaped and the log has it, where closing costs
    /// nothing of the answer.
    fn let_client_go(&mut self, key: Key) {
        if let Some(child) = self.programs.children.get_mut(key) {
            child.kept.take_if(|kept| !kept.would_lose());
        }
    }

    fn release_child(&mut self, key: Key) {
        let Some(child) = self.programs.children.get_mut(key) else { return };
        let service = child.service;
        if let Some(permit) = child.permit.take() {
            self.release(permit, service);
        }
    }

    /// Reaps a child that has ended; true if it is there no more.
    pub(in crate::server) fn reap_if_ended(&mut self, key: Key) -> bool {
        self.look_at_peer_socket(key);
        let Some(child) = self.programs.children.get(key) else { return true };
        // As long as it is not reaped, its number, and that of its group, is nobody else's.
        let end = match process::ended(Some(child.pid), !child.keeps_its_number()) {
            Ok(None) => return false,
            Ok(Some((_, ending))) => end_of(ending),
            Err(_) => End::Unknown,
        };
        self.reaped(key, end);
        true
    }

    fn reaped(&mut self, key: Key, end: End) {
        self.release_child(key);
        let Some(mut child) = self.programs.children.remove(key) else { return };
        // First of all, since the client waits for it.
        self.close_kept(&mut child);
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
        let failure = match end {
            End::Status(child::FAILED) => self.programs.spawner.failure_of(child.pid),
            _ => {
                self.programs.spawner.forget_failure(child.pid);
                None
            }
        };
        let time = self.reactor.now.saturating_duration_since(child.started);
        let program = failure.and_then(|failure| self.program_of(&child, failure));
        tell(&child, end, (failure, program.as_deref()), time);
        self.count_end(&child, end, (failure, program.as_deref()), time);
        self.sessions.peers.ended(child.peer_id);
        // Somebody else may have reaped one of which nothing is known.
        if child.keeps_its_number() && end != End::Unknown {
            self.hold_group(&child);
        }
        let listener = child.listener;
        if child.group.is_some() {
            self.tidy_groups();
        }
        if let Some(listener) = listener {
            let run = match time < AT_ONCE {
                true if end != End::Status(0) => WaitRun::Failed,
                true => WaitRun::Short,
                false => WaitRun::Long,
            };
            self.take_back(listener, run);
        }
    }

    /// The program that could not be executed, if that is what has failed.
    fn program_of(&self, child: &Child, failure: Failure) -> Option<PathBuf> {
        let service = &self.services.all.get(child.service)?.service;
        match &service.action {
            Action::Program(program) if failure.stage == Stage::Exec => Some(program.path.clone()),
            _ => None,
        }
    }

    /// Removes the groups of processes that nobody needs any more; what still runs in
    /// one is looked at again.
    pub(in crate::server) fn tidy_groups(&mut self) {
        self.tidy_groups_and_wait(STRAGGLERS);
    }

    /// The same, when it is time.
    pub(in crate::server) fn tidy_groups_again(&mut self) {
        let (_, delay) = self.programs.straggling;
        self.tidy_groups_and_wait(delay.saturating_mul(2).min(LONGEST));
    }

    fn tidy_groups_and_wait(&mut self, delay: Duration) {
        if !self.programs.cgroups.is_untidy() {
            return;
        }
        self.programs.cgroups.tidy();
        if self.programs.cgroups.is_untidy() {
            let next = self.reactor.now + delay;
            self.reactor.timers.cancel(self.programs.straggling.0, Timer::Groups);
            self.reactor.timers.set(next, Timer::Groups);
            self.programs.straggling = (next, delay);
        }
    }

    /// What `on_stop` says for a program whose service goes or whose server stops.
    pub(in crate::server) fn stop_child(&mut self, key: Key) {
        let child = self.programs.children.get(key);
        if child.is_some_and(|child| child.terms.on_stop == OnStop::Terminate) {
            self.end_child(key);
        }
    }
}

fn tell(
    child: &Child,
    end: End,
    (failure, program): (Option<Failure>, Option<&Path>),
    time: Duration,
) {
    match failure {
        Some(failure) => {
            let stage = failure.stage.as_str();
            let step = (stage, program);
            events::failed(&child.label, child.peer, Some(child.pid), step, &failure);
        }
        None => {
            events::ended(&child.label, child.peer, child.pid, (end, time), child.terms.log);
        }
    }
}

pub(super) fn end_of(ending: ChildExit) -> End {
    match ending {
        ChildExit::Status(status) => End::Status(status),
        ChildExit::Signal(number) => End::Signal(events::signal_name(number)),
    }
}
