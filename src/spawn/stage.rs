//! The steps between clone and exec, and what is said of one that failed.

use std::fmt;
use std::io;

/// Size of one record in the failure pipe: pid, stage, errno. Below PIPE_BUF, so atomic.
pub(super) const RECORD: usize = 12;

/// The steps of a child, roughly in their order; what a failure names. Their numbers are
/// handed over in an upgrade: new ones go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    /// A descriptor table of its own, and what is in it.
    Descriptors = 1,
    /// setsid(2).
    Session,
    /// Standard input, output and error.
    Stdio,
    /// setrlimit(2).
    Limits,
    /// setpriority(2).
    Nice,
    /// chroot(2).
    Chroot,
    /// chdir(2).
    Chdir,
    /// capset(2) and prctl(PR_CAPBSET_DROP).
    Capabilities,
    /// setgroups(2).
    Groups,
    /// setresgid(2).
    Gid,
    /// setresuid(2).
    Uid,
    /// The ids are not what was asked for.
    Verify,
    /// prctl(PR_SET_NO_NEW_PRIVS) or PR_SET_DUMPABLE.
    Privileges,
    /// landlock_restrict_self(2).
    Landlock,
    /// The signal mask.
    Signals,
    /// execve(2).
    Exec,
    /// The fresh process in which a program's user is changed where that must not happen in
    /// a copy of the server.
    Stub,
    /// umask(2).
    Umask,
    /// A session keyring of its own.
    Keyring,
    /// ioctl(TIOCSCTTY): a terminal of its own.
    Terminal,
}

impl Stage {
    /// The stage of a failure record.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        const ALL: [Stage; 20] = [
            Stage::Descriptors,
            Stage::Session,
            Stage::Stdio,
            Stage::Limits,
            Stage::Nice,
            Stage::Chroot,
            Stage::Chdir,
            Stage::Capabilities,
            Stage::Groups,
            Stage::Gid,
            Stage::Uid,
            Stage::Verify,
            Stage::Privileges,
            Stage::Landlock,
            Stage::Signals,
            Stage::Exec,
            Stage::Stub,
            Stage::Umask,
            Stage::Keyring,
            Stage::Terminal,
        ];
        ALL.into_iter().find(|stage| *stage as u32 == number)
    }

    /// What usually lies behind an answer of the system that says little.
    #[must_use]
    pub(crate) fn advice(self, errno: i32) -> Option<&'static str> {
        match (self, errno) {
            (Stage::Exec, libc::ENOEXEC) => Some("a script needs a first line such as `#!/bin/sh`"),
            (Stage::Exec, libc::ENOENT) => {
                Some("the program is gone, or what is to run it (`#!` of a script, a loader)")
            }
            (Stage::Exec, libc::EACCES) => Some(
                "its user may not execute it or what runs it (`#!`, a loader), or not search a \
                     directory on the way; or the file system is mounted noexec",
            ),
            (Stage::Limits, libc::EPERM) => Some(
                "an `rlimit_…` is above the limit of the server itself, which only root can raise",
            ),
            (Stage::Chdir | Stage::Chroot, libc::EACCES) => {
                Some("its user may not search this directory, or one on the way")
            }
            _ => None,
        }
    }

    /// Its word in the log.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Stage::Descriptors => "descriptors",
            Stage::Session => "session",
            Stage::Limits => "limits",
            Stage::Nice => "nice",
            Stage::Chroot => "chroot",
            Stage::Chdir => "chdir",
            Stage::Capabilities => "capabilities",
            Stage::Groups => "groups",
            Stage::Gid => "gid",
            Stage::Uid => "uid",
            Stage::Verify => "verify",
            Stage::Privileges => "privileges",
            Stage::Stdio => "stdio",
            Stage::Landlock => "landlock",
            Stage::Signals => "signals",
            Stage::Exec => "exec",
            Stage::Stub => "stub",
            Stage::Umask => "umask",
            Stage::Keyring => "keyring",
            Stage::Terminal => "terminal",
        }
    }
}

/// Why a child ended before it became the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The step that failed.
    pub stage: Stage,
    /// What the system answered.
    pub errno: i32,
}

impl Failure {
    /// The child and its failure, of a record that it has written.
    pub(super) fn of_record(record: [u8; RECORD]) -> Option<(i32, Self)> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = record;
        let stage = Stage::from_number(u32::from_ne_bytes([e, f, g, h]))?;
        let errno = i32::from_ne_bytes([i, j, k, l]);
        Some((i32::from_ne_bytes([a, b, c, d]), Self { stage, errno }))
    }

    /// Whether nobody had the other side of its terminal any more.
    pub(crate) fn is_hung_up(self) -> bool {
        self.stage == Stage::Terminal && self.errno == libc::EIO
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.errno))?;
        self.stage.advice(self.errno).map_or(Ok(()), |advice| write!(f, ": {advice}"))
    }
}
