//! The numbers of descriptors, which matter: a child copies the lower end of our table,
//! so what lives long is kept out of its way.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::spawn::kernel;

/// Descriptors that live long are numbered from here, so that those which a child begins
/// with have low numbers, and its table, copied up to those, stays small.
pub const LONG_LIVED: RawFd = 64;

/// The lowest number of the server's own descriptors; below are the standard three.
pub const LOWEST: RawFd = 3;

/// More long-lived ones than these are many. With one service and 64 clients there are
/// 140; copying so many costs as much as sending those that a child needs.
const FEW: RawFd = 128;

/// Numbers that [`forget_closed`] looks at in one call.
const LOOKS: usize = 16;

/// No long-lived one that is open has a higher number.
static HIGHEST: AtomicI32 = AtomicI32::new(LONG_LIVED);

/// Whether there are many, by the highest number: whoever copies our table copies it up
/// to there, however few are left below.
#[must_use]
pub fn are_many() -> bool {
    HIGHEST.load(Ordering::Relaxed) >= LONG_LIVED + FEW
}

/// Finds out, bit by bit, that there are many no more. Each number is looked at once
/// for each time that it was given away, at most.
pub fn forget_closed() {
    for _ in 0..LOOKS {
        let highest = HIGHEST.load(Ordering::Relaxed);
        if !are_many() || kernel::is_open(highest) {
            return;
        }
        HIGHEST.store(highest.saturating_sub(1), Ordering::Relaxed);
    }
}

fn note(descriptor: &impl AsRawFd) {
    HIGHEST.fetch_max(descriptor.as_raw_fd(), Ordering::Relaxed);
}

/// Moves a descriptor up to where the long-lived ones are. It stays where it is if
/// there are no such numbers (a very low limit): that costs time, not function.
#[must_use]
pub fn raise(descriptor: OwnedFd) -> OwnedFd {
    let raised = match descriptor.as_raw_fd() {
        LONG_LIVED.. => descriptor,
        _ => kernel::duplicate_from(&descriptor, LONG_LIVED).unwrap_or(descriptor),
    };
    note(&raised);
    raised
}

/// The same for one that somebody has.
pub fn raise_in_place(file: &mut File) {
    if file.as_raw_fd() < LONG_LIVED
        && let Ok(copy) = kernel::duplicate_from(file, LONG_LIVED)
    {
        note(&copy);
        *file = File::from(copy);
    }
}

/// Takes over a descriptor that this process was started with, and which nothing in it
/// has had yet: moved up to where the long-lived ones are, close-on-exec.
///
/// # Errors
/// EBADF when it is not open; when there are no more descriptors.
pub fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    let copy = kernel::duplicate_from(&number, LONG_LIVED)
        .or_else(|_| kernel::duplicate_from(&number, LOWEST))?;
    note(&copy);
    nix::unistd::close(number)?;
    Ok(copy)
}

/// A copy for a child, close-on-exec until it is the child's.
///
/// # Errors
/// When there are no more descriptors.
pub fn copy(descriptor: &impl AsFd) -> io::Result<OwnedFd> {
    kernel::duplicate_from(&descriptor.as_fd(), LOWEST)
}

/// Whether reading, or accepting, would find something; true if that cannot be told.
#[must_use]
pub fn is_ready(descriptor: &impl AsFd) -> bool {
    let mut set = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut set, PollTimeout::ZERO) != Ok(0)
}

/// Writes to a pipe without waiting for room, though it may be shared with somebody
/// for whom it must wait; how many bytes.
///
/// # Errors
/// EAGAIN: there is no room. EOPNOTSUPP: the kernel cannot tell (pipes: before Linux 6.4).
pub fn write_now(descriptor: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    kernel::write_now(&descriptor.as_fd(), bytes)
}

/// Reads from a pipe what there is without waiting for more, though it is one for which
/// reading waits; how many bytes.
///
/// # Errors
/// EAGAIN: there is nothing. EOPNOTSUPP: the kernel cannot tell (pipes: before Linux 6.4).
pub fn read_now(descriptor: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    kernel::read_now(&descriptor.as_fd(), buffer)
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
