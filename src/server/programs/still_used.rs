//! Whether somebody who is left of a program that has ended has its connection still.
//!
//! Of the program are, if anybody, those who have come to us, began after it, and whoever
//! descends from them. Their descriptors are looked at, and their children: of all threads,
//! and the descriptors first, so that who is born with the connection is among the children.
//! Meanwhile whoever loses his parent comes to us, or to one of those who have been looked at.
//! So it is done again, until nobody new is found.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use super::adopted::is_young;
use crate::server::Server;
use crate::server::services::holders::number_of;
use crate::server::sessions::closing::{EndedProgram, KeptConnection};
use crate::sys::proc::{numbers_in, numbers_of, stat_of};

/// Processes that are looked at in one round, and descriptors and threads of theirs.
const PROCESSES: usize = 256;
const ENTRIES: usize = 4096;
/// It is done as often as that; two rounds are enough where nobody comes meanwhile.
const ROUNDS: usize = 4;

/// What is known of connections.
#[derive(Debug, Default)]
struct Users {
    /// The sockets that are asked about, and those of them that somebody has.
    wanted: HashSet<u64>,
    used: HashSet<u64>,
    /// Who has been looked at.
    seen: HashSet<i32>,
    /// Of those who could not be looked at, when the youngest began.
    doubt: Option<Duration>,
    processes: usize,
    entries: usize,
}

/// It cannot be told.
#[derive(Debug, PartialEq, Eq)]
struct Unknown;

impl Server {
    /// Those of these connections that are nobody's any more, and those that are or may be.
    pub(in crate::server) fn by_use(
        &mut self,
        ended: Vec<EndedProgram>,
    ) -> (Vec<EndedProgram>, Vec<EndedProgram>) {
        let Some(since) = ended.iter().map(|it| it.kept.since).min() else { return <_>::default() };
        match self.adopted_who_run(since) {
            None => (Vec::new(), ended),
            Some(young) if young.is_empty() => (ended, Vec::new()),
            Some(young) => {
                let users = self.users_of(&ended, since, young);
                ended.into_iter().partition(|it| users.leave(&it.kept))
            }
        }
    }

    /// Those that may be of a program which began then. Usually there are none; otherwise
    /// those who have ended are reaped first.
    fn adopted_who_run(&mut self, since: Duration) -> Option<Vec<(Duration, i32)>> {
        match self.adopted_since(since) {
            Some(none) if none.is_empty() => Some(none),
            _ => {
                self.reap_orphans();
                self.adopted_since(since)
            }
        }
    }

    fn users_of(
        &mut self,
        of: &[EndedProgram],
        since: Duration,
        young: Vec<(Duration, i32)>,
    ) -> Users {
        let mut users = Users {
            wanted: of.iter().filter_map(|it| inode(&it.kept)).collect(),
            ..Users::default()
        };
        let mut roots = young;
        for _ in 0..ROUNDS {
            let is_new = users.look_at_all(&roots);
            let Some(mut now) = self.adopted_since(since) else { break };
            now.retain(|(began, _)| !users.doubts(*began));
            let is_known = now.iter().all(|(_, pid)| users.seen.contains(pid));
            if users.all_are_used() || (is_known && !is_new) {
                return users;
            }
            roots = now;
        }
        users.doubt = Some(roots.first().map_or(Duration::MAX, |(began, _)| *began));
        users
    }
}

impl Users {
    /// Whether nobody has a connection.
    fn leave(&self, kept: &KeptConnection) -> bool {
        self.doubt.is_none_or(|began| !is_young(began, kept.since))
            && inode(kept).is_some_and(|inode| !self.used.contains(&inode))
    }

    fn all_are_used(&self) -> bool {
        self.used.len() == self.wanted.len()
    }

    /// Whether what began then makes no difference any more: programs before it are in doubt.
    fn doubts(&self, began: Duration) -> bool {
        self.doubt.is_some_and(|doubt| began <= doubt)
    }

    /// Looks at all of these, the youngest first, with their descendants; whether somebody new
    /// was among them. Those for whom there is no room left are in doubt.
    fn look_at_all(&mut self, roots: &[(Duration, i32)]) -> bool {
        let mut is_new = false;
        (self.processes, self.entries) = (0, 0);
        for (began, root) in roots {
            match self.look_at_family(*root) {
                Ok(family_is_new) => is_new |= family_is_new,
                Err(Unknown) => self.doubt = self.doubt.max(Some(*began)),
            }
        }
        is_new
    }

    fn look_at_family(&mut self, root: i32) -> Result<bool, Unknown> {
        let (mut left, mut is_new) = (vec![root], false);
        while let Some(pid) = left.pop() {
            count(&mut self.processes, PROCESSES)?;
            if self.seen.insert(pid) {
                is_new = true;
                known(pid, self.look_at_descriptors(pid))?;
            }
            left.extend(known(pid, self.children_of(pid))?.unwrap_or_default());
        }
        Ok(is_new)
    }

    fn look_at_descriptors(&mut self, pid: i32) -> io::Result<()> {
        if self.look_at_those_in(&format!("/proc/{pid}/fd"))? > 0 {
            return Ok(());
        }
        // Its first thread may have ended, and then only the others have them.
        for thread in numbers_in(&format!("/proc/{pid}/task"))? {
            if thread != pid {
                let folder = format!("/proc/{pid}/task/{thread}/fd");
                there(self.look_at_those_in(&folder))?;
            }
        }
        Ok(())
    }

