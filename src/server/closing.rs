//! Connections whose programs have ended, closed so that the client gets all of the answer.
//!
//! Closing a connection on which something is unread resets it, and the reset can overtake
//! what is on its way: a client whose request was not read loses the answer. So the server
//! keeps a copy of a program's connection. When the program has ended and closing would cost
//! the client something, the server says that nothing more will come and throws away what the
//! client still sends, until that closes, too ([banners](super::banners)).
//!
//! A connection that something still uses is left to it: what is left of the program's group,
//! and whoever has made a group or a session of his own. Whatever loses its parent comes to
//! this server, which is a subreaper for that (prctl(2)): a process that has come so, and is
//! younger than the program, may be the program's. Where nobody can tell, nothing is done.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::kill;
use nix::sys::socket::{MsgFlags, recv};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::Server;
use super::orphans::{own_children, own_children_up_to};
use super::slab::Key;
use super::state::Child;
use crate::config::model::{Linger, Service, SocketType};
use crate::spawn::kernel::tcp;

/// With more children, or more who have lost their parents, nobody is looked for among them.
const MOST_CHILDREN: usize = 4096;
const MOST_ORPHANS: usize = 64;
/// Children that are no programs and whom nobody counts there: more than there are at once.
const HELPERS: usize = 128;

/// Fields of /proc/PID/stat after the name: the state, the threads, and when it was started.
const STATE: usize = 0;
const THREADS: usize = 17;
const STARTED: usize = 19;

/// A copy of a program's connection.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) socket: OwnedFd,
    pub(super) linger: Linger,
    /// When the program was about to be started, since the system was.
    pub(super) since: Duration,
}

impl Kept {
    /// What is kept of what a program has got that was about to be started at `before`.
    pub(super) fn of(socket: OwnedFd, service: &Service, before: Instant) -> Option<Self> {
        keeps(service).then(|| Self {
            socket,
            linger: service.attributes.linger,
            since: since_boot().saturating_sub(before.elapsed()),
        })
    }

    /// Whether closing it now would cost the client something of the answer.
    fn would_lose(&self) -> bool {
        if self.linger == Linger::No {
            return false;
        }
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(self.socket.as_raw_fd(), &mut [0], look) {
            // It has closed, and will send nothing more.
            Ok(0) => false,
            Ok(_) => true,
            // What it sends while it is still being sent something would reset it, too.
            Err(Errno::EAGAIN) => self.linger == Linger::Yes || tcp::has_unsent(&self.socket),
            Err(_) => false,
        }
    }
}

/// Whether the connections of a service's programs are kept.
fn keeps(service: &Service) -> bool {
    let attributes = &service.attributes;
    let is_wanted = attributes.linger != Linger::No || attributes.idle_timeout.is_some();
    is_wanted && !service.wait && service.socket_type != SocketType::Dgram
}

/// Programs that have ended, and what is kept of them.
#[derive(Debug, Default)]
pub(super) struct Closing {
    ended: Vec<(i32, Kept)>,
    /// Clients that are on their way out, the longest there first ([banners](super::banners)).
    pub(super) dismissed: VecDeque<Key>,
    /// Whoever loses its parent comes to us.
    adopts: bool,
}

impl Closing {
    pub(super) fn adopts(&self) -> bool {
        self.adopts
    }
}

/// What is left of programs that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nobody can tell.
    Unknown,
    Nothing,
    /// The youngest of it began then, since the system did.
    Since(Duration),
}

impl Left {
    /// Whether nothing of it can be of a program that began then.
    fn is_older_than(self, program: Duration) -> bool {
        match self {
            Self::Unknown => false,
            Self::Nothing => true,
            Self::Since(began) => began.saturating_add(tick()) < program,
        }
    }
}

impl Server {
    /// Whether connections of programs of some service are kept.
    pub(super) fn keeps_connections(&self) -> bool {
        self.services.iter().any(|(_, state)| state.prepared.is_some() && keeps(&state.service))
    }

    /// Whoever loses its parent comes to us, if connections are kept.
    pub(super) fn adopt_orphans(&mut self) {
        if !self.closing.adopts && self.keeps_connections() {
            self.closing.adopts = set_child_subreaper(true).is_ok();
        }
    }

    /// A program has ended.
    pub(super) fn close_kept(&mut self, child: Child) {
        if let Some(kept) = child.kept
            && self.closing.adopts
            && kept.would_lose()
        {
            self.closing.ended.push((child.pid, kept));
        }
    }

    /// Closes what programs that have ended in this turn have left, in the client's time where
    /// nothing else has it.
    pub(super) fn close_what_ended(&mut self) {
        if self.closing.ended.is_empty() {
            return;
        }
        // What has ended is not left.
        self.reap_orphans();
        let left = self.left();
        for (pid, kept) in std::mem::take(&mut self.closing.ended) {
            if left.is_older_than(kept.since) && has_no_group(pid) {
                self.close_slowly(kept.socket);
            }
        }
    }

