//! System calls of a child, which may share `errno` with the server.

use std::ffi::c_long;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use std::io;
use std::os::fd::RawFd;

#[allow(clippy::cast_sign_loss, reason = "descriptors are passed to the kernel as they are")]
pub(super) const fn number(descriptor: RawFd) -> usize {
    descriptor as usize
}

/// Whether a child may share our memory: only on processors where [`call`] leaves errno
/// alone, and not with musl, whose clone(2) refuses `CLONE_CHILD_CLEARTID`.
pub(super) const SHARING: bool =
    cfg!(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(target_env = "musl")));

/// A system call that does not touch errno: the result, or minus the error.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn call(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the convention of syscall(2) for x86-64; the arguments are the caller's duty.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") nr => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// A system call that does not touch errno: the result, or minus the error.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn call(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the convention of syscall(2) for AArch64; the arguments are the caller's duty.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") nr,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack)
        );
    }
    result
}

/// A system call; this processor's children have an errno of their own (plain fork).
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn call(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    // SAFETY: the arguments are the caller's duty.
    let result = unsafe { libc::syscall(nr, a, b, c, d, e) };
    if result < 0 {
        -(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) as isize)
    } else {
        result as isize
    }
}

/// Whether this kernel has close_range with its own table for the caller (Linux 5.9).
pub(crate) fn can_share() -> bool {
    // SAFETY: an empty range far above any descriptor: closes nothing.
    SHARING && unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) } == 0
}
