//! Whoever comes to us without being ours, because its parent is gone, is reaped, too: as
//! process 1, and where connections of programs are [kept](crate::server::sessions::closing).

use nix::unistd::Pid;

use super::children::own_children;
use super::ending::end_of;
use crate::log::events;
use crate::server::Server;
use crate::sys::process;

impl Server {
    /// A while after something has been announced: what has come to us and ended, if no signal
    /// tells of that. What ends then is told of.
    pub(in crate::server) fn reap_the_adopted(&mut self) {
        self.life.quiet.reaps = false;
        if self.sessions.closing.adopts() && !self.facts.sees_every_end {
            // In this order: what ends while they are reaped is announced.
            self.await_next_end();
            self.reap_orphans();
        }
    }

    /// Reaps orphans, and ours as usual.
    pub(in crate::server) fn reap_orphans(&mut self) {
        // One that is found may be the first that is not to be reaped yet.
        while self.programs.doomed.groups.len() == 0 {
            let Ok(Some((pid, _))) = process::ended(None, false) else { return };
            if !self.reap_found(pid) {
                return;
            }
        }
        self.reap_except_leftovers();
    }

    /// Leaders that are not to be reaped yet would be found again and again: the others are
    /// asked for by number. Ours say themselves when they have ended, where there are pidfds.
    fn reap_except_leftovers(&mut self) {
        let Ok(mut others) = own_children() else { return };
        for (_, group) in self.programs.doomed.groups.iter() {
            others.remove(&group.pid);
        }
        if process::has_pidfds() {
            self.sessions.table.without_programs(&mut others);
        }
        for pid in others {
            if matches!(process::ended(Some(pid), false), Ok(Some(_))) {
                self.reap_found(pid);
            }
        }
    }

    /// Whether a child is one that we have started; not a program.
    pub(in crate::server) fn is_ours(&self, pid: i32) -> bool {
        self.programs.doomed.groups.iter().any(|(_, group)| group.pid == pid)
            || self.upgrading.is_trial(Pid::from_raw(pid))
            || self.sessions.connecting.has(pid)
            || self.sessions.workers.has(pid)
            || self.programs.spawner.has_spare(pid)
            || self.reloading.has_loader(pid)
            || self.services.naming.has_seeker(pid)
    }

    /// Reaps a child that has ended; false if it is still there.
    fn reap_found(&mut self, pid: i32) -> bool {
        if self.programs.doomed.groups.iter().any(|(_, group)| group.pid == pid) {
            // Its number is still needed.
            return false;
        }
        if self.upgrading.is_trial(Pid::from_raw(pid)) {
            self.look_at_trial();
            return true;
        }
        let ours = self.sessions.table.each_program().find(|(.., child)| child.pid == pid);
        if let Some((key, ..)) = ours {
            self.reap_if_ended(key);
            return true;
        }
        if self.sessions.connecting.has(pid) {
            self.look_at_connectors();
            return !self.sessions.connecting.has(pid);
        }
        if self.sessions.workers.has(pid) {
            return self.reap_found_worker(pid);
        }
        if self.programs.spawner.reap_if_spare(pid) {
            return true;
        }
        if let Some(loader) = self.reloading.loader().filter(|it| it.pid() == pid) {
            loader.reap_if_ended();
            self.reloading.announced();
            return true;
        }
        if self.services.naming.reap_if_seeker(pid) {
            return true;
        }
        let Ok(Some((_, ending))) = process::ended(Some(pid), true) else { return false };
        self.sessions.closing.adopted.forget(pid);
        events::orphan(pid, end_of(ending));
        true
    }
}

/// Whether orphans can be told from leaders that are kept unreaped.
pub(super) fn can_be_told_apart() -> bool {
    own_children().is_ok()
}
