//! Which threads have a table of descriptors of their own (kcmp(2), Linux 3.5).

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::c_int;

/// `linux/kcmp.h`.
const FILES: c_int = 2;

/// Whether two threads are known to have one table of descriptors.
pub(crate) fn is_one(pid: i32, other: i32) -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::syscall(libc::SYS_kcmp, pid, other, FILES, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_own_table_and_shares_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!is_one(own, i32::MAX));
        // Not every kernel compares them.
        if is_one(own, own) {
            let compare = || {
                let thread = nix::unistd::gettid().as_raw();
                let before = is_one(own, thread);
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
                (before, is_one(own, thread))
            };
            let compared = std::thread::scope(|scope| scope.spawn(compare).join());
            assert_eq!(compared.unwrap(), (true, false));
        }
    }
}
