//! Descriptors that this process was started with: each can be taken over once, or closed.
//!
//! What this process opens itself is close-on-exec from birth. So what is not, when that is
//! looked at first, has come through an exec(2), and nothing in here has it.

#![allow(unsafe_code, reason = "descriptors that nobody owns yet")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::libc;

use super::fd;

/// Those that nobody has taken; None before they have been looked for.
static LEFT: Mutex<Option<BTreeSet<RawFd>>> = Mutex::new(None);

fn with_left<T>(work: impl FnOnce(&mut BTreeSet<RawFd>) -> T) -> T {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    work(left.get_or_insert_with(find))
}

fn find() -> BTreeSet<RawFd> {
    // SAFETY: a question; of a number that is not open any more the answer is an error.
    let flags = |number: RawFd| unsafe { libc::fcntl(number, libc::F_GETFD) };
    let has_come = |number: &RawFd| *number > 2 && flags(*number) == 0;
    fd::open_descriptors().into_iter().filter(has_come).collect()
}

/// Makes them close-on-exec: a careless parent's descriptors must not reach the programs.
pub(crate) fn close_on_exec() {
    with_left(|left| {
        if !fd::all_close_on_exec() {
            left.retain(|number| fd::set_close_on_exec(*number, true).is_ok());
        }
    });
}

/// Whether there is one of this number that nobody has taken.
pub(crate) fn is_left(number: RawFd) -> bool {
    with_left(|left| left.contains(&number))
}

/// How many of those that nobody has taken have a number below this limit: they are open for as
/// long as this process is.
pub(crate) fn count_below(limit: u64) -> usize {
    let is_below = |number: &RawFd| u64::try_from(*number).is_ok_and(|number| number < limit);
    with_left(|left| left.iter().copied().filter(is_below).count())
}

/// Takes one over, under its number, close-on-exec.
///
/// # Errors
/// EBADF if it is not there, or has been taken.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    if !with_left(|left| left.remove(&number)) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    fd::set_close_on_exec(number, true)?;
    // SAFETY: it has come through an exec, nobody has had it here, and nobody can take it again.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes those that nobody has taken.
pub(crate) fn close_rest() {
    for number in with_left(|left| left.clone()) {
        drop(take(number));
    }
}
