//! What the standard library does not say of a file: extended attributes, and the mode of what
//! a descriptor only names.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{CStr, CString, c_long};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::libc;

/// Sets the mode of what a descriptor names that is good for nothing else (fchmodat2(2),
/// Linux 6.6).
///
/// # Errors
/// fchmodat2(2)'s: ENOSYS.
pub(crate) fn change_mode(named: &impl AsRawFd, mode: u32) -> io::Result<()> {
    /// Not every libc knows it.
    const SYS_FCHMODAT2: c_long = 452;
    // SAFETY: an empty path that lives for ever, and plain numbers.
    let result = unsafe {
        libc::syscall(SYS_FCHMODAT2, named.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a file has an extended attribute of this name, and it is `1`.
pub(crate) fn is_marked(path: &Path, name: &CStr) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut value = [0u8; 2];
    // SAFETY: two C strings, and as much room as the kernel is told.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    length == 1 && value.starts_with(b"1")
}
