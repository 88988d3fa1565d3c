//! What the system knows of a connection or a listener over TCP (tcp(7), TCP_INFO).

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
#[must_use]
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

/// Whether something waits to be sent for the first time.
#[must_use]
pub(crate) fn has_unsent(connection: &impl AsRawFd) -> bool {
    info(connection).is_some_and(|info| info.tcpi_notsent_bytes > 0)
}

/// How many connections wait to be accepted from a listener.
#[must_use]
pub(crate) fn waiting_connections(listener: &impl AsRawFd) -> Option<u32> {
    // For a listener the kernel tells its accept queue here.
    info(listener).map(|info| info.tcpi_unacked)
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

    use super::*;

    #[test]
    fn what_is_taken_is_counted_and_what_is_not_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(waiting_connections(&listener), Some(0));
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
    fn what_is_no_connection_of_tcp_is_none() {
        assert_eq!(seen(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
    }
}