    /// How many processes have come to us; none if nobody can tell.
    pub(super) fn left_behind(&self) -> Option<usize> {
        self.adopted(own_children().ok()).map(|pids| pids.len())
    }

    /// Those of our children that we have not started.
    fn adopted(&self, children: Option<HashSet<i32>>) -> Option<HashSet<i32>> {
        let mut pids = children.filter(|_| self.closing.adopts)?;
        for (_, child) in self.children.iter() {
            pids.remove(&child.pid);
        }
        pids.retain(|pid| !self.is_ours(*pid));
        Some(pids)
    }

    fn left(&self) -> Left {
        if self.children.len() > MOST_CHILDREN {
            return Left::Unknown;
        }
        let most = self.children.len().saturating_add(MOST_ORPHANS).saturating_add(HELPERS);
        let few = self.adopted(own_children_up_to(most)).filter(|pids| pids.len() <= MOST_ORPHANS);
        let Some(pids) = few else { return Left::Unknown };
        let began: Result<Vec<_>, ()> = pids.into_iter().filter_map(began).collect();
        began.map_or(Left::Unknown, |began| {
            began.into_iter().max().map_or(Left::Nothing, Left::Since)
        })
    }
}

/// Whether the group of a program that has been reaped is empty. Its number may be another's
/// by now, whose connection this is not.
fn has_no_group(pid: i32) -> bool {
    kill(Pid::from_raw(pid.saturating_neg()), None) == Err(Errno::ESRCH)
}

/// When a process began, since the system did; none if it is there no more.
fn began(pid: i32) -> Option<Result<Duration, ()>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => Some(began_by(&stat)?.ok_or(())),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
        Err(_) => Some(Err(())),
    }
}

/// The same by what the system says of it; the outer none for one that has ended.
#[allow(clippy::option_option, reason = "ended, and unreadable")]
fn began_by(stat: &[u8]) -> Option<Option<Duration>> {
    // A name may have anything in it.
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { return Some(None) };
    let rest = String::from_utf8_lossy(stat.get(end.saturating_add(1)..).unwrap_or_default());
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Its first thread may have ended, and others go on.
    let is_alone = fields.get(THREADS).is_none_or(|threads| matches!(*threads, "0" | "1"));
    if is_alone && fields.get(STATE).is_some_and(|state| matches!(*state, "Z" | "X")) {
        return None;
    }
    let ticks = fields.get(STARTED).and_then(|field| field.parse::<u64>().ok());
    // A system may run for longer than 32 bits of them last.
    Some(ticks.map(|ticks| {
        let nanos = tick().as_nanos().saturating_mul(ticks.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }))
}

/// In what the system counts there.
fn tick() -> Duration {
    let in_a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let in_a_second = in_a_second.and_then(|number| u32::try_from(number).ok());
    Duration::from_secs(1).checked_div(in_a_second.unwrap_or(100)).unwrap_or_default()
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_process_began_is_read_whatever_its_name() {
        let after = "S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 1234 5 6";
        for name in ["sh", "a) Z 1", "(x y)"] {
            let stat = format!("42 ({name}) {after}");
            assert_eq!(began_by(stat.as_bytes()), Some(Some(tick() * 1234)), "{name}");
        }
        assert_eq!(began_by(b"42 (sh) Z 1 7 7"), None);
        let ended = |threads: u32| {
            let stat = format!("42 (sh) Z 1 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 {threads} 0 1234 5 6");
            began_by(stat.as_bytes()).is_none()
        };
        assert_eq!((ended(1), ended(2)), (true, false));
        let late = after.replace("1234", "5000000000");
        let late = began_by(format!("42 (sh) {late}").as_bytes());
        assert_eq!(late, Some(Some(tick() * 1_000_000_000 * 5)), "after more than 497 days");
        assert_eq!(began_by(b"42 (sh) S 1"), Some(None));
        assert_eq!(began_by(b""), Some(None));
    }

    #[test]
    fn this_process_began_before_now() {
        let own = began(std::process::id().try_into().unwrap());
        let own = own.unwrap().unwrap();
        assert!(own > Duration::ZERO && own <= since_boot());
    }

    #[test]
    fn what_may_be_of_a_program_is_left() {
        let program = Duration::from_secs(100);
        assert!(Left::Nothing.is_older_than(program));
        assert!(!Left::Unknown.is_older_than(program));
        assert!(Left::Since(Duration::from_secs(99)).is_older_than(program));
        for began in [program, program + tick(), program - tick()] {
            assert!(!Left::Since(began).is_older_than(program));
        }
    }
}
