//! The numbers of descriptors, which matter: what a child begins with is a copy of our
//! table.
//!
//! A copy of one that ends below 64 is the kernel's least; a larger one is made of
//! pieces of their own. So where there are few descriptors, those that live long are close
//! above those that come and go. Where there are many a child copies the lower end only:
//! then that has room for all that come and go, and few others are in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use crate::sys::{fd, file_attributes, inherited};

/// Descriptors that live long are numbered from here where there are few.
pub(crate) const LONG_LIVED: RawFd = 16;

/// Those that live as long as a client or a program are numbered from here where there are
/// few: when they have become many, these stay where they are, and each child copies them.
const HELD: RawFd = 48;

/// A table that ends here needs no memory of its own (NR_OPEN_DEFAULT in the kernel).
const SMALL: RawFd = 64;

/// Where there are many, they are numbered from here.
pub(crate) const FAR: RawFd = 128;

/// The lowest number of the server's own descriptors; below are the standard three.
pub(crate) const LOWEST: RawFd = 3;

/// With so many services there are many. Some numbers are for their programs' sake.
const FEW_SERVICES: usize = 32;

/// A higher number than this is one of many. With one service and 64 clients there are
/// 140 descriptors; copying so many costs as much as sending those that a child needs.
const FEW: RawFd = FAR + 80;

/// Numbers that [`forget_closed`] looks at in one call.
const LOOKS: usize = 16;

/// No long-lived one that is open has a higher number.
static HIGHEST: AtomicI32 = AtomicI32::new(LONG_LIVED);

/// Whether so many are expected that there is no use in beginning with low numbers.
static MANY_EXPECTED: AtomicBool = AtomicBool::new(false);

/// To be told of the number of services before their sockets are opened.
pub(crate) fn expect_services(count: usize) {
    MANY_EXPECTED.store(count > FEW_SERVICES, Ordering::Relaxed);
}

/// Whether there are many, by the highest number: whoever copies our table copies it up
/// to there, however few are left below.
pub(crate) fn are_many() -> bool {
    HIGHEST.load(Ordering::Relaxed) > FEW
}

/// Finds out, bit by bit, that there are many no more. Each number is looked at once
/// for each time that it was given away, at most.
pub(crate) fn forget_closed() {
    for _ in 0..LOOKS {
        let highest = HIGHEST.load(Ordering::Relaxed);
        if highest < SMALL || fd::is_open(highest) {
            return;
        }
        HIGHEST.store(highest.saturating_sub(1), Ordering::Relaxed);
    }
}

/// Whether there are so many that low numbers are for what comes and goes alone.
fn keep_away() -> bool {
    MANY_EXPECTED.load(Ordering::Relaxed) || HIGHEST.load(Ordering::Relaxed) >= FAR
}

fn note(descriptor: &impl AsRawFd) {
    HIGHEST.fetch_max(descriptor.as_raw_fd(), Ordering::Relaxed);
}

/// A copy under a number for those that live long, which begin with `few` where there are few.
fn copy_above(descriptor: &impl AsRawFd, few: RawFd) -> io::Result<OwnedFd> {
    let first = if keep_away() { FAR } else { few };
    let mut copy = fd::duplicate_from(descriptor, first)?;
    if (SMALL..FAR).contains(&copy.as_raw_fd()) {
        // The lower ones are taken. Those in between are for what comes and goes, too.
        copy = fd::duplicate_from(&copy, FAR).unwrap_or(copy);
    }
    note(&copy);
    Ok(copy)
}

/// Moves a descriptor up to where the long-lived ones are. It stays where it is if
/// there are no such numbers (a very low limit): that costs time, not function.
pub(crate) fn raise(mut descriptor: OwnedFd) -> OwnedFd {
    move_up(&mut descriptor, LONG_LIVED);
    descriptor
}

/// The same for one that lives as long as a client or a program.
pub(crate) fn raise_held(mut descriptor: OwnedFd) -> OwnedFd {
    raise_held_in_place(&mut descriptor);
    descriptor
}

/// The same for one that somebody has.
pub(crate) fn raise_held_in_place<T: AsRawFd + From<OwnedFd>>(owner: &mut T) {
    move_up(owner, HELD);
}

fn move_up<T: AsRawFd + From<OwnedFd>>(owner: &mut T, few: RawFd) {
    let number = owner.as_raw_fd();
    if number >= FAR || (few..SMALL).contains(&number) && !keep_away() {
        note(owner);
    } else if let Ok(copy) = copy_above(owner, few) {
        *owner = T::from(copy);
    }
}

/// Takes over a descriptor that this process was started with: moved up to where the long-lived ones are, close-on-exec.
///
/// # Errors
/// EBADF when it is not there, or has been taken.
pub(crate) fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    let taken = inherited::take(number)?;
    let copy = copy_above(&taken, LONG_LIVED).or_else(|_| fd::duplicate_from(&taken, LOWEST));
    // There may be no more numbers, and it may have one beyond the limit.
    Ok(copy.unwrap_or(taken))
}

/// A copy for a child, close-on-exec until it is the child's.
///
/// # Errors
/// When there are no more descriptors.
pub(crate) fn copy(descriptor: &impl AsFd) -> io::Result<OwnedFd> {
    fd::duplicate_from(&descriptor.as_fd(), LOWEST)
}

