//! accept4(2) for sockets of families that the standard library does not know.

#![allow(unsafe_code, reason = "raw system calls")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// Takes a connection: blocking, close-on-exec.
///
/// # Errors
/// What the system answered.
pub(crate) fn accept(listener: &impl AsFd) -> io::Result<OwnedFd> {
    let number = listener.as_fd().as_raw_fd();
    let (name, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: accept4(2) on a descriptor that is open; it is not asked for the address.
    let accepted = unsafe { libc::accept4(number, name, length, libc::SOCK_CLOEXEC) };
    let accepted = Errno::result(accepted)?;
    // SAFETY: the call has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
}
