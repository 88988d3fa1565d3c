//! The facts of a machine that a configuration may ask for: one trait, so that
//! every rule can be tested without root, a resolver or a file system.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::model::{Account, FileIdentity, Known, Resource};

/// What the user database says of one user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserFacts {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// What the services database says of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its official name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// Whether a file can be run as a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executable {
    /// It can.
    Yes,
    /// There is no such file.
    Missing,
    /// Nobody here can tell: a directory on its path cannot be searched.
    Hidden,
    /// It is there and cannot be run: why, in a few words (`is a directory`).
    No(String),
}

/// Whom the mode of a file is asked about.
#[derive(Debug)]
pub struct Who<'a> {
    /// User id.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// The others.
    pub groups: &'a [u32],
}

impl Who<'_> {
    /// Whether a file of this mode, owner and group may be searched or executed. Root may
    /// search everything.
    pub fn may_execute(&self, mode: u32, (owner, group): (u32, u32)) -> bool {
        let bit = match () {
            () if self.uid == 0 => return true,
            () if self.uid == owner => 0o100,
            () if self.gid == group || self.groups.contains(&group) => 0o010,
            () => 0o001,
        };
        mode & bit != 0
    }
}

/// Whether a program of this beginning is neither ELF nor a script, and no other binary that
/// something registered may know (binfmt_misc): those have a NUL somewhere.
pub(crate) fn is_plain_text(start: &[u8]) -> bool {
    !start.starts_with(b"\x7fELF") && !start.starts_with(b"#!") && !start.contains(&0)
}

/// How much of a program the kernel looks at for `#!` (execve(2)).
pub(crate) const FIRST_LINE: u64 = 256;

