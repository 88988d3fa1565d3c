//! Why a child could not be made.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

/// Why no child can be made.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// The system's answer.
    System(io::Error),
    /// The same for one in the service's group of processes, which may be full: that need
    /// not be so of the machine.
    InGroup(io::Error),
    /// It would need a fresh process, and the system has not told us which program we are.
    NoImage,
}

impl From<io::Error> for SpawnError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::System(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::InGroup(error) => write!(f, "in the service's cgroup: {error}"),
            Self::NoImage => f.write_str(
                "fs.suid_dumpable is not known to be 0 or 2, and without /proc the server cannot \
                 execute itself",
            ),
        }
    }
}

/// A child could not be made.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// Why.
    pub error: SpawnError,
    /// What the child would have got.
    pub socket: OwnedFd,
}

impl NotStarted {
    /// Whether the same may succeed when other programs have ended.
    pub(crate) fn may_pass(&self) -> bool {
        let passing = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::ENOBUFS];
        let SpawnError::System(error) = &self.error else { return false };
        error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
    }
}
