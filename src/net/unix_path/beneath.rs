//! Binding to a path on whose way others may replace a directory, each moment, by a link to
//! any other.
//!
//! bind(2) takes text, which the kernel follows once more, with our rights; and that text is
//! what everybody is told of the socket's address, so no detour (`/proc/self/fd`, another
//! working directory) may stand in it. So a copy of this process binds the socket that it
//! shares with us, and may make sockets below the directory that is held, and nowhere else
//! (landlock(7)). Where the kernel lacks that, what has been bound elsewhere is removed.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};

use ::landlock::{
    AccessFs, CompatLevel, Compatible as _, PathBeneath, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError,
};
use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::libc;
use nix::poll::PollFlags;
use nix::sys::socket::UnixAddr;
use nix::sys::stat::fstat;

use super::bind_privately;
use crate::sys::descriptor::becomes_ready;
use crate::sys::process::{self, ChildExit, WorkerProcess};
use crate::sys::socket_options;
use crate::sys::trusted_path::ParentDirectory;

/// How long the copy may take, in milliseconds.
const PATIENCE: u16 = 10_000;

/// Binds a socket in a directory that is held.
pub(super) fn bind(
    socket: &OwnedFd,
    address: &UnixAddr,
    place: &ParentDirectory,
) -> Result<(), Errno> {
    let Ok(rules) = rules(place) else { return bind_privately(socket, address) };
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let copy = process::fork_to_run(|_| bind_under(rules, socket, address)).map_err(errno)?;
    match status_of(&copy).map_err(errno)? {
        0 => Ok(()),
        number => Err(Errno::from_raw(number)),
    }
}

fn rules(place: &ParentDirectory) -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::MakeSock)?
        .create()?
        .add_rule(PathBeneath::new(place.directory(), AccessFs::MakeSock))
}

/// 0, or the number of the error; all of them are small.
fn bind_under(rules: RulesetCreated, socket: &OwnedFd, address: &UnixAddr) -> i32 {
    match rules.restrict_self() {
        Err(_) => libc::EPERM,
        Ok(_) => bind_privately(socket, address).map_or_else(|error| error as i32, |()| 0),
    }
}

fn status_of(copy: &WorkerProcess) -> io::Result<i32> {
    if !becomes_ready(&copy.pidfd, PollFlags::POLLIN, PATIENCE.into()).unwrap_or(false) {
        copy.kill();
    }
    loop {
        match process::ended(Some(copy.pid), true)? {
            Some((_, ChildExit::Status(status))) => return Ok(status),
            Some((_, ChildExit::Signal(_))) => return Err(ErrorKind::TimedOut.into()),
            None => std::thread::yield_now(),
        }
    }
}

/// Removes what a socket has been bound to, wherever that is.
///
/// # Errors
/// The system's: only who may administer the network is told where it is.
pub(super) fn remove(socket: &OwnedFd) -> io::Result<()> {
    let file = socket_options::bound_file(socket)?;
    let path = readlink(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())?;
    let place = ParentDirectory::of_now(path.as_ref())?;
    let (there, it) = (place.stat()?, fstat(&file)?);
    if (there.st_dev, there.st_ino) == (it.st_dev, it.st_ino) {
        place.unlink()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType};
    use nix::unistd::geteuid;

    use super::*;

    #[test]
    fn what_has_been_bound_elsewhere_is_removed_there() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (at, other) = (dir.path().join("s"), dir.path().join("other"));
        let socket = || {
            let flags = SockFlag::SOCK_CLOEXEC;
            nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap()
        };
        let (stray, kept) = (socket(), socket());
        bind_privately(&stray, &UnixAddr::new(&at).unwrap()).unwrap();
        bind_privately(&kept, &UnixAddr::new(&other).unwrap()).unwrap();
        remove(&stray).unwrap();
        assert!(!at.exists() && other.exists());
        // Something else has its name by now, and stays.
        std::fs::write(&at, "").unwrap();
        let _ = remove(&stray);
        assert!(at.exists());
    }
}
