//! Which processes have certain sockets: looked for in /proc, some descriptors at a time, since
//! there may be many and nothing else waits for it.
//!
//! A thread may have a table of descriptors of its own, and the first thread of a process may
//! have ended before the others: their tables are looked at, too. What is read of a process is
//! read after it has been taken hold of, so that nobody else who has come to its number
//! meanwhile is meant.

use std::fs::{self, ReadDir};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::sys::descriptor_tables;
use crate::sys::proc::{numbers_in, others, status_numbers};
use crate::sys::process;

/// Descriptors that are looked at in one turn.
const IN_A_TURN: usize = 512;
/// A process takes as long as so many, a further thread as one.
const PROCESS: usize = 32;

/// A search that goes on.
#[derive(Debug)]
pub(in crate::server) struct Search<T> {
    /// The sockets by their number in the system, and what they are looked for for.
    wanted: Vec<(u64, T)>,
    /// Those that are left; None before it has begun.
    left: Option<Vec<Thread>>,
    /// What is being looked at.
    table: Option<DescriptorsLeft>,
}

impl<T> Default for Search<T> {
    fn default() -> Self {
        Self { wanted: Vec::new(), left: None, table: None }
    }
}

/// A thread whose descriptors are to be looked at, by the number of its process and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thread {
    pid: i32,
    number: i32,
}

/// The descriptors of a thread that have not been looked at yet.
#[derive(Debug)]
struct DescriptorsLeft {
    pid: i32,
    process: Option<Rc<OwnedFd>>,
    entries: ReadDir,
}

/// A process that has one of the sockets.
#[derive(Debug)]
pub(in crate::server) struct Holder {
    pub(in crate::server) pid: i32,
    pub(in crate::server) inode: u64,
    /// The process itself, whoever has its number by now; none where the system has no pidfds.
    pub(in crate::server) process: Option<Rc<OwnedFd>>,
    /// Its descriptor.
    link: PathBuf,
}

impl<T> Search<T> {
    /// Looks for one more, in all processes.
    pub(super) fn want(&mut self, inode: u64, what: T) {
        self.wanted.retain(|(other, _)| *other != inode);
        self.wanted.push((inode, what));
        (self.left, self.table) = (None, None);
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Those among the next descriptors; None when there are none left.
    pub(in crate::server) fn go_on(&mut self) -> Option<Vec<Holder>> {
        if self.table.is_none() && self.left.get_or_insert_with(all_processes).is_empty() {
            return None;
        }
        let (mut found, mut seen) = (Vec::<Holder>::new(), 0usize);
        while seen < IN_A_TURN {
            let Some(table) = &mut self.table else {
                let Some(cost) = self.next_table() else { break };
                seen = seen.saturating_add(cost);
                continue;
            };
            seen = seen.saturating_add(1);
            match table.next() {
                Some(holder) if self.get(holder.inode).is_some() => found.push(holder),
                Some(_) => {}
                None => self.table = None,
            }
        }
        found.dedup_by_key(|holder| (holder.pid, holder.inode));
        Some(found)
    }

    /// Turns to the next thread, and says what that costs; None when there is none left.
    fn next_table(&mut self) -> Option<usize> {
        let left = self.left.get_or_insert_with(all_processes);
        let next = left.pop()?;
        if !next.is_first() {
            self.table = DescriptorsLeft::of_its_own(next);
            return Some(1);
        }
        left.extend(other_threads(next.pid));
        self.table = DescriptorsLeft::of(next);
        Some(PROCESS)
    }

    /// What a socket is looked for for.
    pub(in crate::server) fn get(&self, inode: u64) -> Option<&T> {
        self.wanted.iter().find(|(wanted, _)| *wanted == inode).map(|(_, what)| what)
    }

    /// It is over.
    pub(in crate::server) fn take(&mut self) -> Vec<(u64, T)> {
        (self.left, self.table) = (None, None);
        std::mem::take(&mut self.wanted)
    }
}

impl Thread {
    fn first(pid: i32) -> Self {
        Self { pid, number: pid }
    }

