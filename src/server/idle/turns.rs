//! What the server does when something happens, and when nothing has for a while.

use std::time::Duration;

use crate::server::Server;
use crate::server::reactor::SCRATCH;
use crate::server::reactor::timers::Timer;
use crate::sys::memory;

/// Whoever has come to us and ended is there for so long at most: it counts as one of its
/// user's processes.
const ORPHANED: Duration = Duration::from_secs(1);

impl Server {
    /// Something has been announced: a client, the end of a program, a signal. Deadlines
    /// are not: each would lead to the next.
    pub(in crate::server) fn note_activity(&mut self) {
        if let Some(when) = self.life.quiet.note_activity(self.reactor.now) {
            self.reactor.timers.set(when, Timer::IdleMemory);
        }
        if self.sessions.closing.adopts() && !std::mem::replace(&mut self.life.quiet.reaps, true) {
            self.reactor.after(ORPHANED, Timer::Orphans);
        }
    }

    /// Gives memory back, if it is quiet.
    pub(in crate::server) fn give_memory_back_if_idle(&mut self) {
        if let Some(again) = self.life.quiet.look(self.reactor.now) {
            return self.reactor.timers.set(again, Timer::IdleMemory);
        }
        self.give_memory_back();
    }

    /// Gives back what nobody needs now.
    pub(in crate::server) fn give_memory_back(&mut self) {
        self.programs.spawner.release_memory();
        // A new one has no pages until it is used.
        self.reactor.scratch = vec![0; SCRATCH];
        memory::trim_memory();
        memory::release_code();
    }
}
