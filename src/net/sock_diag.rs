//! The kernel is asked about sockets (sock_diag(7)) and answers with a message for each.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// `linux/sock_diag.h`, `linux/netlink.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_ALL: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Bytes of a message's head.
const HEAD: usize = 16;

/// What the kernel answers at once.
const ROOM: usize = 32 * 1024;

/// States of sockets (`linux/tcp_states.h`), which are those of all families.
pub(crate) const ESTABLISHED: u32 = 1;
pub(crate) const CLOSE: u32 = 7;
pub(crate) const LISTEN: u32 = 10;

/// Puts a question and hands each answer to `take` until that has heard enough, which it says
/// with true.
///
/// # Errors
/// The system's: ENOENT where the kernel does not tell.
pub(crate) fn ask(body: &[u8], mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let of = SockProtocol::NetlinkSockDiag;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, flags, of)?;
    send(kernel.as_raw_fd(), &message(body)?, MsgFlags::empty())?;
    let mut room = vec![0; ROOM];
    loop {
        let length = recv(kernel.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT)?;
        if read_all(room.get(..length).unwrap_or_default(), &mut take)? {
            return Ok(());
        }
    }
}

/// `struct nlmsghdr`, and what is asked.
fn message(body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(HEAD.saturating_add(body.len())).map_err(io::Error::other)?;
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_ALL.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    Ok(message)
}

/// True when that was all, or enough.
pub(super) fn read_all(
    mut messages: &[u8],
    take: &mut impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (number(messages, 0), messages.get(4..6)) {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let body = messages.get(HEAD..length).ok_or(ErrorKind::InvalidData)?;
        match u16::from_ne_bytes(kind.try_into().unwrap_or_default()) {
            DONE => return Ok(true),
            ERROR => return Err(refusal(body)),
            _ if take(body) => return Ok(true),
            _ => {}
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn refusal(body: &[u8]) -> io::Error {
    let code = number(body, 0).map_or(0, u32::cast_signed);
    io::Error::from_raw_os_error(code.saturating_neg())
}

/// The number at a place in an answer.
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::read_all;

    #[test]
    fn what_is_no_answer_is_no_reason_to_go_on_for_ever() {
        let mut took = 0;
        let mut take = |_: &[u8]| {
            took += 1;
            false
        };
        assert!(read_all(&[0; 64], &mut take).is_err(), "a message of no length");
        assert!(read_all(&[255; 64], &mut take).is_err());
        assert!(!read_all(&[], &mut take).unwrap() && took == 0);
    }
}
