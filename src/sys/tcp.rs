//! What the system knows of a connection or a listener over TCP (tcp(7), TCP_INFO), and of what
//! is urgent on one.

#![allow(unsafe_code, reason = "raw system calls")]

use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc;

/// What has moved on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Since something came.
    pub since_received: Duration,
    /// Since something was sent, perhaps once more.
    pub since_sent: Duration,
    /// Since the other side has answered, perhaps with nothing new.
    pub since_answered: Duration,
    /// Bytes that the other side has taken.
    pub taken: u64,
    /// Whether some are on their way, or wait to be sent.
    pub waits: bool,
}

/// Looks at a connection; None where that is none.
pub(crate) fn seen(connection: &impl AsRawFd) -> Option<Seen> {
    let info = info(connection)?;
    let milliseconds = |count: u32| Duration::from_millis(count.into());
    Some(Seen {
        since_received: milliseconds(info.tcpi_last_data_recv),
        since_sent: milliseconds(info.tcpi_last_data_sent),
        since_answered: milliseconds(info.tcpi_last_ack_recv),
        taken: info.tcpi_bytes_acked,
        waits: info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0,
    })
}

/// Whether something waits to be sent for the first time, and whether something has ever come.
pub(crate) fn unsent_and_received(connection: &impl AsRawFd) -> (bool, bool) {
    let told = |info: libc::tcp_info| (info.tcpi_notsent_bytes > 0, info.tcpi_bytes_received > 0);
    info(connection).map_or((false, false), told)
}

/// How many connections wait to be accepted from a listener.
pub(crate) fn waiting_connections(listener: &impl AsRawFd) -> Option<u32> {
    accept_queue(listener).map(|(waiting, _)| waiting)
}

/// How many of them there are, and how many there may be.
pub(crate) fn accept_queue(listener: &impl AsRawFd) -> Option<(u32, u32)> {
    // For a listener the kernel tells its accept queue here, and its backlog.
    info(listener).map(|info| (info.tcpi_unacked, info.tcpi_sacked))
}

/// Asks whether what is read next is what somebody has sent as urgent (asm-generic/sockios.h).
/// Where it has another number, that cannot be told.
pub(crate) const SIOCATMARK: libc::Ioctl = 0x8905;

/// Whether that is so; None if it cannot be told.
pub(crate) fn is_at_mark(connection: &impl AsRawFd) -> Option<bool> {
    let mut is_so: libc::c_int = 0;
    // SAFETY: one number, which is ours and which the kernel writes.
    let result = unsafe { libc::ioctl(connection.as_raw_fd(), SIOCATMARK, &raw mut is_so) };
    (result == 0).then_some(is_so != 0)
}

fn info(socket: &impl AsRawFd) -> Option<libc::tcp_info> {
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: plain numbers, for which all zero is a value; the kernel writes no more
    // than the length given.
    let (result, info) = unsafe {
        let mut info = std::mem::zeroed::<libc::tcp_info>();
        let result = libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        );
        (result, info)
    };
    (result == 0).then_some(info)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use nix::sys::socket::{MsgFlags, send};

    use super::*;

    #[test]
    fn what_is_taken_is_counted_and_what_is_not_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(waiting_connections(&listener), Some(0));
        let (waiting, most) = accept_queue(&listener).unwrap();
        assert!(waiting == 0 && most > 0);
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let before = seen(&server).unwrap();
        assert!(!before.waits);
        server.write_all(b"123").unwrap();
        client.read_exact(&mut [0; 3]).unwrap();
        let after = seen(&server).unwrap();
        assert_eq!(after.taken, before.taken + 3);
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 65536]).is_ok() {}
        assert!(seen(&server).unwrap().waits);
    }

    #[test]
    fn urgent_bytes_are_found_where_they_stand() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(is_at_mark(&server), Some(false));
        send(client.as_raw_fd(), b"ab!", MsgFlags::MSG_OOB).unwrap();
        send(client.as_raw_fd(), b"cd", MsgFlags::empty()).unwrap();
        assert_eq!(is_at_mark(&server), Some(false));
        let mut room = [0; 8];
        assert_eq!(server.read(&mut room).unwrap(), 2);
        assert_eq!(is_at_mark(&server), Some(true));
        server.read_exact(&mut room[..2]).unwrap();
        assert_eq!((&room[..2], is_at_mark(&server)), (&b"cd"[..], Some(false)));
        assert_eq!(is_at_mark(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
    }

    #[test]
    fn what_is_no_connection_of_tcp_is_none() {
        assert_eq!(seen(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
    }
}