/// Whether reading, or accepting, would find something; true if that cannot be told.
pub(crate) fn is_ready(descriptor: &impl AsFd) -> bool {
    becomes_ready(descriptor, PollFlags::POLLIN, PollTimeout::ZERO).unwrap_or(true)
}

/// Whether whoever is at the other end of a connection has said that nothing more will come.
pub(crate) fn says_no_more(connection: &impl AsFd) -> bool {
    let end = PollFlags::from_bits_retain(libc::POLLRDHUP);
    becomes_ready(connection, end, PollTimeout::ZERO).unwrap_or(false)
}

/// Names the call that has failed, and what it was for, where the error is all that is told.
pub(crate) fn of<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> io::Error {
    move |error| {
        let error: io::Error = error.into();
        io::Error::new(error.kind(), format!("{what}: {error}"))
    }
}

/// Waits until one of `events`, or an error or an end, is there; false if none is in `time`,
/// whatever interrupts that.
///
/// # Errors
/// poll(2)'s.
pub(crate) fn becomes_ready(
    descriptor: &impl AsFd,
    events: PollFlags,
    time: PollTimeout,
) -> nix::Result<bool> {
    let mut set = [PollFd::new(descriptor.as_fd(), events)];
    let (began, mut left) = (Instant::now(), time);
    loop {
        match poll(&mut set, left) {
            Err(Errno::EINTR) => {
                let rest = |time: Duration| time.saturating_sub(began.elapsed()).try_into().ok();
                left = time.duration().and_then(rest).unwrap_or(time);
            }
            other => return other.map(|ready| ready > 0),
        }
    }
}

/// Writes to a pipe without waiting for room, though it may be shared with somebody
/// for whom it must wait; how many bytes.
///
/// # Errors
/// EAGAIN: there is no room. EOPNOTSUPP: the kernel cannot tell (pipes: before Linux 6.4).
pub(crate) fn write_now(descriptor: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    fd::write_now(&descriptor.as_fd(), bytes)
}

/// Reads from a pipe what there is without waiting for more, though it is one for which
/// reading waits; how many bytes.
///
/// # Errors
/// EAGAIN: there is nothing. EOPNOTSUPP: the kernel cannot tell (pipes: before Linux 6.4).
pub(crate) fn read_now(descriptor: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    fd::read_now(&descriptor.as_fd(), buffer)
}

/// Sends to a connected socket what there is room for, without waiting for more and without
/// a signal where nobody reads; how many bytes.
///
/// # Errors
/// send(2)'s. EAGAIN: there is no room.
pub(crate) fn send_now(socket: &impl AsRawFd, bytes: &[u8]) -> nix::Result<usize> {
    send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
}

/// The same of what goes together with the end of the connection, if that is said next: else
/// the last of it may wait for a moment.
///
/// # Errors
/// As above.
pub(crate) fn send_before_end(socket: &impl AsRawFd, bytes: &[u8]) -> nix::Result<usize> {
    let more = MsgFlags::from_bits_retain(nix::libc::MSG_MORE);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL | more;
    send(socket.as_raw_fd(), bytes, flags)
}

/// The same of one byte, of which whoever is connected hears before he reads what comes before
/// it. Where there is no such thing it is sent as any other.
///
/// # Errors
/// As above.
pub(crate) fn send_urgent(socket: &impl AsRawFd, byte: &[u8]) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_OOB | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match send(socket.as_raw_fd(), byte, flags) {
        Err(Errno::EOPNOTSUPP) => send_now(socket, byte),
        other => other,
    }
}

/// Sets the mode of what a descriptor names that is good for nothing else.
///
/// # Errors
/// fchmodat2(2)'s: ENOSYS before Linux 6.6.
pub(crate) fn change_mode(named: &impl AsRawFd, mode: u32) -> io::Result<()> {
    file_attributes::change_mode(named, mode)
}

/// Sets O_NONBLOCK.
///
/// # Errors
/// fcntl(2)'s.
pub(crate) fn set_nonblocking(descriptor: &impl AsFd) -> io::Result<()> {
    fcntl(descriptor.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Clears O_NONBLOCK, as programs expect their standard input.
///
/// # Errors
/// fcntl(2)'s.
pub(crate) fn set_blocking(descriptor: &impl AsFd) -> io::Result<()> {
    fcntl(descriptor.as_fd(), FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::libc::{EAGAIN, EOPNOTSUPP};

    use super::*;

    #[test]
    fn reading_and_writing_do_not_wait() {
        let (reader, writer) = io::pipe().unwrap();
        let mut buffer = [0; 8];
        let refused = |result: io::Result<usize>| result.unwrap_err().raw_os_error();
        let nothing = refused(read_now(&reader, &mut buffer));
        if nothing == Some(EOPNOTSUPP) {
            // Pipes: before Linux 6.4.
            return;
        }
        assert_eq!(nothing, Some(EAGAIN));
        assert_eq!(write_now(&writer, b"hello").unwrap(), 5);
        assert_eq!(read_now(&reader, &mut buffer).unwrap(), 5);
        assert!(buffer.starts_with(b"hello"));
        let chunk = [0; 4096];
        while write_now(&writer, &chunk).is_ok() {}
        assert_eq!(refused(write_now(&writer, &chunk)), Some(EAGAIN));
    }
}
