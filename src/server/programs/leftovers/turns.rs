//! When it is looked who is left, and who is told and ended then.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{DoomedGroup, FIRST, Remains, TermSent, terminate_group};
use crate::log::events;
use crate::server::Server;
use crate::server::programs::Programs;
use crate::server::programs::process_sessions::signal_group;
use crate::server::programs::process_sessions::{
    Member, SessionMembers, members_of, signal_member,
};
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::sessions::closing::EndedProgram;
use crate::server::sessions::session::Client;
use crate::server::state::ProgramStage;

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

impl Server {
    /// Connections of which somebody may have let go since the last look are closed then.
    fn close_what_was_kept(&mut self) {
        for key in self.programs.doomed.groups.keys() {
            let Some(group) = self.programs.doomed.groups.get_mut(key) else { continue };
            let remains = group.remains.as_mut();
            let kept = remains.and_then(|it| Some((it.kept.take()?, it.peer.into())));
            let ended = kept.map(|(kept, whose)| EndedProgram { pid: group.pid, kept, whose });
            if let Some(ended) = ended {
                self.sessions.closing.keep(ended);
            }
        }
    }

    /// Looks who is left of all programs that have ended.
    pub(in crate::server) fn look_for_leftovers(&mut self) {
        self.programs.doomed.due = None;
        let leaders = self.programs.doomed.leaders();
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
        self.programs.forget_the_gone(&look);
        let now = self.reactor.now;
        for group in self.programs.doomed.in_the_order_of_time(now) {
            self.programs.end_session(group, &look.found, now);
        }
        let rest = began.elapsed().saturating_mul(REST).clamp(RESTS.0, RESTS.1);
        self.programs.doomed.not_before = Some(Instant::now() + rest);
        let doomed = &mut self.programs.doomed;
        let looks = doomed.groups.iter().filter_map(|(_, it)| Some(it.remains.as_ref()?.look));
        if let Some(next) = looks.min() {
            doomed.look_at(next, &mut self.reactor);
        }
    }

    /// The server stops: kills what is left of programs that have ended, or that have had TERM.
    pub(in crate::server::programs) fn finish_sessions(&mut self) {
        let mut leaders = self.programs.doomed.leaders();
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

impl Programs {
    /// A program has ended, and is not reaped yet: its session is to end, too.
    pub(in crate::server::programs) fn hold_session(
        &mut self,
        client: &Client,
        child: &ProgramStage,
        reactor: &mut Reactor,
    ) {
        let (due, told) = match child.overdue {
            true => (child.deadline.unwrap_or(reactor.now), TermSent::Group),
            false => (reactor.now + child.terms.kill_after, TermSent::Nobody),
        };
        let of = (client.label.clone(), client.peer, client.log);
        let remains = Remains::new(of, told, reactor.now);
        let remains = Some(Box::new(remains));
        self.keep_group(DoomedGroup { pid: child.pid, due, remains }, reactor);
    }

    /// Reaps those of whom nothing is left.
    fn forget_the_gone(&mut self, look: &SessionMembers) {
        for key in self.doomed.groups.keys() {
            let Some(group) = self.doomed.groups.get_mut(key) else { continue };
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

    fn end_session(
        &mut self,
        (key, has_time): (Key, bool),
        found: &HashMap<i32, Vec<Member>>,
        now: Instant,
    ) {
        let Some(group) = self.doomed.groups.get_mut(key) else { return };
        let (pid, due) = (group.pid, group.due);
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
}
