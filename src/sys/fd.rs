//! Descriptors by their numbers: copies of them, what exec(2) keeps, which there are, and
//! reading and writing that never waits.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use nix::libc;

use super::proc::numbers_in;

/// Makes every descriptor above 2 close-on-exec; whether the system can, as of Linux 5.11.
pub(super) fn all_close_on_exec() -> bool {
    const CLOSE_RANGE_CLOEXEC: c_int = 4;
    // SAFETY: sets a flag on descriptors; closes none.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, CLOSE_RANGE_CLOEXEC) == 0 }
}

/// A copy of a descriptor under the lowest free number from `least`, close-on-exec.
///
/// # Errors
/// fcntl(2)'s.
pub(crate) fn duplicate_from(descriptor: &impl AsRawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: makes a new descriptor.
    let copy = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Whether this is the number of a descriptor.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: a question; a number that is not open is an error and no harm.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Whether exec(2) closes a descriptor.
///
/// # Errors
/// EBADF.
pub(crate) fn set_close_on_exec(number: RawFd, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: sets a flag; a number that is not open is an error and no harm.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor above 2 but one.
///
/// # Safety
/// Whoever owns them in this process is never used any more, nor dropped.
pub(super) unsafe fn keep_only(descriptor: &impl AsFd) {
    let kept = descriptor.as_fd().as_raw_fd();
    let close = |first: RawFd, last: u32| {
        // SAFETY: closes numbers whose owners are never used again (above).
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
    };
    let below = kept <= 3 || close(3, kept.unsigned_abs().saturating_sub(1));
    if below && close(kept.saturating_add(1), u32::MAX) {
        return;
    }
    // Before Linux 5.9: one by one.
    for number in open_descriptors().into_iter().filter(|&number| number > 2 && number != kept) {
        // SAFETY: as above; a number that is not open is an error and no harm.
        unsafe { libc::close(number) };
    }
}

/// How far descriptors are looked for where there is no /proc.
const MOST_NUMBERS: RawFd = 65_536;

/// The numbers of this process's descriptors.
pub(super) fn open_descriptors() -> Vec<RawFd> {
    // Else asked for one by one, as far as anybody has any.
    let one_by_one = |_| (0..MOST_NUMBERS).filter(|number| is_open(*number)).collect();
    numbers_in("/proc/self/fd").unwrap_or_else(one_by_one)
}

/// Where in a file: wherever it is, in two halves, as the raw calls want it. On 64-bit
/// machines the first is the whole.
const HERE: [c_long; 2] = [-1, -1];

/// Writes without waiting, whatever flags the descriptor has (RWF_NOWAIT). The raw call:
/// musl has it as of 1.2.5 only.
///
/// # Errors
/// pwritev2(2)'s: EAGAIN when it would wait, EOPNOTSUPP when it cannot promise not to.
pub(crate) fn write_now(descriptor: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the one part is a live slice, which the kernel reads and does not write.
    unsafe { without_waiting(libc::SYS_pwritev2, descriptor, &part) }
}

/// Reads what there is without waiting for more, whatever flags the descriptor has. The raw
/// call, as in [`write_now`].
///
/// # Errors
/// preadv2(2)'s: EAGAIN when it would wait, EOPNOTSUPP when it cannot promise not to.
pub(crate) fn read_now(descriptor: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the one part is a live slice that nobody else has, and the kernel writes no
    // more than its length into it.
    unsafe { without_waiting(libc::SYS_preadv2, descriptor, &part) }
}

/// # Safety
/// `call` is preadv2(2) or pwritev2(2), and may do to the part what it does.
unsafe fn without_waiting(
    call: c_long,
    descriptor: &impl AsRawFd,
    part: &libc::iovec,
) -> io::Result<usize> {
    let (number, [low, high]) = (descriptor.as_raw_fd(), HERE);
    let part = ptr::from_ref(part);
    // SAFETY: one part, which the caller vouches for.
    let done = unsafe { libc::syscall(call, number, part, 1usize, low, high, libc::RWF_NOWAIT) };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}
