//! Whether whoever waits at a socket may be there still: one from elsewhere, or one of this
//! machine who has the socket that it came from. What has been sent by somebody who has ended
//! since waits as well, and is for nobody. And whether there is room for one more.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use nix::libc;

use super::datagram;
use super::listener::{Bound, Listener, Socket, SocketQuestion};
use super::own_address::may_be_own;
use super::sock_diag::{self, CLOSE, ESTABLISHED, number};
use crate::sys::{socket_options, tcp};

/// Where an answer has the number of a socket in the system (`struct inet_diag_msg`); one that
/// nobody has taken yet has none.
const INODE: usize = 68;

/// None where nobody can tell, or nobody does.
pub(crate) fn is_there(listener: &Listener) -> Option<bool> {
    let found = match (listener.socket(), listener.address()) {
        (Socket::Udp(socket), _) => {
            let (_, sender) = datagram::peek(socket, &mut [0]).ok()?;
            has_its_socket(sender, listener.inode()?)
        }
        (Socket::Tcp(_), Bound::Inet(address)) => somebody_is_connected(*address),
        _ => return None,
    };
    // Where the system does not say it is not known to be for nobody.
    Some(found.unwrap_or(true))
}

/// Whether so much waits that nobody else may have come in: then that none does says nothing.
pub(crate) fn may_be_full(listener: &Listener) -> bool {
    let found = match listener.socket() {
        Socket::Udp(socket) => socket_options::received_memory(socket),
        Socket::Tcp(socket) => tcp::accept_queue(socket),
        _ => None,
    };
    // What has been read is counted for a while, up to a quarter of what may be.
    found.is_some_and(|(waiting, most)| waiting > most / 2)
}

/// Whether a sender of datagrams is not of this machine, or has a socket there, but for the one
/// that he has sent it to.
fn has_its_socket(sender: SocketAddr, own: u64) -> io::Result<bool> {
    let sender = SocketAddr::new(sender.ip().to_canonical(), sender.port());
    if !sender.ip().is_loopback() && !may_be_own(sender) {
        return Ok(true);
    }
    let by_either = SocketAddr::from((Ipv6Addr::UNSPECIFIED, sender.port()));
    Ok(is_any(sender, libc::IPPROTO_UDP, |inode| inode != own)?
        || is_any(by_either, libc::IPPROTO_UDP, |inode| inode != own)?)
}

/// Whether a connection that nobody has taken yet has its other end.
fn somebody_is_connected(address: SocketAddr) -> io::Result<bool> {
    is_any(address, libc::IPPROTO_TCP, |inode| inode == 0)
}

/// Whether a socket there that is not at its end is one of these.
fn is_any(address: SocketAddr, protocol: i32, is_it: impl Fn(u64) -> bool) -> io::Result<bool> {
    let protocol = u8::try_from(protocol).map_err(io::Error::other)?;
    let closed = if i32::from(protocol) == libc::IPPROTO_UDP { 1 << CLOSE } else { 0 };
    let question = SocketQuestion { address, protocol, states: closed | 1 << ESTABLISHED };
    let mut is_there = false;
    sock_diag::ask(&question.body()?, |answer| {
        is_there |= number(answer, INODE).is_some_and(|inode| is_it(inode.into()));
        is_there
    })?;
    Ok(is_there)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::{Duration, Instant};

    use super::*;

    /// What has been found; none where the system does not say.
    fn said(found: io::Result<bool>) -> Option<bool> {
        match found {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            other => Some(other.unwrap()),
        }
    }

    #[test]
    fn a_sender_is_there_as_long_as_he_has_his_socket() {
        for ip in ["127.0.0.1:0", "127.0.0.5:0", "[::1]:0", "[::]:0"] {
            let Ok(sender) = UdpSocket::bind(ip) else { continue };
            let port = sender.local_addr().unwrap().port();
            let address = match ip {
                "[::]:0" => ([127, 0, 0, 1], port).into(),
                _ => sender.local_addr().unwrap(),
            };
            let Some(is_there) = said(has_its_socket(address, 0)) else { return };
            assert!(is_there, "{ip}");
            drop(sender);
            assert_eq!(said(has_its_socket(address, 0)), Some(false), "{ip}");
        }
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = nix::sys::stat::fstat(&own).unwrap().st_ino;
        let to_itself = said(has_its_socket(own.local_addr().unwrap(), inode));
        assert_eq!(to_itself, Some(false));
    }

    #[test]
    fn a_connection_is_somebodys_as_long_as_that_has_not_closed_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        if said(somebody_is_connected(address)).is_none() {
            return;
        }
        // What goes from one end to the other may take its time.
        let becomes = |wanted: bool| {
            let until = Instant::now() + Duration::from_secs(60);
            while said(somebody_is_connected(address)) != Some(wanted) {
                assert!(Instant::now() < until, "{wanted}");
                std::thread::yield_now();
            }
        };
        becomes(true);
        drop(client);
        becomes(false);
        // One that has been taken is served already.
        let (_client, _taken) = (TcpStream::connect(address).unwrap(), listener.accept().unwrap());
        let _taken = listener.accept().unwrap();
        becomes(false);
    }
}