/// The program that `#!` at the start of a file names, as the kernel reads it.
pub fn interpreter_in(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?.split(|byte| matches!(byte, b'\n' | 0)).next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let name = words.find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// All that the configuration asks of the machine. Asked only while a
/// configuration is read, never afterwards.
pub trait Lookup {
    /// The user of this login name.
    fn user(&self, name: &str) -> Option<UserFacts>;
    /// The user with this number.
    fn user_by_id(&self, uid: u32) -> Option<UserFacts>;
    /// The number of the group of this name.
    fn group(&self, name: &str) -> Option<u32>;
    /// The name of the group with this number.
    fn group_name(&self, gid: u32) -> Option<String>;
    /// The groups of a user, as the system lists them for this main group.
    fn groups_of(&self, user: &str, gid: u32) -> Vec<u32>;
    /// The service of this name or alias; `protocol` is `tcp` or `udp`.
    fn service(&self, name: &str, protocol: &str) -> Option<ServiceFacts>;
    /// All names and aliases of the services database, for suggestions.
    fn service_names(&self, protocol: &str) -> Vec<String>;
    /// The addresses of a host name.
    ///
    /// # Errors
    /// What the resolver said; an empty list is reported as an error too.
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// Whether whoever reads this serves already, and goes on with what he has read before.
    fn serves_already(&self) -> bool {
        false
    }

    /// Whether something is to be said of a host that has no address.
    fn tells_of(&self, _host: &str) -> bool {
        true
    }
    /// What a name was when it was last known, for when nobody says what it is now.
    fn before(&self, _name: &str) -> Option<Known> {
        None
    }
    /// Whether nobody has answered in time who a user or a group is.
    fn is_unanswered(&self, _account: &str) -> bool {
        false
    }
    /// The bytes of a file that somebody names. What is read of one configuration has
    /// a limit all together.
    ///
    /// # Errors
    /// What the system said; that it would be too much; that somebody else has a say in which
    /// file it is.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The same of a file that happens to lie in a directory: an ordinary one, since opening
    /// or reading anything else may never end.
    ///
    /// # Errors
    /// As [`Lookup::read`]; what else it is.
    fn read_found(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path)
    }
    /// A file that is named `itself`, or one that was found.
    ///
    /// # Errors
    /// As [`Lookup::read`] and [`Lookup::read_found`].
    fn read_either(&self, path: &Path, itself: bool) -> io::Result<Vec<u8>> {
        if itself { self.read(path) } else { self.read_found(path) }
    }
    /// The bytes of an ordinary file of limited size; at most one more than that is read.
    ///
    /// # Errors
    /// As [`Lookup::read_found`]; a file that is larger is an error too.
    fn read_up_to(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
    /// Which file is at a path, and its mode.
    fn file_facts(&self, _path: &Path) -> Option<(FileIdentity, u32)> {
        None
    }
    /// The time, in seconds since 1970.
    fn unix_time(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or_default())
    }
    /// The user that the command line names for what stands in front of services.
    fn front_user(&self) -> Option<String> {
        None
    }
    /// What others can write of all that was read, files and directories, and who.
    fn exposed(&self) -> Vec<(PathBuf, String)> {
        Vec::new()
    }
    /// Whether this is a directory.
    fn is_directory(&self, path: &Path) -> bool;
    /// The files that match a pattern of sh(1), in any order.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String>;
    /// The one name of a file, by which a file that includes itself is recognised.
    fn canonical(&self, path: &Path) -> PathBuf;
    /// Whether a file can be run.
    fn executable(&self, path: &Path) -> Executable;
    /// What the first line of a program says it is to be run by, if it is a script.
    fn interpreter(&self, path: &Path) -> Option<PathBuf>;
    /// Whether nothing can be executed where this file is.
    fn is_noexec(&self, _path: &Path) -> bool {
        false
    }
    /// Whether a file that is to be executed is a text that names nothing to run it.
    fn is_plain_text(&self, _path: &Path) -> bool {
        false
    }
    /// The first of the directories of a path, or what it ends at, that somebody may not
    /// search or execute by its mode; from `root` on, if it is below that.
    fn closed_to(&self, _who: &Who<'_>, _path: &Path, _root: Option<&Path>) -> Option<PathBuf> {
        None
    }
    /// The directories in which programs are looked up.
    fn search_path(&self) -> Vec<PathBuf>;
    /// The directory in which the server was started.
    fn current_directory(&self) -> Option<PathBuf>;
    /// The index of a network device.
    fn device_index(&self, name: &str) -> Option<u32>;
    /// Whether the machine speaks IPv6.
    fn has_ipv6(&self) -> bool;
    /// Whether the kernel has virtual sockets, and lets us have them.
    fn has_vsock(&self) -> bool;
    /// The account that runs the server: its user, with the main group it really has.
    fn own_account(&self) -> UserFacts;
    /// The supplementary groups of the server.
    fn own_groups(&self) -> Vec<u32>;
    /// The one name of a file that a program in the root directory `root` calls `path`, as
    /// the server sees it; its links lead nowhere else. None if there is no such file.
    fn real_path(&self, root: Option<&Path>, path: &Path) -> Option<PathBuf>;
    /// Whether an address is one of this machine.
    fn is_own_address(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback()
    }
    /// Why this account may not connect to the unix socket that is at a path now; none if it
    /// may, if nothing is there, and if that cannot be told.
    fn why_unreachable(&self, _path: &Path, _account: &Account) -> Option<String> {
        None
    }
    /// Whether programs can be confined to paths (Landlock as of Linux 6.2).
    fn has_landlock(&self) -> bool;
    /// Why no group of processes with these controllers can be made, as far as that can be told.
    fn why_no_group(&self, _controllers: &[&'static str]) -> Option<String> {
        None
    }
    /// Whether the server may become every user.
    fn is_privileged(&self) -> bool;
    /// The most that the server itself may have; None: as much as it likes.
    fn hard_limit(&self, resource: Resource) -> Option<u64>;
    /// The most descriptors that the kernel lets anybody have; None: not known.
    fn most_descriptors(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Who, interpreter_in, is_plain_text};

    #[test]
    fn a_mode_is_for_one_kind_of_user_each() {
        let who = Who { uid: 7, gid: 8, groups: &[9] };
        for (mode, owner, wanted) in [
            (0o700, (7, 0), true),
            (0o077, (7, 8), false),
            (0o010, (0, 8), true),
            (0o010, (0, 9), true),
            (0o701, (0, 9), false),
            (0o001, (0, 0), true),
            (0o770, (0, 0), false),
        ] {
            assert_eq!(who.may_execute(mode, owner), wanted, "{mode:o} {owner:?}");
        }
        assert!(Who { uid: 0, gid: 0, groups: &[] }.may_execute(0, (1, 1)));
    }

    #[test]
    fn a_text_that_nothing_runs_is_told_from_programs() {
        for (start, wanted) in [
            (&b"echo hello\n"[..], true),
            (b"", true),
            (b"\xef\xbb\xbf#!/bin/sh\n", true),
            (b"#!/bin/sh\n", false),
            (b"\x7fELF\x02\x01", false),
            (b"MZ\x90\0\x03\0", false),
        ] {
            assert_eq!(is_plain_text(start), wanted, "{start:?}");
        }
    }

    #[test]
    fn the_first_line_is_read_as_the_kernel_reads_it() {
        for (start, wanted) in [
            ("#!/bin/sh\necho", Some("/bin/sh")),
            ("#! \t/usr/bin/env python3\n", Some("/usr/bin/env")),
            ("#!/bin/sh\r\necho", Some("/bin/sh\r")),
            ("#!/bin/sh", Some("/bin/sh")),
            ("#!\n/bin/sh", None),
            ("# !/bin/sh", None),
            ("\u{7f}ELF", None),
            ("", None),
        ] {
            let said = interpreter_in(start.as_bytes());
            assert_eq!(said.as_deref(), wanted.map(std::path::Path::new), "{start:?}");
        }
    }
}
