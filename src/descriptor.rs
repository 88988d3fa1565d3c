//! The numbers of descriptors, which matter: a child copies the table up to the
//! highest that it is given, so what lives long is kept out of its way.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::spawn::kernel;

/// Descriptors that live long are numbered from here, so that a connection gets a
/// low number and a child's table, copied up to that number, stays small.
pub const LONG_LIVED: RawFd = 64;

/// The lowest number of the server's own descriptors; below are the standard three.
pub const LOWEST: RawFd = 3;

/// Moves a descriptor up to where the long-lived ones are. It stays where it is if
/// there are no such numbers (a very low limit): that costs time, not function.
#[must_use]
pub fn raise(descriptor: OwnedFd) -> OwnedFd {
    if descriptor.as_raw_fd() >= LONG_LIVED {
        return descriptor;
    }
    kernel::duplicate_from(&descriptor, LONG_LIVED).unwrap_or(descriptor)
}

/// Takes over a descriptor that this process was started with, and which nothing in it
/// has had yet: moved up to where the long-lived ones are, close-on-exec.
///
/// # Errors
/// EBADF when it is not open; when there are no more descriptors.
pub fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    let copy = kernel::duplicate_from(&number, LONG_LIVED)
        .or_else(|_| kernel::duplicate_from(&number, LOWEST))?;
    nix::unistd::close(number)?;
    Ok(copy)
}

/// A copy for a child, under a low number.
///
/// # Errors
/// When there are no more descriptors.
pub fn low_copy(descriptor: &impl AsFd) -> io::Result<OwnedFd> {
    kernel::duplicate_from(&descriptor.as_fd(), LOWEST)
}

/// Writes to a pipe without waiting for room, though it may be shared with somebody
/// for whom it must wait; how many bytes.
///
/// # Errors
/// EAGAIN: there is no room. EOPNOTSUPP: the kernel cannot tell (pipes: before Linux 6.4).
pub fn write_now(descriptor: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    kernel::write_now(&descriptor.as_fd(), bytes)
}

/// Sets O_NONBLOCK.
///
/// # Errors
/// fcntl(2)'s.
pub fn set_nonblocking(descriptor: &impl AsFd) -> io::Result<()> {
    fcntl(descriptor.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Clears O_NONBLOCK, as programs expect their standard input.
///
/// # Errors
/// fcntl(2)'s.
pub fn set_blocking(descriptor: &impl AsFd) -> io::Result<()> {
    fcntl(descriptor.as_fd(), FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(())
}
