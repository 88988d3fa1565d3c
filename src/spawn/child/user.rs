//! The child's steps to another user, and to less than that user could have.

use std::ffi::c_long;

use super::call::call;
use super::outcome::{StepResult, check, same};
use super::steps::set_signal_mask;
use crate::spawn::stage::Stage;
use crate::spawn::steps::Steps;
use crate::sys::capabilities::CAPABILITIES_VERSION;

/// A session keyring with nothing in it, for whoever is to become somebody else: a process
/// may do with the keys of its keyring what their owner has granted to holders, whoever it
/// is by then, and the server's may hold root's (`pam_keyinit`, `kinit`). As the server's
/// user: a new keyring counts, and of others the kernel lets each have 200.
///
/// Where there are no keyrings, where a filter of system calls or a security module keeps
/// them away, or where there are too many, programs do without.
pub(super) unsafe fn leave_keyring(steps: &Steps) -> StepResult {
    if steps.uid.is_none() {
        return Ok(());
    }
    let join = libc::KEYCTL_JOIN_SESSION_KEYRING as usize;
    // SAFETY: no name, so no pointer.
    let result = unsafe { call(libc::SYS_keyctl, join, 0, 0, 0, 0) };
    let without = [libc::ENOSYS, libc::EPERM, libc::EACCES, libc::EDQUOT];
    if without.iter().any(|errno| result == -(*errno as isize)) {
        return Ok(());
    }
    check(Stage::Keyring, result)
}

pub(super) unsafe fn change_user(steps: &Steps, sharing: bool) -> StepResult {
    // SAFETY: a slice inside `steps`, and plain numbers.
    unsafe {
        if let Some(groups) = &steps.groups {
            let result = call(libc::SYS_setgroups, groups.len(), groups.as_ptr() as usize, 0, 0, 0);
            check(Stage::Groups, result)?;
            verify_groups(groups)?;
        }
        if let Some(gid) = steps.gid {
            let gid = gid as usize;
            check(Stage::Gid, call(libc::SYS_setresgid, gid, gid, gid, 0, 0))?;
            verify(libc::SYS_getresgid, gid)?;
        }
        if let Some(uid) = steps.uid {
            let uid = uid as usize;
            if sharing {
                set_signal_mask(u64::MAX)?;
            }
            check(Stage::Uid, call(libc::SYS_setresuid, uid, uid, uid, 0, 0))?;
            verify(libc::SYS_getresuid, uid)?;
            if sharing {
                let result = call(libc::SYS_prctl, libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0);
                check(Stage::Privileges, result)?;
            }
        }
    }
    Ok(())
}

/// Leaves the program and its children no capability beside those that are kept:
/// none that exec could bring back (the bounding set), none to inherit, and none
/// ambient, which the kernel takes away with the inheritable ones. What this process
/// has itself it needs until exec, which computes anew: root's from the bounding
/// set, others' from the inheritable and the ambient one. Where the bounding set cannot be
/// lowered and nobody's user changes, it goes at once: exec could give it back of it.
pub(super) unsafe fn give_up_capabilities(steps: &Steps) -> StepResult {
    let Some(capabilities) = &steps.capabilities else { return Ok(()) };
    // This process.
    let mut header = [CAPABILITIES_VERSION, 0];
    let header = (&raw mut header) as usize;
    // Effective, permitted and inheritable of the lower 32, then of the upper.
    let mut sets = [0_u32; 6];
    // SAFETY: header and sets are on our stack, as large as the kernel takes them to be.
    unsafe {
        let result = call(libc::SYS_capget, header, (&raw mut sets) as usize, 0, 0, 0);
        check(Stage::Capabilities, result)?;
        let [effective, permitted, low, high_effective, high_permitted, high] = &mut sets;
        *low &= low_half(capabilities.kept);
        *high &= low_half(capabilities.kept >> 32);
        if capabilities.at_once {
            (*effective, *permitted) = (*effective & *low, *permitted & *low);
            (*high_effective, *high_permitted) = (*high_effective & *high, *high_permitted & *high);
        }
        let result = call(libc::SYS_capset, header, (&raw mut sets) as usize, 0, 0, 0);
        check(Stage::Capabilities, result)?;
        for capability in &capabilities.dropped {
            let drop = libc::PR_CAPBSET_DROP as usize;
            let result = call(libc::SYS_prctl, drop, *capability as usize, 0, 0, 0);
            check(Stage::Capabilities, result)?;
        }
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "the other half is asked for by itself")]
const fn low_half(set: u64) -> u32 {
    set as u32
}

/// Real, effective and saved id are all the one asked for, or there is no exec.
unsafe fn verify(question: c_long, wanted: usize) -> StepResult {
    let (mut real, mut effective, mut saved) = (0u32, 0u32, 0u32);
    // SAFETY: three numbers on our stack.
    let result = unsafe {
        call(
            question,
            (&raw mut real) as usize,
            (&raw mut effective) as usize,
            (&raw mut saved) as usize,
            0,
            0,
        )
    };
    check(Stage::Verify, result)?;
    [real, effective, saved].iter().try_for_each(|id| same(Stage::Verify, *id as usize, wanted))
}

/// Groups that are looked at one by one; of more, which few have, only how many they are.
const LOOKED_AT: usize = 256;

/// The groups are those asked for: as many, and each of them one of those.
unsafe fn verify_groups(wanted: &[u32]) -> StepResult {
    let mut groups = [0u32; LOOKED_AT];
    let room = if wanted.len() > LOOKED_AT { 0 } else { LOOKED_AT };
    // SAFETY: numbers on our stack, as many as there is said to be room for.
    let count = unsafe { call(libc::SYS_getgroups, room, (&raw mut groups) as usize, 0, 0, 0) };
    check(Stage::Verify, count)?;
    let count = count.unsigned_abs();
    same(Stage::Verify, count, wanted.len())?;
    let mut there = groups.iter().take(count.min(room));
    if there.all(|group| wanted.contains(group)) {
        return Ok(());
    }
    Err((Stage::Verify, libc::EPERM as isize))
}
