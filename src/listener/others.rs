//! Who else has a socket at the address of one of ours: the kernel is asked (sock_diag(7)),
//! which tells of those at one port alone, whatever there is at others.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use nix::sys::stat::fstat;

use super::{Bound, Listener, Socket};

/// More than so many at one address are not told apart.
const MOST: usize = 64;

/// What the kernel answers at once.
const ROOM: usize = 32 * 1024;

/// `linux/sock_diag.h`, `linux/netlink.h`, `linux/tcp_states.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_ALL: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;

/// Bytes of a message's head.
const HEAD: usize = 16;

/// A socket of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Where it is bound.
    pub ip: IpAddr,
    /// The one network device that it is bound to; 0 for none.
    pub device: u32,
    /// Its number in the system, as /proc has it.
    pub inode: u64,
}

impl Listener {
    /// Its number in the system.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        fstat(self).ok().map(|stat| stat.st_ino)
    }

    /// Whose connections or datagrams, of any peer, come in at its address besides. None for
    /// a unix or a virtual socket, whose address nobody else has.
    ///
    /// # Errors
    /// The system's: ENOENT where the kernel does not tell.
    pub fn others(&self) -> io::Result<Vec<Other>> {
        let (protocol, state) = match &self.socket {
            Socket::Udp(_) => (libc::IPPROTO_UDP, TCP_CLOSE),
            Socket::Tcp(_) => (libc::IPPROTO_TCP, TCP_LISTEN),
            Socket::Unix(_) | Socket::UnixDatagram(_) | Socket::Vsock(_) => return Ok(Vec::new()),
        };
        let Bound::Inet(address) = self.address else { return Ok(Vec::new()) };
        let all = bound_at(address, protocol, 1 << state)?;
        let own = all.iter().find(|other| Some(other.inode) == self.inode()).copied();
        let Some(own) = own else { return Ok(Vec::new()) };
        Ok(all.into_iter().filter(|other| other.inode != own.inode && meet(other, &own)).collect())
    }
}

/// Whether something may be for either.
fn meet(one: &Other, other: &Other) -> bool {
    let ips = one.ip == other.ip || one.ip.is_unspecified() || other.ip.is_unspecified();
    ips && (one.device == other.device || one.device == 0 || other.device == 0)
}

fn bound_at(address: SocketAddr, protocol: i32, states: u32) -> io::Result<Vec<Other>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let of = SockProtocol::NetlinkSockDiag;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, flags, of)?;
    let protocol = u8::try_from(protocol).map_err(io::Error::other)?;
    send(kernel.as_raw_fd(), &question(address, protocol, states)?, MsgFlags::empty())?;
    let (mut found, mut room) = (Vec::new(), vec![0; ROOM]);
    while found.len() < MOST {
        let length = recv(kernel.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT)?;
        if read_all(room.get(..length).unwrap_or_default(), &mut found)? {
            break;
        }
    }
    Ok(found)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` (`linux/inet_diag.h`).
fn question(address: SocketAddr, protocol: u8, states: u32) -> io::Result<Vec<u8>> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let family = u8::try_from(family).map_err(io::Error::other)?;
    let mut body = vec![family, protocol, 0, 0];
    body.extend(states.to_ne_bytes());
    body.extend(address.port().to_be_bytes());
    // The other port, both addresses and the device, the cookie: whatever they are.
    body.extend([0; 2 + 16 + 16 + 4]);
    body.extend([0xff; 8]);
    let length = u32::try_from(HEAD.saturating_add(body.len())).map_err(io::Error::other)?;
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_ALL.to_ne_bytes());
    message.extend([0; 8]);
    message.append(&mut body);
    Ok(message)
}

/// True when that was all.
fn read_all(mut messages: &[u8], found: &mut Vec<Other>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (number(messages, 0), messages.get(4..6)) {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let body = messages.get(HEAD..length).ok_or(ErrorKind::InvalidData)?;
        match u16::from_ne_bytes(kind.try_into().unwrap_or_default()) {
            DONE => return Ok(true),
            ERROR => return Err(refusal(body)),
            _ => found.extend(other(body)),
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn refusal(body: &[u8]) -> io::Error {
    let code = number(body, 0).map_or(0, u32::cast_signed);
    io::Error::from_raw_os_error(code.saturating_neg())
}

/// `struct inet_diag_msg`.
fn other(body: &[u8]) -> Option<Other> {
    let ip = match i32::from(*body.first()?) {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(body.get(8..12)?).ok()?).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(body.get(8..24)?).ok()?).into(),
    };
    Some(Other { ip, device: number(body, 40)?, inode: number(body, 68)?.into() })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    fn told(result: io::Result<Vec<Other>>) -> Option<Vec<Other>> {
        // Not every kernel has it.
        result.ok()
    }

    #[test]
    fn sockets_at_an_address_are_found_and_no_others() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(one) = UdpSocket::bind(ip) else { continue };
            let _another_port = UdpSocket::bind(ip).unwrap();
            let address = one.local_addr().unwrap();
            let Some(found) = told(bound_at(address, libc::IPPROTO_UDP, 1 << TCP_CLOSE)) else {
                return;
            };
            let inode = fstat(&one).unwrap().st_ino;
            assert_eq!(found, [Other { ip: address.ip(), device: 0, inode }]);
            // One that is connected is its peer's alone.
            one.connect(address).unwrap();
            let found = told(bound_at(address, libc::IPPROTO_UDP, 1 << TCP_CLOSE)).unwrap();
            assert_eq!(found, []);
        }
    }

    #[test]
    fn one_that_listens_is_told_from_its_connections() {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = one.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let _connection = one.accept().unwrap();
        let Some(found) = told(bound_at(address, libc::IPPROTO_TCP, 1 << TCP_LISTEN)) else {
            return;
        };
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn many_are_not_all_told() {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        setsockopt(&first, sockopt::ReuseAddr, &true).unwrap();
        let address = first.local_addr().unwrap();
        let more: Vec<_> = (0..300)
            .map(|_| {
                let flags = SockFlag::SOCK_CLOEXEC;
                let next = socket(AddressFamily::Inet, SockType::Datagram, flags, None).unwrap();
                setsockopt(&next, sockopt::ReuseAddr, &true).unwrap();
                let address = nix::sys::socket::SockaddrStorage::from(address);
                nix::sys::socket::bind(next.as_raw_fd(), &address).unwrap();
                next
            })
            .collect();
        let Some(found) = told(bound_at(address, libc::IPPROTO_UDP, 1 << TCP_CLOSE)) else {
            return;
        };
        assert!((MOST..=more.len() + 1).contains(&found.len()), "{}", found.len());
    }

    #[test]
    fn those_of_other_addresses_and_devices_are_in_nobodys_way() {
        let other = |ip: &str, device| Other { ip: ip.parse().unwrap(), device, inode: 1 };
        let own = other("127.0.0.1", 0);
        assert!(meet(&own, &other("127.0.0.1", 7)) && meet(&own, &other("0.0.0.0", 0)));
        assert!(!meet(&own, &other("127.0.0.2", 0)));
        assert!(!meet(&other("0.0.0.0", 1), &other("0.0.0.0", 2)));
    }

    #[test]
    fn what_is_no_answer_is_no_reason_to_go_on_for_ever() {
        let mut found = Vec::new();
        assert!(read_all(&[0; 64], &mut found).is_err(), "a message of no length");
        assert!(read_all(&[255; 64], &mut found).is_err());
        assert!(!read_all(&[], &mut found).unwrap() && found.is_empty());
    }
}
