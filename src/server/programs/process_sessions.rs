//! Who is in the session of a program that has ended: looked for in /proc.
//!
//! A program leads a session of its own. Whoever it starts is in it, in its process group or
//! in another, unless he makes one for himself (setsid(2)). The number of a session is its
//! leader's, and nobody else's for as long as that one has not been reaped.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getsid};

use super::children::own_children;
use crate::sys::proc::{is_ours, others, stat_of};
use crate::sys::process;
use nix::errno::Errno;

/// How often it is looked at our own children where others are born all the time.
const LOOKS_AT_CHILDREN: usize = 3;

/// A process that runs in a session which it does not lead.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Member {
    pub(in crate::server) pid: i32,
    /// It is in the process group of the leader.
    pub(in crate::server) in_group: bool,
}

/// What a look at all processes has found.
#[derive(Debug, Default)]
pub(in crate::server) struct SessionMembers {
    /// Who runs in which session besides its leader. What is not there is not known: a /proc
    /// that is not ours, or that does not even show us the leader.
    pub(super) found: HashMap<i32, Vec<Member>>,
    /// Nobody has been born meanwhile. Else one who was may have lost his parent before that
    /// one was looked at, and have come after those were read who are looked at.
    pub(super) is_whole: bool,
}

/// Who runs in which of these sessions. One call of the system for each process that there is.
pub(super) fn members_of(leaders: &HashSet<i32>) -> SessionMembers {
    if !is_ours() {
        return SessionMembers::default();
    }
    let before = youngest();
    let mut found = look_for(leaders);
    let is_whole = before.is_some() && before == youngest();
    if !is_whole {
        (0..LOOKS_AT_CHILDREN).for_each(|_| add_orphans(&mut found));
    }
    SessionMembers { found, is_whole }
}

/// Whoever is born while his parent ends, again and again, is missed by those who read of all
/// processes; but he is our child at once, and reading of those takes no time.
fn add_orphans(found: &mut HashMap<i32, Vec<Member>>) {
    if found.values().all(|members| !members.is_empty()) {
        return;
    }
    let children = own_children().unwrap_or_default();
    for pid in children {
        let Some(leader) = session_of(pid).filter(|leader| *leader != pid) else { continue };
        let Some(members) = found.get_mut(&leader) else { continue };
        if members.iter().all(|member| member.pid != pid) && !has_ended(pid) {
            members.push(member_of(leader, pid));
        }
    }
}

fn member_of(leader: i32, pid: i32) -> Member {
    let group = getpgid(Some(Pid::from_raw(pid)));
    Member { pid, in_group: group == Ok(Pid::from_raw(leader)) }
}

/// The number that was given last (proc(5), loadavg).
fn youngest() -> Option<i32> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().nth(4)?.parse().ok()
}

fn look_for(leaders: &HashSet<i32>) -> HashMap<i32, Vec<Member>> {
    let mut found: HashMap<i32, Vec<Member>> = HashMap::new();
    for pid in others() {
        let Some(leader) = session_of(pid).filter(|leader| leaders.contains(leader)) else {
            // One that has failed before it had a session.
            if leaders.contains(&pid) {
                found.entry(pid).or_default();
            }
            continue;
        };
        let members = found.entry(leader).or_default();
        if pid != leader && !has_ended(pid) {
            members.push(member_of(leader, pid));
        }
    }
    found
}

/// Sends a signal to a member, and to nobody who has its number after it. What cannot be told
/// by a pidfd, for want of descriptors, is told by its number at once.
pub(super) fn signal_member(leader: i32, pid: i32, signal: Signal) {
    let pidfd = process::open_pidfd(pid);
    if session_of(pid) != Some(leader) {
        return;
    }
    let _ = match pidfd {
        Ok(pidfd) => process::signal_through(&pidfd, signal).is_ok(),
        Err(_) => kill(Pid::from_raw(pid), signal).is_ok(),
    };
}

/// Sends a signal to the group of a program that has not been reaped; to itself if it
/// has no group yet.
pub(in crate::server) fn signal_group(pid: i32, signal: Signal) -> nix::Result<()> {
    match kill(Pid::from_raw(pid.saturating_neg()), signal) {
        Err(Errno::ESRCH) => kill(Pid::from_raw(pid), signal),
        other => other,
    }
}

fn session_of(pid: i32) -> Option<i32> {
    getsid(Some(Pid::from_raw(pid))).ok().map(Pid::as_raw)
}

/// Whether it has only not been reaped; false if we may not know.
fn has_ended(pid: i32) -> bool {
    match stat_of(pid) {
        Ok(stat) => stat.has_ended,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn whoever_runs_in_a_session_is_found_and_nobody_else() {
        let script = "set -m; sleep 600 & echo $!; set +m; sleep 600 & echo $!; \
                      setsid sleep 600 & echo $!; exec sleep 600";
        let mut command = Command::new("setsid");
        command.args(["--wait", "bash", "-c", script]).stdout(Stdio::piped());
        let mut leader = command.stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(leader.stdout.take().unwrap()).lines();
        let pids: Vec<i32> = lines.take(3).map(|line| line.unwrap().parse().unwrap()).collect();
        let [job, same, other] = pids[..] else {
            // Not everywhere is a shell with job control where there is no terminal.
            leader.wait().unwrap();
            return;
        };
        let session = session_of(same).unwrap();
        let own = session_of(other);
        let mut found = members_of(&HashSet::from([session, i32::MAX])).found;
        let members = found.remove(&session).unwrap();
        let has = |pid: i32, in_group| members.contains(&Member { pid, in_group });
        assert!(has(job, false) && has(same, true), "{members:?} {pids:?}");
        // It may not have made its own yet.
        assert!(own == Some(session) || !members.iter().any(|it| it.pid == other));
        assert!(found.is_empty(), "{found:?}");
        for member in members {
            signal_member(session, member.pid, Signal::SIGKILL);
        }
        let _ = kill(Pid::from_raw(other), Signal::SIGKILL);
        let _ = kill(Pid::from_raw(session), Signal::SIGKILL);
        leader.wait().unwrap();
    }
}
