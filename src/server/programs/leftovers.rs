//! What programs leave behind whose service says `leftovers = end`: their whole session is
//! told to end, and killed after a while.
//!
//! Who that is only /proc tells, which takes a while where there are many processes. So one
//! look is for all who have ended since the last, and looking takes a tenth of the time at
//! most. A program stays unreaped until nothing is left of it: its number names the session.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::process_sessions::{Member, SessionMembers, members_of, signal_member};
use super::time_limits::{DoomedGroup, GROUPS, signal_group};
use crate::config::model::{Leftovers, LogOnSuccess};
use crate::log::events::{self, Label};
use crate::net::address::Address;
use crate::server::Server;
use crate::server::reactor::slab::{Key, Slab};
use crate::server::reactor::timers::Timer;
use crate::server::sessions::closing::{EndedProgram, KeptConnection};
use crate::server::sessions::session::Client;
use crate::server::state::ProgramStage;

/// How soon it is looked whether those who were told have ended; each time it takes twice as
/// long, up to a second: clients, and a server that drains, may wait for that.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
/// After so many looks that have found nobody there is nobody, if they cannot tell for certain.
const IN_VAIN: u32 = 3;
/// After so many signals that end everybody, whoever is there is left alone: we may not signal
/// it, or the kernel does not let it end.
const KILLS: u32 = 10;
/// For so many times as long as a look has taken there is no other.
const REST: u32 = 9;
/// The shortest and the longest rest.
const RESTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// Looks for those who are still being born when the server stops.
const LAST_LOOKS: usize = 8;

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

impl Server {
    /// A program has ended, and is not reaped yet: its session is to end, too.
    pub(super) fn hold_session(&mut self, client: &Client, child: &ProgramStage) {
        let (due, told) = match child.overdue {
            true => (child.deadline.unwrap_or(self.reactor.now), TermSent::Group),
            false => (self.reactor.now + child.terms.kill_after, TermSent::Nobody),
        };
        let of = (client.label.clone(), client.peer, client.log);
        let remains = Remains::new(of, told, self.reactor.now);
        self.keep_group(DoomedGroup { pid: child.pid, due, remains: Some(Box::new(remains)) });
    }

    /// Somebody has the connection of a program that has ended. If he is to end, too, it is
    /// closed afterwards so that the client gets all of the answer.
    pub(in crate::server) fn keep_for_leftovers(&mut self, ended: EndedProgram) {
        let EndedProgram { pid, kept } = ended;
        let group = self.programs.doomed.groups.iter().find(|(_, group)| group.pid == pid);
        let key = group.map(|(key, _)| key);
        let group = key.and_then(|key| self.programs.doomed.groups.get_mut(key));
        if let Some(remains) = group.and_then(|group| group.remains.as_mut()) {
            remains.kept = Some(kept);
        }
    }

    /// Connections of which somebody may have let go since the last look are closed then.
    fn close_what_was_kept(&mut self) {
        for key in self.programs.doomed.groups.keys() {
            let Some(group) = self.programs.doomed.groups.get_mut(key) else { continue };
            let kept = group.remains.as_mut().and_then(|remains| remains.kept.take());
            let ended = kept.map(|kept| EndedProgram { pid: group.pid, kept });
            if let Some(ended) = ended {
                self.close_ended(ended);
            }
        }
    }

    /// Whether something is left that is to end.
    pub(in crate::server) fn ends_leftovers(&self) -> bool {
        self.programs.doomed.groups.iter().any(|(_, group)| group.remains.is_some())
    }

    pub(super) fn look_for_leftovers_at(&mut self, when: Instant) {
        let when = self.programs.doomed.not_before.map_or(when, |earliest| earliest.max(when));
        if self.programs.doomed.due.is_some_and(|due| due <= when) {
            return;
        }
        if let Some(due) = self.programs.doomed.due.replace(when) {
            self.reactor.timers.cancel(due, Timer::Leftovers);
        }
        self.reactor.timers.set(when, Timer::Leftovers);
    }

