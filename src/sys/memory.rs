//! Memory that goes back to the system: what the allocator keeps, and pages of code.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use nix::libc;

/// Has the allocator put freed pieces together at once. It would put many aside and then,
/// at some free(3), all of them together: milliseconds after a reload of many services.
pub(crate) fn tidy_memory_always() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator.
    unsafe {
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

/// Gives memory back to the system that a reload has used and freed.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: looks at the allocator's own free lists.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the pages of code and constants, this program's and its libraries': most of
/// those that starting has touched are never needed again, and what is needed is still in
/// the page cache.
pub(crate) fn release_code() {
    // SAFETY: the callback looks at what it is given while it is given it.
    unsafe { libc::dl_iterate_phdr(Some(release_segments), ptr::null_mut()) };
}

/// Called for each object that is loaded; zero goes on to the next.
unsafe extern "C" fn release_segments(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: valid during the call, and the name and the headers as long as the object is
    // mapped.
    let (base, name, headers) = unsafe {
        let object = &*object;
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into());
        let named = !object.dlpi_name.is_null();
        let name = if named { CStr::from_ptr(object.dlpi_name).to_bytes() } else { b"" };
        (object.dlpi_addr, name, headers)
    };
    // The program itself has no name; what the kernel has mapped (vdso(7)) is in no file.
    if !(name.is_empty() || name.starts_with(b"/")) {
        return 0;
    }
    // SAFETY: asks for a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let is_constant = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
    };
    for header in headers.iter().filter(is_constant) {
        let start = base + header.p_vaddr / page * page;
        let length = base + header.p_vaddr + header.p_memsz - start;
        if let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(length)) {
            let start = ptr::with_exposed_provenance_mut::<c_void>(start);
            // SAFETY: a private mapping of a file that nothing may write to, so each
            // page comes back as it was. Not so for what is writable, relocations included.
            unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
        }
    }
    0
}
