//! The PROXY header of a connection: looked at without taking it, then exactly it is taken and
//! not a byte more, so that a program gets the socket itself.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::front::proxy::{self, Header, HeaderRead};
use crate::net::address::{Address, canonical};
use crate::net::fronted::Fronted;
use crate::net::listener::Connection;
use crate::sys::descriptor::says_no_more;

/// Who may not send a header.
pub(super) const FOREIGN: &str = "not_from";
/// None has come in time.
pub(super) const TIMEOUT: &str = "timeout";
/// The connection has ended.
pub(super) const CLOSED: &str = "closed";
/// Others have come, and it has been silent for longest.
pub(super) const CROWDED: &str = "crowded";

/// What a connection has said.
#[derive(Debug)]
pub(super) enum Heard {
    Nothing,
    /// Not enough.
    Part,
    /// A whole header.
    Header(Header),
    /// No header, or nothing and its end: why.
    Nonsense(&'static str),
}

/// Looks at what has come. What is not whole and can become so no more is nonsense.
pub(super) fn hear(socket: &OwnedFd, scratch: &mut [u8]) -> Heard {
    match look(socket, scratch) {
        // Between the two more may have come, and then the end.
        Heard::Part if says_no_more(socket) => match look(socket, scratch) {
            Heard::Part => Heard::Nonsense(CLOSED),
            other => other,
        },
        other => other,
    }
}

fn look(socket: &OwnedFd, scratch: &mut [u8]) -> Heard {
    let room = scratch.get_mut(..proxy::LONGEST).unwrap_or_default();
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    match recv(socket.as_raw_fd(), room, flags) {
        Err(Errno::EAGAIN | Errno::EINTR) => Heard::Nothing,
        Err(_) | Ok(0) => Heard::Nonsense(CLOSED),
        Ok(length) => match proxy::read(room.get(..length).unwrap_or_default()) {
            HeaderRead::Incomplete => Heard::Part,
            HeaderRead::Whole(header) => Heard::Header(header),
            HeaderRead::Malformed(why) => Heard::Nonsense(why),
        },
    }
}

/// Whom a connection is from, by its header.
pub(super) fn peer(connection: &Connection, header: &Header) -> Address {
    header.named.as_ref().map_or(connection.peer, |named| named.source.into())
}

/// Takes the header; the connection is from whom that names. None if it is over.
pub(super) fn take(
    connection: Connection,
    header: &Header,
    scratch: &mut [u8],
) -> Option<Connection> {
    let mut left = header.length;
    while left > 0 {
        let room = scratch.get_mut(..left)?;
        let taken = match recv(connection.socket.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR) => continue,
            Err(_) | Ok(0) => return None,
            Ok(taken) => taken,
        };
        left = left.saturating_sub(taken);
    }
    let Some(named) = &header.named else { return Some(connection) };
    let Connection { socket, peer: via, .. } = connection;
    let local = Some(canonical(named.destination));
    let fronted = Fronted { via: Some(via), local, ..named.said.clone() };
    let peer = named.source.into();
    Some(Connection { socket, peer, peer_gid: None, fronted: Some(Rc::new(fronted)) })
}