    fn is_first(self) -> bool {
        self.pid == self.number
    }
}

impl DescriptorsLeft {
    /// None if there is nothing that we may look at.
    fn of(thread: Thread) -> Option<Self> {
        let Thread { pid, number } = thread;
        let process = process::open_pidfd(pid).ok().map(Rc::new);
        let entries = fs::read_dir(format!("/proc/{pid}/task/{number}/fd")).ok()?;
        Some(Self { pid, process, entries })
    }

    /// None if it is that of the first thread, too.
    fn of_its_own(thread: Thread) -> Option<Self> {
        if descriptor_tables::is_one(thread.pid, thread.number) { None } else { Self::of(thread) }
    }

    /// The next descriptor as if it were a socket that is looked for: no other has the number 0.
    fn next(&mut self) -> Option<Holder> {
        let link = self.entries.next()?.ok()?.path();
        let inode = socket_at(&link).unwrap_or_default();
        Some(Holder { pid: self.pid, inode, process: self.process.clone(), link })
    }
}

impl Holder {
    /// Whether what now has the number of the process has the socket still.
    pub(super) fn has_it_still(&self) -> bool {
        socket_at(&self.link) == Some(self.inode)
    }
}

fn all_processes() -> Vec<Thread> {
    others().into_iter().map(Thread::first).collect()
}

fn other_threads(pid: i32) -> impl Iterator<Item = Thread> {
    let threads = numbers_in(&format!("/proc/{pid}/task")).unwrap_or_default();
    threads
        .into_iter()
        .map(move |number| Thread { pid, number })
        .filter(|thread| !thread.is_first())
}

fn socket_at(link: &Path) -> Option<u64> {
    number_of(&fs::read_link(link).ok()?)
}

/// The number of a socket by what a descriptor leads to.
pub(in crate::server) fn number_of(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The user of a process, if it is one alone: real, effective, saved and for files.
pub(super) fn user_of(pid: i32) -> Option<u32> {
    match status_numbers(pid, "Uid")[..] {
        [real, effective, saved, files] if [effective, saved, files] == [real; 3] => {
            real.try_into().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use nix::sys::stat::fstat;
    use nix::unistd::{geteuid, getpid};

    use super::*;

    fn holders<T>(search: &mut Search<T>) -> (Vec<(i32, u64)>, usize) {
        let (mut found, mut turns) = (Vec::new(), 0);
        while let Some(more) = search.go_on() {
            assert!(more.iter().all(Holder::has_it_still));
            found.extend(more.iter().map(|holder| (holder.pid, holder.inode)));
            turns += 1;
        }
        (found, turns)
    }

    #[test]
    fn whoever_has_a_socket_is_found() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&socket).unwrap().st_ino;
        let stdin = Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
        let mut child = Command::new("sleep").arg("60").stdin(stdin).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut search = Search::default();
        search.want(inode, "it");
        assert_eq!(holders(&mut search).0, [(pid, inode)]);
        assert_eq!(search.take(), [(inode, "it")]);
        assert!(!search.is_under_way());
        assert_eq!(user_of(pid), Some(geteuid().as_raw()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(user_of(i32::MAX), None);
    }

    /// One process is as much as any: it is left where the turn has ended, and taken up there.
    #[test]
    fn a_table_is_looked_through_in_several_turns() {
        let files: Vec<_> =
            (0..IN_A_TURN + 50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let last = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&last).unwrap().st_ino;
        let mut search = Search::default();
        search.want(inode, ());
        search.left = Some(vec![Thread::first(getpid().as_raw())]);
        let (found, turns) = holders(&mut search);
        assert!(found.contains(&(getpid().as_raw(), inode)));
        assert!(turns >= 2, "{turns} for {} files", files.len());
    }

    #[test]
    fn a_thread_with_a_table_of_its_own_is_a_holder() {
        let (opened, closes) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                opened.0.send(fstat(&socket).unwrap().st_ino).unwrap();
                let _ = closes.1.recv();
            });
            let inode = opened.1.recv().unwrap();
            let mut search = Search::default();
            search.want(inode, ());
            search.left = Some(vec![Thread::first(getpid().as_raw())]);
            let found = holders(&mut search).0;
            drop(closes.0);
            assert_eq!(found, [(getpid().as_raw(), inode)]);
        });
    }
}
