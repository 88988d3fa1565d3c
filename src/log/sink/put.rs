//! What has come of an attempt to write, and whether another may do better.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFlags, PollTimeout};

use crate::sys::descriptor::becomes_ready;

/// What has come of an attempt to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// So many bytes are out; more may be tried.
    Taken(usize),
    /// The line of so many bytes can never get out.
    Lost(usize),
    /// There is no room now.
    Later,
    /// There will never be room again.
    Gone,
}

/// Waits until something can be written to a descriptor.
pub(super) fn has_room(descriptor: BorrowedFd<'_>, time: Duration) -> bool {
    let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
    becomes_ready(&descriptor, PollFlags::POLLOUT, time).unwrap_or(false)
}
