//! The stack of a child that shares our memory.

use std::ffi::c_void;
use std::io;
use std::ptr;

/// Bytes of a child's stack; the child's functions need a few hundred.
const STACK: usize = 32 * 1024;

/// A child's stack: pages of its own above a page that faults.
pub(super) struct Stack {
    base: *mut c_void,
    guard: usize,
}

impl Stack {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let guard = usize::try_from(page).map_err(io::Error::other)?;
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                guard + STACK,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { base, guard };
        // SAFETY: inside the mapping made above, which nobody uses yet.
        let result = unsafe {
            libc::mprotect(base.byte_add(guard), STACK, libc::PROT_READ | libc::PROT_WRITE)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(stack) }
    }

    /// Lets go of what is in it.
    ///
    /// # Safety
    /// No child uses it.
    pub(super) unsafe fn release(&self) {
        // SAFETY: the part of our mapping above the guard, which nobody uses; and each child
        // begins with writing what it is going to read.
        unsafe { libc::madvise(self.base.byte_add(self.guard), STACK, libc::MADV_DONTNEED) };
    }

    /// Stacks grow down: one past the last byte. A multiple of the page size, so aligned.
    pub(super) fn top(&self) -> *mut c_void {
        self.base.wrapping_byte_add(self.guard + STACK)
    }
}
