//! A terminal, of which no daemon that another test starts meanwhile gets a copy.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

/// Its screen and keyboard, and what programs have.
pub(crate) fn terminal() -> (File, OwnedFd) {
    let screen = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
    let programs = options.open(ptsname_r(&screen).unwrap()).unwrap();
    (File::from(OwnedFd::from(screen)), programs.into())
}
