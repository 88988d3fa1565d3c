//! Datagrams of sockets that others may have, too.
//!
//! Whether reading and writing waits is a flag of what is open, not of a descriptor: a program
//! that was given the socket, and whatever it has left behind, may change it at any time. So
//! each call says for itself that it does not wait.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, getsockopt, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::sys::messages::receive_from;

mod destination;
mod inet;
mod unix;

pub(crate) use destination::{Destination, Flow, peek_told, send_from, take_told};
pub(crate) use inet::send;
use inet::socket_address;
pub(crate) use unix::{answer_unix, peek_unix, take_unix};

/// Takes a datagram; its length, or what of it fits, and who sent it.
///
/// # Errors
/// recv(2)'s. WouldBlock: there is none.
pub(crate) fn take(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    receive(socket, buffer, MsgFlags::empty())
}

/// The same, and it stays where it is.
///
/// # Errors
/// As [`take`].
pub(crate) fn peek(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    receive(socket, buffer, MsgFlags::MSG_PEEK)
}

/// When the first datagram arrived, or was first looked at by this: no other one will have the
/// same. None if there is none, or the system does not say.
///
/// The socket has the option for that (`SO_TIMESTAMPNS`, socket(7)) for the moment only:
/// whoever has it next may have no room for a time among what comes with each datagram.
pub(crate) fn arrival(socket: &UdpSocket) -> Option<Duration> {
    let was_on = getsockopt(socket, sockopt::ReceiveTimestampns).ok()?;
    setsockopt(socket, sockopt::ReceiveTimestampns, &true).ok()?;
    let time = first_time(socket);
    if !was_on {
        let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &false);
    }
    time
}

fn first_time(socket: &UdpSocket) -> Option<Duration> {
    let mut room = cmsg_space!(TimeSpec);
    let mut bytes = [0; 1];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags).ok()?;
    message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(time.into()),
        _ => None,
    })
}

/// Throws away the first datagram, if there is one.
pub(crate) fn drop_first(socket: &UdpSocket) {
    let _ = take(socket, &mut [0]);
}

fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> io::Result<(usize, SocketAddr)> {
    let (length, sender) = receive_from(socket, buffer, flags | MsgFlags::MSG_DONTWAIT)?;
    let sender = sender.as_ref().and_then(socket_address);
    sender.map(|sender| (length, sender)).ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_waits_whatever_the_flags_of_the_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let is_nothing = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        let mut buffer = [0; 8];
        assert!(take(&socket, &mut buffer).is_err_and(is_nothing));
        assert!(peek(&socket, &mut buffer).is_err_and(is_nothing));
        let here = socket.local_addr().unwrap();
        send(&other, b"one", here).unwrap();
        send(&other, b"a long one", here).unwrap();
        let from = other.local_addr().unwrap();
        assert_eq!(peek(&socket, &mut buffer).unwrap(), (3, from));
        assert_eq!(take(&socket, &mut buffer).unwrap(), (3, from));
        assert_eq!(take(&socket, &mut buffer).unwrap(), (8, from), "what fits");
        drop_first(&socket);
        assert!(take(&socket, &mut buffer).is_err_and(is_nothing));
    }

    #[test]
    fn equal_datagrams_are_told_apart_by_their_arrival() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let here = socket.local_addr().unwrap();
        assert_eq!(arrival(&socket), None);
        for _ in 0..3 {
            send(&socket, b"the same", here).unwrap();
        }
        let mut seen = Vec::new();
        while let Some(time) = arrival(&socket) {
            assert_eq!(arrival(&socket), Some(time), "it is the same one");
            assert!(!seen.contains(&time), "it is another one");
            seen.push(time);
            drop_first(&socket);
        }
        assert_eq!(seen.len(), 3);
        assert!(!getsockopt(&socket, sockopt::ReceiveTimestampns).unwrap());
    }

    #[test]
    fn addresses_of_ipv6_come_through() {
        let Ok(socket) = UdpSocket::bind("[::1]:0") else { return };
        let here = socket.local_addr().unwrap();
        send(&socket, b"to myself", here).unwrap();
        assert_eq!(take(&socket, &mut [0; 16]).unwrap(), (9, here));
    }
}
