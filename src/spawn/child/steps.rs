//! The child's steps that leave it the user that it is.

use super::call::{call, number};
use super::outcome::{StepResult, check, same};
use crate::spawn::numbers::Numbers;
use crate::spawn::stage::Stage;
use crate::spawn::steps::{ResourceLimit, Steps};

/// TIOCSCTTY, as everywhere but on MIPS, PowerPC and SPARC; `libc` has it in different types.
#[allow(clippy::cast_possible_truncation, reason = "64-bit only")]
#[allow(clippy::unnecessary_cast, reason = "signed with musl")]
#[allow(clippy::cast_sign_loss, reason = "positive")]
const TAKE_TERMINAL: usize = libc::TIOCSCTTY as usize;

/// A session of its own, and with it a group of processes.
pub(super) unsafe fn take_own_session() -> StepResult {
    // SAFETY: no pointers.
    check(Stage::Session, unsafe { call(libc::SYS_setsid, 0, 0, 0, 0, 0) })
}

/// Standard input becomes the terminal of the session, which has none yet; the program's group
/// is in its foreground then.
pub(super) unsafe fn take_terminal(steps: &Steps) -> StepResult {
    if !steps.terminal {
        return Ok(());
    }
    // SAFETY: plain numbers: nobody's terminal is taken away.
    check(Stage::Terminal, unsafe { call(libc::SYS_ioctl, 0, TAKE_TERMINAL, 0, 0, 0) })
}

pub(super) unsafe fn limit(steps: &Steps) -> StepResult {
    // SAFETY: the only pointers are to limits on our stack.
    unsafe {
        for limit in &steps.limits {
            let values = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
            let (resource, wanted) = (limit.resource as usize, (&raw const values) as usize);
            let result = call(libc::SYS_prlimit64, 0, resource, wanted, 0, 0);
            if result == -(libc::EPERM as isize) && limit.or_less {
                limit_to_what_there_is(limit)?;
            } else {
                check(Stage::Limits, result)?;
            }
        }
        if let Some(umask) = steps.umask {
            let umask = umask as usize;
            // The answer is the mask before: of the second call the one that was wanted.
            check(Stage::Umask, call(libc::SYS_umask, umask, 0, 0, 0, 0))?;
            let now = call(libc::SYS_umask, umask, 0, 0, 0, 0);
            check(Stage::Umask, now)?;
            same(Stage::Umask, now.unsigned_abs(), umask)?;
        }
        if let Some(priority) = steps.priority {
            let result =
                call(libc::SYS_setpriority, libc::PRIO_PROCESS as usize, 0, number(priority), 0, 0);
            check(Stage::Nice, result)?;
        }
    }
    Ok(())
}

/// Somebody has lowered the server's own limit since it was started (prlimit(2)), or more is
/// asked for than there is.
unsafe fn limit_to_what_there_is(limit: &ResourceLimit) -> StepResult {
    let mut now = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the only pointers are to limits on our stack.
    unsafe {
        let (resource, room) = (limit.resource as usize, (&raw mut now) as usize);
        check(Stage::Limits, call(libc::SYS_prlimit64, 0, resource, 0, room, 0))?;
        now.rlim_cur = limit.soft.min(now.rlim_max);
        let wanted = (&raw const now) as usize;
        check(Stage::Limits, call(libc::SYS_prlimit64, 0, resource, wanted, 0, 0))
    }
}

pub(super) unsafe fn change_directory(steps: &Steps) -> StepResult {
    // SAFETY: C strings inside `steps`.
    unsafe {
        if let Some(root) = &steps.chroot {
            check(Stage::Chroot, call(libc::SYS_chroot, root.as_ptr() as usize, 0, 0, 0, 0))?;
        }
        if let Some(directory) = &steps.chdir {
            check(Stage::Chdir, call(libc::SYS_chdir, directory.as_ptr() as usize, 0, 0, 0, 0))?;
        }
    }
    Ok(())
}

/// Before the user is changed: what this and the next step take away, whoever may look into
/// the process from then on could not give back.
pub(super) unsafe fn forbid_privileges(steps: &Steps) -> StepResult {
    if !steps.no_new_privs {
        return Ok(());
    }
    // SAFETY: no pointers.
    let result = unsafe { call(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0) };
    check(Stage::Privileges, result)
}

/// After everything that needs the file system but exec itself, and while the server's user
/// alone may look into the process.
pub(super) unsafe fn confine_to_paths(numbers: Numbers) -> StepResult {
    if numbers.ruleset < 0 {
        return Ok(());
    }
    // SAFETY: plain numbers; the descriptor goes at exec.
    let result =
        unsafe { call(libc::SYS_landlock_restrict_self, number(numbers.ruleset), 0, 0, 0, 0) };
    check(Stage::Landlock, result)
}

/// What the client is told when nothing but exec can fail any more, for the program; it is
/// a few bytes into an empty buffer, and no signal comes of a client that is gone.
pub(super) unsafe fn greet(greeting: &[u8]) {
    if greeting.is_empty() {
        return;
    }
    let flags = number(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
    let (text, length) = (greeting.as_ptr() as usize, greeting.len());
    // SAFETY: a slice that outlives this child's time before exec. Without an address nobody looks at its length.
    // A client that is gone is for the program to find out.
    unsafe { call(libc::SYS_sendto, 0, text, length, flags, 0) };
}

/// Blocks the signals whose bits are set, as far as they can be, and no others.
pub(super) unsafe fn set_signal_mask(mask: u64) -> StepResult {
    // SAFETY: a signal set on our stack.
    let result = unsafe {
        call(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as usize,
            (&raw const mask) as usize,
            0,
            size_of::<u64>(),
            0,
        )
    };
    check(Stage::Signals, result)
}
