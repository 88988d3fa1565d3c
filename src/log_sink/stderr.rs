//! The log on standard error, which others may share: it is not made nonblocking, and
//! no write waits all the same.

use std::io;
use std::os::fd::AsFd as _;

use super::Put;
use crate::descriptor;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{fstat, makedev};

/// What fits into a pipe that poll(2) calls writable (PIPE_BUF of Linux).
const PORTION: usize = 4096;

/// Standard error, and how to write to it without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stderr {
    /// A regular file or /dev/null, where nothing waits.
    Free,
    /// A socket (the journal's stream): the call says that it must not wait.
    Socket,
    /// A pipe: the same, with another call, which kernels before 6.4 lack.
    Pipe,
    /// Anything else is asked with poll(2) for room first.
    Asked,
}

impl Stderr {
    /// As it is now.
    pub(super) fn find_out() -> Self {
        let Ok(stat) = fstat(io::stderr()) else { return Self::Asked };
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => Self::Free,
            // /dev/null of mem(4).
            libc::S_IFCHR if stat.st_rdev == makedev(1, 3) => Self::Free,
            libc::S_IFSOCK => Self::Socket,
            libc::S_IFIFO => Self::Pipe,
            _ => Self::Asked,
        }
    }

    /// Writes as much as there is room for.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Put {
        match self.write(bytes) {
            Ok(count) => Put::Taken(count),
            Err(Errno::EINTR) => Put::Taken(0),
            Err(Errno::EAGAIN) => Put::Later,
            // The kernel, or a filter of system calls, does not have it.
            Err(error) if *self == Self::Pipe && error != Errno::EPIPE => {
                *self = Self::Asked;
                Put::Taken(0)
            }
            // Nobody will ever read it: a log that is gone must not fill up.
            Err(_) => Put::Gone,
        }
    }

    fn write(self, bytes: &[u8]) -> Result<usize, Errno> {
        let stderr = io::stderr();
        let portion = bytes.get(..PORTION).unwrap_or(bytes);
        match self {
            Self::Free => nix::unistd::write(&stderr, bytes),
            Self::Pipe => descriptor::write_now(&stderr, bytes).map_err(errno),
            Self::Socket => descriptor::send_now(&stderr, portion),
            Self::Asked if has_room() => nix::unistd::write(&stderr, portion),
            Self::Asked => Err(Errno::EAGAIN),
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}

fn has_room() -> bool {
    let stderr = io::stderr();
    let mut set = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut set, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
