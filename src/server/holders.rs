//! Which processes have certain sockets: looked for in /proc, some processes at a time, since
//! there may be many and nothing else waits for it.

use std::fs;
use std::path::Path;

use nix::unistd::getpid;

/// Processes that are looked at in one turn.
const PROCESSES: usize = 16;
/// After so many descriptors no further process is looked at in it.
const IN_A_TURN: usize = 512;
/// Descriptors of one process that are looked at.
const DESCRIPTORS: usize = 4096;

/// A search that goes on.
#[derive(Debug)]
pub(super) struct Search<T> {
    /// The sockets by their number in the system, and what they are looked for for.
    wanted: Vec<(u64, T)>,
    /// Processes that are left.
    left: Vec<i32>,
}

impl<T> Default for Search<T> {
    fn default() -> Self {
        Self { wanted: Vec::new(), left: Vec::new() }
    }
}

/// A process that has one of the sockets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: i32,
    pub(super) inode: u64,
}

impl<T> Search<T> {
    /// Looks for one more, in all processes.
    pub(super) fn want(&mut self, inode: u64, what: T) {
        self.wanted.retain(|(other, _)| *other != inode);
        self.wanted.push((inode, what));
        self.left = processes();
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Those in the next processes; None when there are none left.
    pub(super) fn go_on(&mut self) -> Option<Vec<Holder>> {
        if self.left.is_empty() {
            return None;
        }
        let (mut found, mut seen) = (Vec::new(), 0usize);
        for _ in 0..PROCESSES {
            if seen >= IN_A_TURN {
                break;
            }
            let Some(pid) = self.left.pop() else { break };
            let (sockets, count) = sockets_of(pid);
            seen = seen.saturating_add(count);
            let wanted = sockets.into_iter().filter(|it| self.get(*it).is_some());
            found.extend(wanted.map(|inode| Holder { pid, inode }));
        }
        Some(found)
    }

    /// What a socket is looked for for.
    pub(super) fn get(&self, inode: u64) -> Option<&T> {
        self.wanted.iter().find(|(wanted, _)| *wanted == inode).map(|(_, what)| what)
    }

    /// It is over.
    pub(super) fn take(&mut self) -> Vec<(u64, T)> {
        std::mem::take(&mut self.wanted)
    }
}

/// All others.
pub(super) fn processes() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| *pid != getpid().as_raw()).collect()
}

/// The sockets that a process has, each once, and how many descriptors that took; none if we
/// may not look.
fn sockets_of(pid: i32) -> (Vec<u64>, usize) {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return (Vec::new(), 0) };
    let links = entries.take(DESCRIPTORS).flatten().map(|it| fs::read_link(it.path()).ok());
    let links: Vec<_> = links.collect();
    let mut sockets: Vec<u64> = links.iter().flatten().filter_map(|it| number_of(it)).collect();
    sockets.sort_unstable();
    sockets.dedup();
    (sockets, links.len())
}

/// The number of a socket by what a descriptor leads to.
pub(super) fn number_of(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Whether a process has a socket.
pub(super) fn has(pid: i32, inode: u64) -> bool {
    sockets_of(pid).0.contains(&inode)
}

/// The user of a process, if it is one alone: real, effective, saved and for files.
pub(super) fn user_of(pid: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut users = line.split_whitespace().map(str::parse);
    let first = users.next()?.ok()?;
    users.all(|user| user == Ok(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use nix::sys::stat::fstat;
    use nix::unistd::geteuid;

    use super::*;

    #[test]
    fn whoever_has_a_socket_is_found() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&socket).unwrap().st_ino;
        let stdin = Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
        let mut child = Command::new("sleep").arg("60").stdin(stdin).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut search = Search::default();
        search.want(inode, "it");
        let mut found = Vec::new();
        while let Some(more) = search.go_on() {
            found.extend(more);
        }
        assert_eq!(found, [Holder { pid, inode }]);
        assert_eq!(search.take(), [(inode, "it")]);
        assert!(!search.is_under_way() && search.go_on().is_none());
        assert!(has(pid, inode) && !has(pid, inode + 1));
        assert_eq!(user_of(pid), Some(geteuid().as_raw()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(user_of(i32::MAX), None);
    }
}