    fn look_at_those_in(&mut self, folder: &str) -> io::Result<usize> {
        let mut number = 0usize;
        for entry in fs::read_dir(folder)? {
            count(&mut self.entries, ENTRIES).map_err(|Unknown| ErrorKind::QuotaExceeded)?;
            number = number.saturating_add(1);
            let link = there(fs::read_link(entry?.path()))?;
            let socket = link.and_then(|link| number_of(&link));
            self.used.extend(socket.filter(|inode| self.wanted.contains(inode)));
        }
        Ok(number)
    }

    fn children_of(&mut self, pid: i32) -> io::Result<Vec<i32>> {
        let mut children = Vec::new();
        for thread in numbers_in(&format!("/proc/{pid}/task"))? {
            count(&mut self.entries, ENTRIES).map_err(|Unknown| ErrorKind::QuotaExceeded)?;
            let list = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
            children.extend(numbers_of(&there(list)?.unwrap_or_default()));
        }
        Ok(children)
    }
}

fn inode(kept: &KeptConnection) -> Option<u64> {
    fstat(&kept.socket).ok().map(|stat| stat.st_ino)
}

fn count(number: &mut usize, most: usize) -> Result<(), Unknown> {
    *number = number.saturating_add(1);
    if *number > most { Err(Unknown) } else { Ok(()) }
}

/// What was found out about a process; nothing if it has ended meanwhile.
fn known<T>(pid: i32, found: io::Result<T>) -> Result<Option<T>, Unknown> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::QuotaExceeded => Err(Unknown),
        // It may be there, and not be shown to us.
        Err(_) if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) => Ok(None),
        Err(_) if stat_of(pid).is_ok_and(|stat| stat.has_ended) => Ok(None),
        Err(_) => Err(Unknown),
    }
}

/// What was found out about a part of a process; nothing if that is there no more.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;
    use std::process::{Child, ChildStdout, Command, Stdio};

    use super::*;

    fn shell(script: &str, socket: &UdpSocket) -> (Child, BufReader<ChildStdout>) {
        let stdin = Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(stdin).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        (child, output)
    }

    fn line(output: &mut BufReader<ChildStdout>) -> String {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn socket() -> (UdpSocket, u64) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&socket).unwrap().st_ino;
        (socket, inode)
    }

    fn looked_at(pid: i32, inode: u64, began: Duration) -> (bool, Users) {
        let mut users = Users { wanted: HashSet::from([inode]), ..Users::default() };
        let is_new = users.look_at_all(&[(began, pid)]);
        (is_new, users)
    }

    #[test]
    fn a_descendant_that_has_it_is_found_and_others_are_not() {
        // The socket is with a grandchild alone.
        let script = "exec 3<&0 0</dev/null; (sleep 600 <&3 3<&- & echo $!; exec 3<&-; wait) & \
                      exec 3<&-; wait";
        let ((one, inode), (_other, not)) = (socket(), socket());
        let (mut child, mut output) = shell(script, &one);
        let pid = i32::try_from(child.id()).unwrap();
        let holder: i32 = line(&mut output).parse().unwrap();
        let began = Duration::from_secs(1);
        let (is_new, mut users) = looked_at(pid, inode, began);
        assert!(is_new && users.all_are_used() && users.doubt.is_none(), "{users:?}");
        assert!(users.seen.contains(&holder) && users.seen.contains(&pid));
        assert!(!users.look_at_all(&[(began, pid)]), "nobody is new");
        let (_, users) = looked_at(pid, not, began);
        assert!(!users.all_are_used() && users.doubt.is_none(), "{users:?}");
        kill(Pid::from_raw(holder), nix::sys::signal::Signal::SIGKILL).unwrap();
        child.kill().unwrap();
        // It has ended, and is there still.
        let stat = || stat_of(pid).is_ok_and(|stat| stat.has_ended);
        while !stat() {
            std::thread::yield_now();
        }
        let (_, users) = looked_at(pid, inode, began);
        assert!(!users.all_are_used() && users.doubt.is_none(), "{users:?}");
        child.wait().unwrap();
        let (_, users) = looked_at(pid, inode, began);
        assert!(!users.all_are_used() && users.doubt.is_none(), "{users:?}");
    }

    #[test]
    fn programs_are_in_doubt_after_one_that_may_not_be_looked_at() {
        let ((_socket, inode), began) = (socket(), Duration::from_secs(1));
        // Process 1 is another user's, but for the system's own.
        if !nix::unistd::geteuid().is_root() {
            assert_eq!(known(1, fs::read_dir("/proc/1/fd").map(drop)), Err(Unknown));
            assert_eq!(looked_at(1, inode, began).1.doubt, Some(began));
        }
        let users = Users { doubt: Some(began), ..Users::default() };
        assert!(users.doubts(began) && !users.doubts(began + Duration::from_secs(1)));
    }

    #[test]
    fn with_too_much_to_look_at_older_programs_are_in_doubt() {
        let (_socket, inode) = socket();
        let own = i32::try_from(std::process::id()).unwrap();
        let at = Duration::from_secs;
        let mut users = Users { wanted: HashSet::from([inode + 1]), ..Users::default() };
        let most = u64::try_from(PROCESSES).unwrap();
        let roots: Vec<_> = (0..=most + 1).map(|age| (at(10_000 - age), i32::MAX)).collect();
        users.look_at_all(&roots);
        assert_eq!(users.doubt, Some(at(10_000 - most)));
        assert!(users.doubts(at(10_000 - most - 1)) && !users.doubts(at(10_000)));
        // The next round has room again.
        users.doubt = None;
        users.look_at_all(&[(at(1), own)]);
        assert_eq!(users.doubt, None, "{users:?}");
    }
}
