//! A child in a copy of our memory.

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::os::fd::RawFd;

use crate::spawn::error::SpawnError;

/// A fork, into a group of processes perhaps, whose child runs `child` in a copy of our memory.
///
/// # Safety
/// `child` must not return, and do in a copy of this process only what may be done there.
pub(super) unsafe fn fork(
    group: Option<RawFd>,
    child: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> Result<i32, SpawnError> {
    let pid = match group {
        None => fork_plainly(),
        Some(group) => fork_into(group),
    };
    if pid == 0 {
        child(argument);
    }
    if pid < 0 {
        let error = io::Error::last_os_error();
        return Err(match group {
            None => SpawnError::System(error),
            Some(_) => SpawnError::InGroup(error),
        });
    }
    i32::try_from(pid).map_err(|error| SpawnError::System(io::Error::other(error)))
}

/// A plain fork: 0 in the child.
fn fork_plainly() -> c_long {
    let flags = c_long::from(libc::SIGCHLD);
    // SAFETY: a fork of a single-threaded process. The raw call (flags, stack, …) and not
    // fork(3), whose care for libc such a child has no use for.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) }
}

/// A fork whose child is in a group of processes (cgroup v2) from its birth, so that
/// the group's limits hold for it too: one that is moved there later is let in
/// over the limit. clone3(2), Linux 5.7.
fn fork_into(group: RawFd) -> c_long {
    /// `libc` has it as a signed 32-bit number, in which it does not fit.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zero is a valid value of this struct of numbers.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    arguments.cgroup = u64::from(group.unsigned_abs());
    // SAFETY: as for `fork_plainly`; the kernel reads the struct.
    unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) }
}
