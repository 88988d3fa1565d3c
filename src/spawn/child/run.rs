//! What a child does from its first moment until exec: its steps in their order, and what it
//! says where one of them fails.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

use super::birth::Birth;
use super::call::{call, number};
use super::descriptors::{keep_stdio_only, own_numbers, take_descriptors, take_own_table};
use super::steps::{
    change_directory, confine_to_paths, forbid_privileges, greet, limit, set_signal_mask,
    take_own_session, take_terminal,
};
use super::user::{change_user, give_up_capabilities, leave_keyring};
use crate::spawn::stage::{RECORD, Stage};

/// Exit status of a child that failed before exec; the reason is in the failure pipe.
pub(crate) const FAILED: i32 = 127;

/// Where a child begins: after clone on its own stack, after fork on a copy of ours.
pub(super) extern "C" fn run_child(birth: *mut c_void) -> c_int {
    // SAFETY: all callers pass a birth that outlives the child's time before exec, as what it
    // names does.
    let (failure, reason) = unsafe {
        let birth = &*birth.cast::<Birth>();
        (birth.failure, prepare_and_exec(birth))
    };
    tell(failure, reason)
}

/// The end of a child that could not become its program: says why.
pub(super) fn tell(failure: RawFd, (stage, errno): (Stage, isize)) -> ! {
    // SAFETY: system calls with a record on our stack; neither returns to Rust code of the server.
    unsafe {
        let mut record = [0u8; RECORD];
        let pid = call(libc::SYS_getpid, 0, 0, 0, 0, 0);
        let words = [pid, stage as isize, errno];
        let mut at = record.as_mut_ptr();
        for word in words {
            at.cast::<[u8; 4]>().write_unaligned(low_word(word));
            at = at.wrapping_add(4);
        }
        call(libc::SYS_write, number(failure), record.as_ptr() as usize, RECORD, 0, 0);
        loop {
            call(libc::SYS_exit_group, FAILED as usize, 0, 0, 0, 0);
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pids, stages and errnos fit"
)]
const fn low_word(word: isize) -> [u8; 4] {
    (word as u32).to_ne_bytes()
}

/// The child's steps, in the order of [`Stage`]; returns only with a failure.
///
/// # Safety
/// What `birth` names is there, and written by nobody from when the child may look at it.
unsafe fn prepare_and_exec(birth: &Birth) -> (Stage, isize) {
    // SAFETY: each step makes system calls with pointers that outlive it. What the child
    // looks at from `job` on is written by nobody: before that it has its descriptors.
    unsafe {
        if let Err(failure) = take_own_table(birth).and_then(|()| take_own_session()) {
            return failure;
        }
        let arrived = match take_descriptors(birth) {
            Ok(arrived) => arrived,
            Err(failure) => return failure,
        };
        let job = &*birth.job;
        let steps = &*job.steps;
        let result = own_numbers(&job.numbers, arrived.as_ref()).and_then(|numbers| {
            keep_stdio_only(numbers)?;
            take_terminal(steps)?;
            limit(steps)?;
            change_directory(steps)?;
            give_up_capabilities(steps)?;
            leave_keyring(steps)?;
            forbid_privileges(steps)?;
            confine_to_paths(numbers)?;
            change_user(steps, birth.sharing)?;
            greet(&*job.greeting);
            set_signal_mask(0)
        });
        if let Err(failure) = result {
            return failure;
        }
        let errno = call(
            libc::SYS_execve,
            steps.path.as_ptr() as usize,
            job.arguments as usize,
            job.environment as usize,
            0,
            0,
        );
        (Stage::Exec, -errno)
    }
}
