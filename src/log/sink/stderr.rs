//! The log on standard error, which others may share: it is not made nonblocking, and
//! no write waits all the same.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use super::put::{Put, has_room};
use crate::sys::descriptor;
use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{fstat, makedev};

/// What is offered to a socket at once.
const PORTION: usize = 4096;

/// Standard error, and how to write to it without waiting.
#[derive(Debug)]
pub(super) enum StderrLog {
    /// A regular file or /dev/null, where nothing waits.
    Free,
    /// A socket (the journal's stream): the call says that it must not wait.
    Socket,
    /// A pipe: the same, with another call, which kernels before 6.4 lack.
    Pipe,
    /// Anything else (a terminal) opened once more, for ourselves: that one does not wait.
    Own(File),
    /// What cannot be opened is asked with poll(2) for room first. That there is some says
    /// nothing of how much: a terminal waits for the rest, so it gets a byte at a time.
    Polled,
}

impl StderrLog {
    /// As it is now.
    pub(super) fn find_out() -> Self {
        let Ok(stat) = fstat(io::stderr()) else { return Self::Polled };
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => Self::Free,
            // /dev/null of mem(4).
            libc::S_IFCHR if stat.st_rdev == makedev(1, 3) => Self::Free,
            libc::S_IFSOCK => Self::Socket,
            libc::S_IFIFO => Self::Pipe,
            _ => Self::once_more(),
        }
    }

    /// Whether writing waits is a flag of what is open. Others may have that, and it must not
    /// be changed for them.
    fn once_more() -> Self {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let opened = File::options().write(true).custom_flags(flags).open("/proc/self/fd/2");
        let opened = opened.map(|file| File::from(descriptor::raise(OwnedFd::from(file))));
        opened.map_or(Self::Polled, Self::Own)
    }

    /// Writes as much as there is room for.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Put {
        match self.write(bytes) {
            Ok(count) => Put::Taken(count),
            Err(Errno::EINTR) => Put::Taken(0),
            Err(Errno::EAGAIN) => Put::Later,
            // The kernel, or a filter of system calls, does not have it.
            Err(error) if matches!(self, Self::Pipe) && error != Errno::EPIPE => {
                *self = Self::once_more();
                Put::Taken(0)
            }
            // A full disk may have room again.
            Err(Errno::ENOSPC | Errno::EDQUOT) => Put::Later,
            // Nobody will ever read it: a log that is gone must not fill up.
            Err(_) => Put::Gone,
        }
    }

    /// True when there is room; a file has none while its disk is full.
    pub(super) fn waits_for_room(&self, time: Duration) -> bool {
        match self {
            Self::Free => false,
            Self::Own(file) => has_room(file.as_fd(), time),
            Self::Socket | Self::Pipe | Self::Polled => has_room(io::stderr().as_fd(), time),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let stderr = io::stderr();
        let first = |count: usize| bytes.get(..count).unwrap_or(bytes);
        match self {
            Self::Free => nix::unistd::write(&stderr, bytes),
            Self::Pipe => descriptor::write_now(&stderr, bytes).map_err(errno),
            Self::Socket => descriptor::send_now(&stderr, first(PORTION)),
            Self::Own(file) => nix::unistd::write(file, bytes),
            Self::Polled if has_room(stderr.as_fd(), Duration::ZERO) => {
                nix::unistd::write(&stderr, first(1))
            }
            Self::Polled => Err(Errno::EAGAIN),
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_reason_to_give_up() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(StderrLog::Own(full).put(b"a line\n"), Put::Later);
    }
}
