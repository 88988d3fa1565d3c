//! Programs that end with the server: TERM, then KILL after the time that their service gives
//! them, for which the server waits. Nobody is let in meanwhile.
//!
//! A second signal to stop ends the waiting. Service managers give a server a minute and a
//! half; it is not waited for longer than two thirds of that.

use std::time::Duration;

use super::leftovers::DoomedGroup;
use crate::config::model::OnStop;
use crate::log::events;
use crate::server::Server;
use crate::server::programs::Programs;
use crate::server::reactor::Reactor;
use crate::server::reactor::timers::Timer;
use crate::server::state::ProgramStage;
use crate::server::stopping::{DrainState, ServerEnding};
use crate::sys::proc::{others, stat_of};

/// The longest that the server waits for programs at its end.
const LONGEST: Duration = Duration::from_secs(60);

/// How often it is looked whether a group that has lost its leader has others.
const LOOKS: Duration = Duration::from_millis(50);

impl Server {
    /// Whether the server goes on, be it for the programs that end with it.
    pub(in crate::server) fn goes_on(&mut self) -> bool {
        if self.life.stop.is_none() {
            return true;
        }
        if self.life.ending == ServerEnding::No {
            self.begin_to_end();
        }
        self.life.ending == ServerEnding::Waits && self.waits_for_programs()
    }

    fn begin_to_end(&mut self) {
        self.life.ending = ServerEnding::Waits;
        // Those that had TERM before had their time.
        self.finish_overdue();
        let theirs = self.sessions.table.each_program().filter(|(.., it)| ends_with_us(it));
        let times: Vec<Duration> = theirs.map(|(.., child)| child.terms.kill_after).collect();
        let Some(longest) = times.iter().max() else { return };
        let running = u32::try_from(times.len()).unwrap_or(u32::MAX);
        let time = LONGEST.min(*longest);
        events::draining(time, running, None);
        self.manager.notifier.stopping();
        self.life.drain = DrainState::Until(self.reactor.now + time);
        self.reloading.stop();
        self.services.naming.stop();
        self.upgrading.give_up();
        self.turn_held_away();
        for key in self.services.listeners.keys() {
            self.shut_listener(key);
        }
    }

    /// Tells programs to end that have not been told, and whether there are any.
    fn waits_for_programs(&mut self) -> bool {
        let now = self.reactor.now;
        let waited_for = |child: &ProgramStage| ends_with_us(child) && !child.does_not_end(now);
        let theirs = self.sessions.table.programs_that(|_, child| waited_for(child));
        for key in &theirs {
            if let Some((_, child)) = self.sessions.table.program_mut(*key) {
                child.terms.kill_after = child.terms.kill_after.min(LONGEST);
            }
            self.sessions.stop_child(*key, &mut self.reactor);
        }
        !theirs.is_empty() || self.programs.waits_for_groups(&mut self.reactor)
    }
}

impl Programs {
    /// Whether others of a group live whose leader has ended; of the rest, each is over.
    fn waits_for_groups(&mut self, reactor: &mut Reactor) -> bool {
        for key in self.doomed.groups.keys() {
            // Of a session it is looked for elsewhere who is left.
            let is_over = |group: &DoomedGroup| group.remains.is_none() && !has_others(group.pid);
            if self.doomed.groups.get(key).is_some_and(is_over) {
                self.end_group(key);
            }
        }
        let waits = self.doomed.groups.len() > 0;
        if waits {
            reactor.after(LOOKS, Timer::Ending);
        }
        waits
    }
}

fn ends_with_us(child: &ProgramStage) -> bool {
    child.terms.on_stop == OnStop::Terminate
}

/// Whether somebody lives in the group of this leader, which has ended. Without /proc nobody
/// knows.
fn has_others(leader: i32) -> bool {
    let stats = others().into_iter().filter_map(|pid| stat_of(pid).ok());
    let mut living = stats.filter(|stat| !stat.has_ended);
    living.any(|stat| stat.group == Some(leader))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_lives_in_a_group_is_told_from_its_dead_leader() {
        let mut command = Command::new("sleep");
        let mut child = command.arg("600").process_group(0).stdin(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(has_others(pid) && !has_others(i32::MAX));
        child.kill().unwrap();
        while !stat_of(pid).is_ok_and(|stat| stat.has_ended) {
            std::thread::yield_now();
        }
        assert!(!has_others(pid));
        child.wait().unwrap();
    }
}