    /// Looks who is left of all programs that have ended.
    pub(in crate::server) fn look_for_leftovers(&mut self) {
        self.programs.doomed.due = None;
        let leaders = self.leaders();
        if leaders.is_empty() {
            return;
        }
        let began = Instant::now();
        if self.sessions.closing.adopts() {
            // They have come to us when they lost the program.
            self.reap_orphans();
        }
        self.close_what_was_kept();
        let look = members_of(&leaders);
        self.forget_the_gone(&look);
        for (key, has_time) in self.in_the_order_of_time() {
            self.end_session(key, has_time, &look.found);
        }
        let rest = began.elapsed().saturating_mul(REST).clamp(RESTS.0, RESTS.1);
        self.programs.doomed.not_before = Some(Instant::now() + rest);
        let looks = self
            .programs
            .doomed
            .groups
            .iter()
            .filter_map(|(_, group)| Some(group.remains.as_ref()?.look));
        if let Some(next) = looks.min() {
            self.look_for_leftovers_at(next);
        }
    }

    fn leaders(&self) -> HashSet<i32> {
        let held = self.programs.doomed.groups.iter().filter(|(_, group)| group.remains.is_some());
        held.map(|(_, group)| group.pid).collect()
    }

    /// Reaps those of whom nothing is left.
    fn forget_the_gone(&mut self, look: &SessionMembers) {
        for key in self.programs.doomed.groups.keys() {
            let Some(group) = self.programs.doomed.groups.get_mut(key) else { continue };
            let Some(remains) = &mut group.remains else { continue };
            if look.found.get(&group.pid).is_none_or(|members| !members.is_empty()) {
                remains.in_vain = 0;
                continue;
            }
            remains.in_vain = remains.in_vain.saturating_add(1);
            if look.is_whole || remains.in_vain >= IN_VAIN {
                self.end_group(key);
            }
        }
    }

    /// Those that are held, and whether they have time still: with too many of them the first
    /// have none.
    fn in_the_order_of_time(&self) -> Vec<(Key, bool)> {
        let held = self.programs.doomed.groups.iter().filter(|(_, group)| group.remains.is_some());
        let mut held: Vec<(Instant, Key)> = held.map(|(key, group)| (group.due, key)).collect();
        held.sort_unstable();
        let excess = self.programs.doomed.groups.len().saturating_sub(GROUPS);
        let places = held.into_iter().enumerate();
        places.map(|(place, (due, key))| (key, place >= excess && due > self.reactor.now)).collect()
    }

    fn end_session(&mut self, key: Key, has_time: bool, found: &HashMap<i32, Vec<Member>>) {
        let Some(group) = self.programs.doomed.groups.get_mut(key) else { return };
        let (pid, due, now) = (group.pid, group.due, self.reactor.now);
        let Some(remains) = &mut group.remains else { return };
        let Some(members) = found.get(&pid) else {
            // All that is known is the group.
            if !has_time {
                return self.end_group(key);
            }
            if remains.told == TermSent::Nobody {
                terminate_group(pid);
            }
            (remains.told, remains.look) = (TermSent::Everybody, due);
            return;
        };
        if !has_time && remains.kills >= KILLS {
            events::trouble(&remains.label, "kill", &"something that is left does not end");
            return self.end_group(key);
        }
        if has_time && members.is_empty() {
            remains.look = now + FIRST;
            return;
        }
        if has_time {
            remains.tell(pid, members);
            remains.look = (now + remains.pause).min(due);
        } else {
            remains.kill(pid, members);
            remains.look = now + remains.pause;
        }
        remains.pause = remains.pause.saturating_mul(2).min(LONGEST);
    }

    /// The server stops: kills what is left of programs that have ended, or that have had TERM.
    pub(super) fn finish_sessions(&mut self) {
        let mut leaders = self.leaders();
        let programs = self.sessions.table.each_program();
        let ending = programs.filter(|(.., it)| it.overdue && it.ends_its_leftovers());
        leaders.extend(ending.map(|(.., child)| child.pid));
        if leaders.is_empty() {
            return;
        }
        for leader in &leaders {
            let _ = signal_group(*leader, Signal::SIGKILL);
        }
        let mut killed = HashSet::new();
        for _ in 0..LAST_LOOKS {
            let before = killed.len();
            for (leader, members) in members_of(&leaders).found {
                for member in members.into_iter().filter(|it| killed.insert(it.pid)) {
                    signal_member(leader, member.pid, Signal::SIGKILL);
                }
            }
            if killed.len() == before {
                return;
            }
        }
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
