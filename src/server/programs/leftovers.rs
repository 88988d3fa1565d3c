//! What programs leave behind whose service says `leftovers = end`: their whole session is
//! told to end, and killed after a while.
//!
//! Who that is only /proc tells, which takes a while where there are many processes. So one
//! look is for all who have ended since the last, and looking takes a tenth of the time at
//! most. A program stays unreaped until nothing is left of it: its number names the session.

mod turns;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::process_sessions::signal_group;
use super::process_sessions::{Member, signal_member};
use crate::config::model::{Leftovers, LogOnSuccess};
use crate::log::events::{self, Label};
use crate::net::address::Address;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::slab::Slab;
use crate::server::reactor::timers::Timer;
use crate::server::sessions::closing::EndedProgram;
use crate::server::sessions::closing::KeptConnection;
use crate::server::state::ProgramStage;

/// How soon it is looked whether those who were told have ended; each time it takes twice as
/// long, up to a second: clients, and a server that drains, may wait for that.
const FIRST: Duration = Duration::from_millis(20);

/// Groups that are given time after their leader's end; with more than that, they
/// are killed at once.
pub(super) const GROUPS: usize = 256;

/// What is left of a program besides its process group.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct Remains {
    label: Label,
    peer: Address,
    log: LogOnSuccess,
    /// Who has had TERM.
    told: TermSent,
    /// When it is looked for the next time, and how long after that.
    #[serde(skip, default = "Instant::now")]
    pub(in crate::server) look: Instant,
    #[serde(skip, default = "first")]
    pause: Duration,
    /// How often they have had KILL.
    #[serde(skip)]
    kills: u32,
    /// How often nobody has been found, one look after the other.
    #[serde(skip)]
    in_vain: u32,
    /// The program's connection, if somebody has it still.
    kept: Option<KeptConnection>,
}

fn first() -> Duration {
    FIRST
}

/// Who of a session has had TERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum TermSent {
    /// It has not been looked who is there.
    Nobody,
    /// The process group of its leader.
    Group,
    /// All of them.
    Everybody,
}

impl Remains {
    fn new(of: (Label, Address, LogOnSuccess), told: TermSent, look: Instant) -> Self {
        let (label, peer, log) = of;
        Self { label, peer, log, told, look, pause: FIRST, kills: 0, in_vain: 0, kept: None }
    }
}

/// What is left of a program that ran for too long: its number, which stays its own
/// until it is reaped, and perhaps others in its group.
#[derive(Debug)]
pub(in crate::server) struct DoomedGroup {
    pub(in crate::server) pid: i32,
    /// Until when the others have time.
    pub(in crate::server) due: Instant,
    /// Its whole session is to end.
    pub(in crate::server) remains: Option<Box<Remains>>,
}

/// What is left of all programs that have ended and are not reaped yet.
#[derive(Debug)]
pub(in crate::server) struct Left {
    pub(in crate::server) groups: Slab<DoomedGroup>,
    /// When it is looked who is left of sessions.
    due: Option<Instant>,
    not_before: Option<Instant>,
}

impl Default for Left {
    fn default() -> Self {
        Self { groups: Slab::new(), due: None, not_before: None }
    }
}

impl ProgramStage {
    /// Its number is still needed when it has ended, so it is not reaped at once.
    pub(super) fn keeps_its_number(&self) -> bool {
        self.overdue || self.ends_its_leftovers()
    }

    pub(super) fn ends_its_leftovers(&self) -> bool {
        self.terms.leftovers == Leftovers::End
    }
}

impl Remains {
    /// TERM to everybody who has not had it. Whoever is born meanwhile gets KILL.
    fn tell(&mut self, leader: i32, members: &[Member]) {
        let before = std::mem::replace(&mut self.told, TermSent::Everybody);
        let untold = match before {
            TermSent::Nobody => members.len(),
            TermSent::Group => members.iter().filter(|member| !member.in_group).count(),
            TermSent::Everybody => 0,
        };
        if untold == 0 {
            return;
        }
        self.say(leader, "TERM", untold);
        if before == TermSent::Nobody {
            terminate_group(leader);
        }
        for member in members.iter().filter(|member| !member.in_group) {
            signal_member(leader, member.pid, Signal::SIGTERM);
            signal_member(leader, member.pid, Signal::SIGCONT);
        }
    }

    fn kill(&mut self, leader: i32, members: &[Member]) {
        if self.kills == 0 {
            self.say(leader, "KILL", members.len());
            self.pause = FIRST;
        }
        self.kills = self.kills.saturating_add(1);
        // At once, so that nobody in it has a child meanwhile.
        let _ = signal_group(leader, Signal::SIGKILL);
        for member in members.iter().filter(|member| !member.in_group) {
            signal_member(leader, member.pid, Signal::SIGKILL);
        }
    }

    fn say(&self, leader: i32, signal: &str, processes: usize) {
        let how = (signal, processes);
        events::leftovers(&self.label, self.peer, leader, how, self.log);
    }
}

/// A process that is stopped does not hear the signal.
fn terminate_group(leader: i32) {
    let _ = signal_group(leader, Signal::SIGTERM);
    let _ = signal_group(leader, Signal::SIGCONT);
}

impl Left {
    /// Somebody has the connection of a program that has ended. If he is to end, too, it is
    /// closed afterwards so that the client gets all of the answer.
    pub(in crate::server) fn keep_for_leftovers(&mut self, ended: EndedProgram) {
        let EndedProgram { pid, kept, .. } = ended;
        let group = self.groups.iter().find(|(_, group)| group.pid == pid);
        let key = group.map(|(key, _)| key);
        let group = key.and_then(|key| self.groups.get_mut(key));
        if let Some(remains) = group.and_then(|group| group.remains.as_mut()) {
            remains.kept = Some(kept);
        }
    }

    /// Whether something is left that is to end.
    pub(in crate::server) fn ends_leftovers(&self) -> bool {
        self.groups.iter().any(|(_, group)| group.remains.is_some())
    }

    fn leaders(&self) -> HashSet<i32> {
        let held = self.groups.iter().filter(|(_, group)| group.remains.is_some());
        held.map(|(_, group)| group.pid).collect()
    }

    /// Those that are held, and whether they have time still: with too many of them the first
    /// have none.
    fn in_the_order_of_time(&self, now: Instant) -> Vec<(Key, bool)> {
        let held = self.groups.iter().filter(|(_, group)| group.remains.is_some());
        let mut held: Vec<(Instant, Key)> = held.map(|(key, group)| (group.due, key)).collect();
        held.sort_unstable();
        let excess = self.groups.len().saturating_sub(GROUPS);
        let places = held.into_iter().enumerate();
        places.map(|(place, (due, key))| (key, place >= excess && due > now)).collect()
    }

    pub(in crate::server::programs) fn look_at(&mut self, when: Instant, reactor: &mut Reactor) {
        let when = self.not_before.map_or(when, |earliest| earliest.max(when));
        if self.due.is_some_and(|due| due <= when) {
            return;
        }
        if let Some(due) = self.due.replace(when) {
            reactor.timers.cancel(due, Timer::Leftovers);
        }
        reactor.timers.set(when, Timer::Leftovers);
    }
}
