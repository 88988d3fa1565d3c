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

mod birth;
mod call;
mod descriptors;
mod fork;
mod outcome;
mod run;
mod slot;
mod stack;
mod steps;
pub(super) mod stub;
mod user;

pub(super) use call::can_share;
pub(crate) use run::FAILED;
pub(super) use slot::{Armed, ChildSlot, NotMade, Running, Settled};

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("oxinetd runs on 64-bit Linux");
