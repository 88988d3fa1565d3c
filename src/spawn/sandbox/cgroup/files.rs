//! Directories and files of the hierarchy of groups, and who has which.
//!
//! A group that a server has is locked by it (flock(2) on its directory), for as long as
//! the server lives: what nobody has locked is left over, and whoever comes next may go on
//! with it or remove it. Anybody may take such a lock. It costs a group of a name with a
//! number behind it, and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::names::is_of_service;
use crate::sys::descriptor::raise;

/// A group's directory.
#[derive(Debug)]
pub(super) enum Directory {
    /// Nobody else takes it for left over.
    Locked(Flock<File>),
    /// Somebody else has the lock.
    Open(File),
}

impl Directory {
    /// Opens it, with the lock if that can be had.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        let file = File::from(raise(OwnedFd::from(file)));
        Ok(match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => Self::Locked(locked),
            Err((file, _)) => Self::Open(file),
        })
    }

    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Self::Locked(_))
    }

    /// Whether it is what has this path: it may have been removed, and made again.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let file: &File = match self {
            Self::Locked(file) => file,
            Self::Open(file) => file,
        };
        match (file.metadata(), fs::metadata(path)) {
            (Ok(own), Ok(found)) => (own.dev(), own.ino()) == (found.dev(), found.ino()),
            _ => false,
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Locked(file) => file.as_fd(),
            Self::Open(file) => file.as_fd(),
        }
    }
}

/// Removes a group that is left over. False if something runs in it: it is to be tried
/// again. Another server's is not our business.
pub(super) fn is_settled(path: &Path) -> bool {
    match Directory::open(path) {
        Ok(directory) if directory.is_locked() => is_removed(path),
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Whether it is gone now.
pub(super) fn is_removed(path: &Path) -> bool {
    match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Whether somebody has a service's group below `base`, or that cannot be told: who has one
/// needs its limits.
pub(super) fn is_in_use(base: &Path) -> bool {
    let is_had = |path: &PathBuf| match Directory::open(path) {
        Ok(directory) => !directory.is_locked(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    };
    match read_groups_of_services(base) {
        Ok(groups) => groups.iter().any(is_had),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// What may be groups of services below `base`, as far as that can be told.
pub(super) fn groups_of_services(base: &Path) -> Vec<PathBuf> {
    read_groups_of_services(base).unwrap_or_default()
}

fn read_groups_of_services(base: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(base)?.collect::<io::Result<Vec<_>>>()?;
    let named = |it: &fs::DirEntry| it.file_name().to_str().is_some_and(is_of_service);
    Ok(entries.into_iter().filter(named).map(|entry| entry.path()).collect())
}

/// Whether something runs in a group or below it, or that cannot be told.
pub(super) fn is_populated(path: &Path) -> bool {
    match fs::read_to_string(path.join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 1"),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// One write of a whole value, as these files want it; never makes a file.
pub(super) fn put(path: &Path, value: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    let result = file.and_then(|mut file| file.write_all(value.as_bytes()));
    result.map_err(|error| about(path, &error))
}

pub(super) fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| about(path, &error))
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(|error| about(path, &error)),
    }
}

pub(super) fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_group_is_in_use_while_somebody_has_its_lock() {
        let base = tempfile::tempdir().unwrap();
        assert!(!is_in_use(base.path()));
        assert!(!is_in_use(&base.path().join("missing")));
        let group = base.path().join("oxinetd.echo_tcp");
        make_directory(&group).unwrap();
        make_directory(&base.path().join("others")).unwrap();
        assert!(!is_in_use(base.path()));
        let own = Directory::open(&group).unwrap();
        assert!(own.is_locked() && is_in_use(base.path()));
        drop(own);
        assert!(!is_in_use(base.path()));
    }

    /// As when the system has no descriptors.
    #[test]
    fn what_cannot_be_opened_is_in_use() {
        let base = tempfile::tempdir().unwrap();
        let group = base.path().join("oxinetd.echo_tcp");
        symlink(&group, &group).unwrap();
        assert!(is_in_use(base.path()), "a group");
        assert!(is_in_use(&group), "all of them");
        assert!(is_populated(&group) && !is_populated(base.path()));
    }
}
