//! What this process has of capabilities (capabilities(7)).

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::c_long;

use nix::libc;

/// What this process has of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Own {
    /// What it and its children can have at most.
    pub bounding: u64,
    /// What it passes on; the ambient ones are among them.
    pub inheritable: u64,
    /// It may lower the bounding set of its children (CAP_SETPCAP).
    pub can_drop: bool,
}

/// What this process has of capabilities, and would pass on.
pub(crate) fn own_capabilities() -> Own {
    let has = |number: &u32| {
        // SAFETY: a question; a number that the kernel does not know is an error and no harm.
        unsafe { libc::prctl(libc::PR_CAPBSET_READ, c_long::from(*number)) == 1 }
    };
    let bounding = (0..u64::BITS).filter(has).fold(0, |set, number| set | 1 << number);
    let header = [CAPABILITIES_VERSION, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: both are as large as the kernel takes them to be. It fails for no version that
    // it knows, and leaves zeros then.
    unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    let [effective, _, low, _, _, high] = sets;
    Own {
        bounding,
        inheritable: u64::from(low) | u64::from(high) << 32,
        can_drop: effective & (1 << CAP_SETPCAP) != 0,
    }
}

/// Version 3 of the interface of capget(2) and capset(2).
pub(crate) const CAPABILITIES_VERSION: u32 = 0x2008_0522;

/// The number of the capability that the bounding set is lowered with.
const CAP_SETPCAP: u32 = 8;
