//! Workers that end: each is reaped, told of, and replaced when somebody needs another, but not
//! again and again at once.

use std::time::{Duration, Instant};

use super::workers::WorkerProcess;
use crate::log::events::{self, End};
use crate::server::Server;
use crate::server::programs::ending::end_of;
use crate::server::reactor::slab::Key;
use crate::server::sessions::own_program::end_own_program;
use crate::server::sessions::workers::Workers;
use crate::sys::process;

/// How soon one that is ended is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How soon those of the program before us are.
const EARLIER: Duration = Duration::from_secs(5);
/// A worker that has lived for less than this died at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long no other is started then; it doubles up to the second.
const BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

impl Server {
    /// Ends one for a reason that its end does not say.
    pub(super) fn end_worker_for(&mut self, key: Key, why: &'static str) {
        if let Some(worker) = self.sessions.workers.all.get_mut(key) {
            worker.why.get_or_insert(why);
        }
        self.end_worker(key);
    }

    /// Ends one; its clients are told of when it is reaped.
    pub(super) fn end_worker(&mut self, key: Key) {
        let Some(worker) = self.sessions.workers.all.get_mut(key) else { return };
        end_own_program(worker.pid, worker.wire.take(), &self.reactor);
        self.sessions.workers.look_at(self.reactor.now + LOOK, &mut self.reactor);
    }

    /// Reaps those that are ended.
    pub(in crate::server) fn look_at_workers(&mut self) {
        self.sessions.workers.due = None;
        self.reap_earlier_workers();
        for key in self.sessions.workers.all.keys() {
            let worker = self.sessions.workers.all.get(key);
            if worker.is_some_and(|worker| worker.wire.is_none()) {
                self.reap_worker(key);
            }
        }
    }

    /// The same of workers that cannot be told anything.
    pub(in crate::server) fn keep_silent_workers(&mut self, pids: Vec<i32>) {
        self.sessions.workers.earlier = pids;
        self.reap_earlier_workers();
    }

    fn reap_earlier_workers(&mut self) {
        let earlier = &mut self.sessions.workers.earlier;
        earlier.retain(|pid| matches!(process::ended(Some(*pid), true), Ok(None)));
        if !earlier.is_empty() {
            self.sessions.workers.look_at(self.reactor.now + EARLIER, &mut self.reactor);
        }
    }

    /// Reaps a worker that has been found ended, once all that it has said is heard; false if it
    /// is still there.
    pub(in crate::server) fn reap_found_worker(&mut self, pid: i32) -> bool {
        let found = self.sessions.workers.all.iter().find(|(_, worker)| worker.pid == pid);
        let Some(key) = found.map(|(key, _)| key) else {
            self.reap_earlier_workers();
            return !self.sessions.workers.has(pid);
        };
        self.serve_worker(key);
        if self.sessions.workers.all.get(key).is_some_and(|worker| worker.wire.is_none()) {
            self.reap_worker(key);
        }
        !self.sessions.workers.has(pid)
    }

    fn reap_worker(&mut self, key: Key) {
        let Some(pid) = self.sessions.workers.all.get(key).map(|worker| worker.pid) else {
            return;
        };
        let Some((ending, failure)) = self.programs.reap_own_program(pid) else {
            return self.sessions.workers.look_at(self.reactor.now + LOOK, &mut self.reactor);
        };
        let end = ending.map_or(End::Unknown, end_of);
        let Some(worker) = self.sessions.workers.all.remove(key) else { return };
        let failure = failure.map(|it| format!("{}: {it}", it.stage.as_str()));
        if !worker.is_let_go {
            self.sessions.workers.worker_died(
                &worker,
                end,
                failure.as_deref().or(worker.why),
                self.reactor.now,
            );
        }
        for number in worker.clients {
            self.sessions.lingering.forget_fronted(number);
            self.client_has_lost_its_worker(number);
        }
    }
}

impl Workers {
    /// One that nobody has let go has ended.
    fn worker_died(&mut self, worker: &WorkerProcess, end: End, why: Option<&str>, now: Instant) {
        let error = why.as_ref().map(|it| it as &dyn std::fmt::Display);
        self.died = self.died.saturating_add(1);
        events::worker_died(worker.pid, (end, error), worker.clients.len());
        if now.saturating_duration_since(worker.started) < AT_ONCE {
            self.not_before = Some(now + self.backoff);
            self.backoff = (self.backoff * 2).clamp(BACKOFF, LONGEST_BACKOFF);
        } else {
            self.backoff = Duration::ZERO;
        }
    }
}
