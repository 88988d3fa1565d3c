//! Messages that come with descriptors, any number of them up to a limit.

#![allow(unsafe_code, reason = "raw system calls")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

use nix::libc;

/// Descriptors of one message at most.
pub(crate) const MOST: usize = 36;

/// Words that a record with so many descriptors fits into, with its header.
const ROOM: usize = (size_of::<libc::cmsghdr>() + MOST * size_of::<RawFd>()).div_ceil(8);

/// A message that has been received.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its length, 0 at the end.
    pub length: usize,
    /// What came with it: close-on-exec from birth.
    pub descriptors: Vec<OwnedFd>,
    /// It was longer, or came with more, than there was room for.
    pub is_cut: bool,
}

/// Receives a message without waiting.
///
/// # Errors
/// recvmsg(2)'s. WouldBlock: there is none.
pub(crate) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Words, so that it is aligned.
    let mut room = [0_u64; ROOM];
    // SAFETY: all zero is a value of the struct; the kernel writes no more than the lengths
    // given, into memory that nobody else has.
    let (received, message) = unsafe {
        let mut message = std::mem::zeroed::<libc::msghdr>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&room) as _;
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags), message)
    };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let is_cut = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    // SAFETY: records in `room`, as the kernel has filled it.
    let descriptors = unsafe { descriptors_in(&message) };
    Ok(Received { length, descriptors, is_cut })
}

/// # Safety
/// The kernel has filled the message, and nobody has asked for its descriptors before.
unsafe fn descriptors_in(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: a record of the caller's message, if there is one.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: as above.
    while let Some(record) = unsafe { next.as_ref() } {
        // SAFETY: as the caller says.
        unsafe { take_descriptors(record, &mut descriptors) };
        // SAFETY: a record of the same message, and the one behind it.
        next = unsafe { libc::CMSG_NXTHDR(message, record) };
    }
    descriptors
}

/// # Safety
/// As above: the record is one of such a message.
unsafe fn take_descriptors(record: &libc::cmsghdr, descriptors: &mut Vec<OwnedFd>) {
    if record.cmsg_level != libc::SOL_SOCKET || record.cmsg_type != libc::SCM_RIGHTS {
        return;
    }
    #[allow(clippy::useless_conversion, reason = "musl has a shorter one")]
    let length = usize::try_from(record.cmsg_len).unwrap_or_default();
    let count = length.saturating_sub(size_of::<libc::cmsghdr>()) / size_of::<RawFd>();
    for index in 0..count {
        // SAFETY: inside the record; the kernel has made the descriptor for us, and it has no
        // other owner.
        descriptors.push(unsafe {
            let first = libc::CMSG_DATA(record).cast::<RawFd>();
            OwnedFd::from_raw_fd(first.add(index).read_unaligned())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt,
        socketpair, sockopt,
    };

    use super::*;

    #[test]
    fn none_is_forgotten_behind_something_else() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        setsockopt(&ours, sockopt::PassCred, &true).unwrap();
        let (one, _other) = UnixStream::pair().unwrap();
        let (parts, numbers) = ([IoSlice::new(b"x")], [one.as_raw_fd()]);
        let rights = [ControlMessage::ScmRights(&numbers)];
        sendmsg::<()>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
        assert_eq!(receive(&ours, &mut [0; 8]).unwrap().descriptors.len(), 1);
    }

    #[test]
    fn descriptors_come_in_their_order_and_bounded() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let nothing = receive(&ours, &mut [0; 8]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let send = |bytes: &[u8], numbers: &[RawFd]| {
            let (parts, rights) = ([IoSlice::new(bytes)], [ControlMessage::ScmRights(numbers)]);
            sendmsg::<()>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
        };
        let (one, other) = UnixStream::pair().unwrap();
        send(b"two", &[one.as_raw_fd(), other.as_raw_fd()]);
        let received = receive(&ours, &mut [0; 8]).unwrap();
        assert_eq!((received.length, received.is_cut), (3, false));
        let [one, other]: [OwnedFd; 2] = received.descriptors.try_into().unwrap();
        nix::unistd::write(&one, b"x").unwrap();
        assert_eq!(nix::unistd::read(&other, &mut [0; 8]).unwrap(), 1);
        send(b"too long", &[]);
        assert!(receive(&ours, &mut [0; 4]).unwrap().is_cut);
        send(b"many", &[one.as_raw_fd(); MOST + 2]);
        let received = receive(&ours, &mut [0; 8]).unwrap();
        assert!(received.is_cut && received.descriptors.len() <= MOST + 1);
        drop(theirs);
        assert_eq!(receive(&ours, &mut [0; 8]).unwrap().length, 0);
    }
}
