//! Programs that run for too long: TERM to the whole process group, KILL after a while.
//!
//! A signal goes to a group by the number of its leader, which may be somebody else's
//! as soon as the leader has been reaped. So a leader that ends before its group had
//! its time is told of as usual, but stays unreaped until the group has been killed.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::leftovers::{DoomedGroup, GROUPS};
use super::orphans;
use super::process_sessions::signal_group;
use crate::config::model::OnStop;
use crate::log::events;
use crate::server::Server;
use crate::server::programs::Programs;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::sessions::Sessions;
use crate::server::sessions::idling::IDLE;
use crate::server::sessions::session::Client;
use crate::server::sessions::session::SessionTable;
use crate::server::state::ProgramStage;

impl Server {
    /// The server stops: nobody will be there to kill those who had TERM.
    pub(in crate::server) fn finish_overdue(&mut self) {
        for (_, _, child) in self.sessions.table.each_program().filter(|(.., it)| it.overdue) {
            let _ = signal_group(child.pid, Signal::SIGKILL);
        }
        self.finish_sessions();
        for key in self.programs.doomed.groups.keys() {
            self.programs.end_group(key);
        }
    }
}

impl Sessions {
    /// A program has had its time: TERM, or KILL if it has had that.
    pub(in crate::server) fn overdue(&mut self, key: Key, reactor: &mut Reactor) {
        let Some((client, child)) = self.table.program_mut(key) else { return };
        let name = if child.overdue { "KILL" } else { "TERM" };
        let is_idle = child.watched.as_ref().is_some_and(|watched| watched.is_over);
        let how = (name, is_idle.then_some(IDLE));
        events::timeout(&client.label, client.peer, child.pid, how, client.log);
        if child.overdue {
            child.deadline = None;
            return self.table.kill(key, reactor);
        }
        self.terminate(key, reactor);
    }

    /// A program is to end: TERM now, KILL if that does not help in time.
    pub(in crate::server) fn end_child(&mut self, key: Key, reactor: &mut Reactor) {
        let Some((_, child)) = self.table.program_mut(key) else { return };
        if child.overdue {
            return;
        }
        if let Some(deadline) = child.deadline.take() {
            reactor.timers.cancel(deadline, Timer::Overdue(key));
        }
        self.terminate(key, reactor);
    }

    /// What `on_stop` says for a program whose service goes or whose server stops.
    pub(in crate::server) fn stop_child(&mut self, key: Key, reactor: &mut Reactor) {
        if self.table.program(key).is_some_and(|child| child.terms.on_stop == OnStop::Terminate) {
            self.end_child(key, reactor);
        }
    }

    /// Its client may take what it says until then for a part, but not for the whole.
    fn terminate(&mut self, key: Key, reactor: &mut Reactor) {
        let program = self.table.program(key);
        self.workers.break_off(program.map(|program| &program.front));
        self.table.terminate(key, reactor);
    }
}

impl SessionTable {
    fn terminate(&mut self, key: Key, reactor: &mut Reactor) {
        let Some((client, child)) = self.program_mut(key) else { return };
        if let Err(error) = signal_group(child.pid, Signal::SIGTERM) {
            // It has become another user, by a set-user-id program.
            events::trouble(&client.label, "kill", &error);
        }
        // A program that is stopped does not hear the signal.
        let _ = signal_group(child.pid, Signal::SIGCONT);
        child.overdue = true;
        let deadline = reactor.now + child.terms.kill_after;
        child.deadline = Some(deadline);
        reactor.timers.set(deadline, Timer::Overdue(key));
    }
}

impl Programs {
    /// The leader of a group that has had TERM, or of a session that is to end with it, has
    /// ended; it is not reaped yet. The others have the rest of their time.
    pub(super) fn hold_group(
        &mut self,
        (client, child): (&Client, &ProgramStage),
        sees_every_end: bool,
        reactor: &mut Reactor,
    ) {
        // As process 1 we look for whoever has ended, and might find it again and again.
        let can_wait = || !sees_every_end || orphans::can_be_told_apart();
        match child.deadline {
            _ if child.ends_its_leftovers() && can_wait() => {
                self.hold_session(client, child, reactor)
            }
            Some(due) if self.doomed.groups.len() < GROUPS && can_wait() => {
                self.keep_group(DoomedGroup { pid: child.pid, due, remains: None }, reactor);
            }
            _ => self.kill_and_reap(child.pid),
        }
    }

    pub(in crate::server) fn keep_group(&mut self, group: DoomedGroup, reactor: &mut Reactor) {
        let (due, look) = (group.due, group.remains.as_ref().map(|it| it.look));
        let key = self.doomed.groups.insert(group);
        match look {
            Some(look) => self.doomed.look_at(look, reactor),
            None => reactor.timers.set(due, Timer::Group(key)),
        }
    }

    fn kill_and_reap(&mut self, pid: i32) {
        // The leader has ended: nobody else is meant by its number.
        let _ = kill(Pid::from_raw(pid.saturating_neg()), Signal::SIGKILL);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let _ = waitid(Id::Pid(Pid::from_raw(pid)), flags);
        self.spawner.reaped(pid);
    }

    /// The others have had their time.
    pub(in crate::server) fn end_group(&mut self, key: Key) {
        if let Some(group) = self.doomed.groups.remove(key) {
            self.kill_and_reap(group.pid);
        }
    }
}
