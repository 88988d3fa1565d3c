//! How a child is made, and the code it runs until exec.
//!
//! # How a child is made
//! `clone(CLONE_VM | CLONE_CHILD_CLEARTID)` without `CLONE_VFORK`: no page table is
//! copied and nothing is waited for. The child runs beside the server, in its memory,
//! on a stack of its own, until it execs. Where there are many descriptors (10,000
//! listeners, say) `CLONE_FILES` comes to it, so that they are not copied either.
//!
//! While clients come one after the other, *spares* are made with the time that is left:
//! such children too, which then wait for what they are to become. The next client waits
//! neither for a clone nor for a session.
//!
//! # Why that is sound
//! * *Memory.* The child reads its [`ChildSlot`] only: its birth, written before the clone,
//!   and its job, the prepared program and the environment, written before the clone or,
//!   for a spare, before it is sent its descriptors, without which it does not look at
//!   them. Nobody writes them from then on, until the kernel clears `busy` when the child
//!   execs or exits. A slot in which there is a child cannot be written or started, which its
//!   type says, and is never unmapped. The
//!   child writes its own stack (with a guard page below) and one atomic word. It
//!   allocates nothing, takes no lock, cannot panic, and makes raw system calls that leave
//!   `errno` alone, which is thread-local memory that it shares with the server.
//! * *Descriptors.* A child that begins with the server's table gets its own in these
//!   steps. What it is given was sent to it before it existed, through a channel
//!   that its slot has for itself; so the server closes its copies at once, whatever
//!   the child does. Its first act is `close_range(highest + 1, MAX, UNSHARE)`: from
//!   then on its table, with the channel in it, is its own. Then it receives its
//!   descriptors. What a child that ended before that has not received is closed before
//!   its slot is used again. With either table it then closes all but its own three,
//!   the failure pipe and the ruleset, while it is still the server's user. A spare has
//!   closed everything that it has copied but the failure pipe and the channel before it
//!   waits: it keeps no connection and no address in use.
//! * *Signals.* The server has no signal handler, the runtime's included (see
//!   [`take_over_signals`]), so none can run in the child. Nearly all are blocked, and all
//!   are from before the child changes its user until the last step before exec.
//! * *Time.* A spare waits as the server's user, so that only whoever may signal the server
//!   may signal it, and no longer than a fraction of a second. It ends when the server has
//!   ended: the other side of the channel is closed then.
//! * *Other users.* After setresuid the target user may signal the child. A stop
//!   keeps one slot busy and the server does not care; a kill ends the child
//!   alone. Whether that user may look into the memory, by ptrace(2) or /proc, is written
//!   down with the memory and not with the process: at setresuid and setresgid the kernel
//!   writes `fs.suid_dumpable` there. That is 0 or 2, then, which both keep it closed,
//!   or nobody who changes his user is given the server's memory or a copy of it (see
//!   `dumpable`; it has to be so for all of them, since the next one who does so
//!   opens what one before has closed). With 2 a core dump is still allowed, and before
//!   Linux 5.16 that ended every process sharing the memory: there it is not shared either,
//!   and elsewhere the child forbids it while every signal is blocked.
//! * *What is taken away* (capabilities, paths, limits, set-user-ID, root's session keyring)
//!   is gone before the user changes, so that nothing depends on who may look into the
//!   child from then on. What was asked of the kernel is looked at afterwards where it
//!   can be: ids, groups, the mask of files.
//!
//! Where the kernel lacks close_range (before 5.9), on other processors than the
//! two spelled out in `call`, with `--spawn fork`, when every slot is busy, and
//! for programs in a group of processes (cgroup), the same code runs after a plain
//! fork, and in a fresh process ([`super::stub`]) where a user could look into a copy. In a
//! group that runs out of memory the kernel kills a process and every other that shares
//! its memory: a child that shares ours would take the server with it.
//!
//! [`take_over_signals`]: crate::sys::signals::take_over_signals

#![allow(unsafe_code, reason = "children that share memory, and system calls in them")]

mod call;
mod descriptors;
mod fork;
mod slot;
mod stack;
mod steps;
pub(super) mod stub;
mod user;

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;

pub(super) use call::can_share;
use call::{call, number};
use descriptors::{keep_stdio_only, own_numbers, take_descriptors, take_own_table};
pub(super) use slot::{Armed, ChildSlot, NotMade, Running, Settled};
use steps::{
    change_directory, confine_to_paths, forbid_privileges, greet, limit, set_signal_mask,
    take_own_session, take_terminal,
};
use user::{change_user, give_up_capabilities, leave_keyring};

use super::numbers::Numbers;
use super::stage::Stage;
use super::steps::Steps;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("oxinetd runs on 64-bit Linux");

/// Exit status of a child that failed before exec; the reason is in the failure pipe.
pub(crate) const FAILED: i32 = 127;

/// Size of one record in the failure pipe: pid, stage, errno. Below PIPE_BUF, so atomic.
pub(crate) const RECORD: usize = 12;

/// What a child reads first. Nobody writes it while the child lives before exec.
struct Birth {
    job: *const ChildJob,
    /// Where it tells why it could not become its program.
    failure: RawFd,
    /// Whether it shares our memory.
    sharing: bool,
    /// Where its descriptors come from; none if it has them.
    parcel: Option<DescriptorMessage>,
}

/// How a child that begins with our table of descriptors comes by its own.
#[derive(Clone, Copy)]
struct DescriptorMessage {
    /// Where it takes those that `numbers` of its job names.
    channel: RawFd,
    /// 0 from when they are sent until it has them.
    taken: *const AtomicU32,
    /// It is a spare: they have not been sent yet, nor has its job been written.
    waits: bool,
}

/// What a child is to become. Nobody writes it while the child may look at it.
struct ChildJob {
    steps: *const Steps,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    numbers: Numbers,
    /// Sent before exec.
    greeting: *const [u8],
}

/// Where a child begins: after clone on its own stack, after fork on a copy of ours.
extern "C" fn run_child(birth: *mut c_void) -> c_int {
    // SAFETY: all callers pass a birth that outlives the child's time before exec, as what it
    // names does.
    let (failure, reason) = unsafe {
        let birth = &*birth.cast::<Birth>();
        (birth.failure, prepare_and_exec(birth))
    };
    tell(failure, reason)
}

/// The end of a child that could not become its program: says why.
fn tell(failure: RawFd, (stage, errno): (Stage, isize)) -> ! {
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

type StepResult = Result<(), (Stage, isize)>;

fn check(stage: Stage, result: isize) -> StepResult {
    if result < 0 { Err((stage, -result)) } else { Ok(()) }
}

/// What was asked for is what is, or there is no exec.
fn same(stage: Stage, is: usize, wanted: usize) -> StepResult {
    if is == wanted { Ok(()) } else { Err((stage, libc::EPERM as isize)) }
}
