//! The child's steps to a table of descriptors with nothing in it but what is its own.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::Ordering;

use super::birth::{Birth, DescriptorMessage};
use super::call::{call, number};
use super::outcome::{StepResult, check};
use crate::spawn::numbers::{MOST_SENT, Numbers};
use crate::spawn::stage::Stage;

/// Gives a child that has begun with the server's table of descriptors a copy of its lower
/// end. If that fails, nothing may be changed in it, and nothing is, but the failure is told
/// as any other.
pub(super) unsafe fn take_own_table(birth: &Birth) -> StepResult {
    let Some(parcel) = birth.parcel else { return Ok(()) };
    let (failure, channel) = (number(birth.failure), number(parcel.channel));
    let unshare = libc::CLOSE_RANGE_UNSHARE as usize;
    let above = channel.max(failure) + 1;
    // SAFETY: no pointers.
    unsafe {
        let result = call(libc::SYS_close_range, above, u32::MAX as usize, unshare, 0, 0);
        check(Stage::Descriptors, result)?;
        // Whoever waits keeps nobody's connection.
        if parcel.waits && channel > failure + 1 {
            let result = call(libc::SYS_close_range, failure + 1, channel - 1, 0, 0, 0);
            check(Stage::Descriptors, result)?;
        }
    }
    Ok(())
}

/// Takes the descriptors that a child is sent, which a spare waits for; none if it has its
/// own already. From here on it may look at its job.
pub(super) unsafe fn take_descriptors(birth: &Birth) -> Result<Option<Rights>, (Stage, isize)> {
    let Some(parcel) = &birth.parcel else { return Ok(None) };
    let mut rights = Rights { length: 0, level: 0, kind: 0, numbers: [-1; MOST_SENT], _padding: 0 };
    // SAFETY: the channel is in the table that has just been copied, the flag in the slot,
    // which is busy and therefore alive.
    unsafe {
        receive(parcel, &mut rights)?;
        (*parcel.taken).swap(1, Ordering::AcqRel);
    }
    Ok(Some(rights))
}

/// A message with descriptors, as the kernel writes it (unix(7), cmsg(3)).
#[repr(C)]
pub(super) struct Rights {
    length: usize,
    level: c_int,
    kind: c_int,
    numbers: [RawFd; MOST_SENT],
    /// The kernel's messages are a multiple of a word.
    _padding: c_int,
}

/// What recvmsg(2) takes, as the kernel has it: that of libc need not be the same.
#[repr(C)]
struct MessageHeader {
    name: usize,
    name_length: usize,
    parts: *mut libc::iovec,
    part_count: usize,
    control: *mut Rights,
    control_length: usize,
    flags: usize,
}

/// Receives the descriptors that were sent, or are going to be.
unsafe fn receive(parcel: &DescriptorMessage, rights: &mut Rights) -> StepResult {
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut message = MessageHeader {
        name: 0,
        name_length: 0,
        parts: &raw mut part,
        part_count: 1,
        control: ptr::from_mut(rights),
        control_length: size_of::<Rights>(),
        flags: 0,
    };
    let wait = if parcel.waits { 0 } else { libc::MSG_DONTWAIT };
    let flags = number(wait | libc::MSG_CMSG_CLOEXEC);
    let message = (&raw mut message) as usize;
    // SAFETY: everything that the message names is on our stack.
    let result = unsafe { call(libc::SYS_recvmsg, number(parcel.channel), message, flags, 0, 0) };
    // Nothing is sent without a byte: the server has ended.
    let result = if result == 0 { -(libc::EPIPE as isize) } else { result };
    check(Stage::Descriptors, result)
}

/// The descriptors of a child under its own numbers.
pub(super) fn own_numbers(
    numbers: &Numbers,
    arrived: Option<&Rights>,
) -> Result<Numbers, (Stage, isize)> {
    let Some(rights) = arrived else { return Ok(*numbers) };
    let header = size_of::<Rights>() - size_of::<[c_int; MOST_SENT + 1]>();
    let (_, sent) = numbers.sent();
    if rights.length != header + sent * size_of::<RawFd>() {
        // Some have found no room.
        return Err((Stage::Descriptors, libc::EMFILE as isize));
    }
    Ok(numbers.arrived(rights.numbers))
}

/// Standard input, output and error, and nothing else but the failure pipe and the
/// ruleset: close
/// on exec would do that too, but a child that its user stops before exec must not
/// keep other services' connections open.
pub(super) unsafe fn keep_stdio_only(numbers: Numbers) -> StepResult {
    // SAFETY: plain numbers.
    unsafe {
        // dup3 clears close-on-exec on the copy. The sources are above 2 (see
        // `Spawner::new`), so none is overwritten before it is used.
        for (from, to) in [(numbers.socket, 0usize), (numbers.socket, 1), (numbers.stderr, 2)] {
            check(Stage::Stdio, call(libc::SYS_dup3, number(from), to, 0, 0, 0))?;
        }
        // The failure pipe is the lowest of the server's own, but need not be in a fresh
        // process. Kernels without this call are left with close on exec.
        let (failure, ruleset) = (number(numbers.failure), number(numbers.ruleset));
        let kept = match numbers.ruleset {
            ..0 => [failure, failure],
            _ => [failure.min(ruleset), failure.max(ruleset)],
        };
        let mut first = 3;
        for number in kept {
            if first < number {
                call(libc::SYS_close_range, first, number - 1, 0, 0, 0);
            }
            first = number + 1;
        }
        call(libc::SYS_close_range, first, u32::MAX as usize, 0, 0, 0);
    }
    Ok(())
}
