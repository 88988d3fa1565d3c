//! Messages that come with more than their bytes: who sent them, as whom, and a descriptor; and
//! the end of a datagram socket's one peer.

#![allow(unsafe_code, reason = "raw system calls")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

use nix::libc;
use nix::sys::socket::{MsgFlags, SockaddrLike as _, SockaddrStorage};

/// Receives a datagram; how long it is, or what of it fits, and who sent it.
///
/// # Errors
/// recvfrom(2)'s.
pub(crate) fn receive_from(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> io::Result<(usize, Option<SockaddrStorage>)> {
    let whole = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>());
    let mut length = whole.map_err(io::Error::other)?;
    // SAFETY: all zero is a value of this struct of numbers; the kernel writes no more than
    // the lengths given, into memory that nobody else has.
    let (received, sender) = unsafe {
        let mut sender = std::mem::zeroed::<libc::sockaddr_storage>();
        let received = libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags.bits(),
            (&raw mut sender).cast(),
            &raw mut length,
        );
        (received, sender)
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the address that the kernel has written, of the length it says.
    let sender = unsafe { SockaddrStorage::from_raw((&raw const sender).cast(), Some(length)) };
    Ok((received, sender))
}

/// Receives a datagram of a unix socket without waiting; how long it is, or what of it fits,
/// who sent it, and as whom, if the socket has the option for that (SO_PASSCRED). Descriptors
/// that come with it find no room and are closed by the kernel.
///
/// # Errors
/// recvmsg(2)'s.
pub(crate) fn receive_with_credentials(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SockaddrStorage>, Option<libc::ucred>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Words, so that it is aligned: a header and three numbers.
    let mut room = [0_u64; 4];
    let whole = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>());
    let whole = whole.map_err(io::Error::other)?;
    // SAFETY: all zero is a value of both structs; the kernel writes no more than the lengths
    // given, into memory that nobody else has.
    let (received, message, sender) = unsafe {
        let mut sender = std::mem::zeroed::<libc::sockaddr_storage>();
        let mut message = std::mem::zeroed::<libc::msghdr>();
        message.msg_name = (&raw mut sender).cast();
        message.msg_namelen = whole;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&room) as _;
        let received = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT);
        (received, message, sender)
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the address that the kernel has written, of the length it says; a record in
    // `room`, which is as long as the kernel says.
    let (sender, credentials) = unsafe {
        let length = Some(message.msg_namelen);
        (SockaddrStorage::from_raw((&raw const sender).cast(), length), credentials_in(&message))
    };
    Ok((received, sender, credentials))
}

/// Waits for a message with one descriptor and takes both; how long the message is, 0 at the
/// end. The descriptor is close-on-exec from birth, and there is no room for a second one.
///
/// # Errors
/// recvmsg(2)'s.
pub(crate) fn receive_descriptor(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Words, so that it is aligned: a header and a number.
    let mut room = [0_u64; 3];
    let header = size_of::<libc::cmsghdr>();
    // SAFETY: all zero is a value of the struct; the kernel writes no more than the lengths
    // given, into memory that nobody else has.
    let (received, message) = unsafe {
        let mut message = std::mem::zeroed::<libc::msghdr>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = (header + size_of::<RawFd>()) as _;
        let flags = libc::MSG_CMSG_CLOEXEC;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags), message)
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: a record in `room`, as the kernel has filled it; a descriptor in it was made for
    // us by the kernel and has no other owner.
    let descriptor = unsafe {
        libc::CMSG_FIRSTHDR(&raw const message).as_ref().and_then(|record| {
            let is_one = record.cmsg_level == libc::SOL_SOCKET
                && record.cmsg_type == libc::SCM_RIGHTS
                && length_of(record) == header + size_of::<RawFd>();
            let number = || libc::CMSG_DATA(record).cast::<RawFd>().read_unaligned();
            is_one.then(|| OwnedFd::from_raw_fd(number()))
        })
    };
    Ok((received, descriptor))
}

/// The length of a record, whose type is each libc's own.
fn length_of(record: &libc::cmsghdr) -> usize {
    #[allow(clippy::useless_conversion, reason = "musl has a shorter one")]
    usize::try_from(record.cmsg_len).unwrap_or_default()
}

/// SCM_CREDENTIALS, if that is what comes first.
unsafe fn credentials_in(message: &libc::msghdr) -> Option<libc::ucred> {
    // SAFETY: the caller's message, as the kernel has filled it.
    unsafe {
        let record = libc::CMSG_FIRSTHDR(message).as_ref()?;
        let wanted = size_of::<libc::cmsghdr>() + size_of::<libc::ucred>();
        let is_it = record.cmsg_level == libc::SOL_SOCKET
            && record.cmsg_type == libc::SCM_CREDENTIALS
            && length_of(record) >= wanted;
        is_it.then(|| libc::CMSG_DATA(record).cast::<libc::ucred>().read_unaligned())
    }
}

/// Makes a connected datagram socket one without a peer, and without the port that
/// connecting gave it (connect(2) to AF_UNSPEC).
///
/// # Errors
/// connect(2)'s.
pub(crate) fn disconnect(socket: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: all zero is AF_UNSPEC; the kernel reads no more than the length given.
    let result = unsafe {
        let unspecified = std::mem::zeroed::<libc::sockaddr>();
        let length =
            libc::socklen_t::try_from(size_of::<libc::sockaddr>()).map_err(io::Error::other)?;
        libc::connect(socket.as_raw_fd(), &raw const unspecified, length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
