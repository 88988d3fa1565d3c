//! Who else has a socket at the address of one of ours: the kernel is asked (sock_diag(7)),
//! which tells of those at one port alone, whatever there is at others, and of those that are
//! at one of its addresses, however many there are at others.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::fstat;

use super::Listener;
use super::question::SocketQuestion;
use super::socket::{Bound, Socket};
use crate::net::sock_diag::{self, CLOSE, LISTEN, number};

/// More than so many at one address are not told apart.
const MOST: usize = 256;

/// What the kernel has told.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// The sockets of others.
    pub sockets: Vec<Other>,
    /// There are more.
    pub are_more: bool,
}

/// A socket of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Other {
    /// Where it is bound.
    pub ip: IpAddr,
    /// The one network device that it is bound to; 0 for none.
    pub device: u32,
    /// Its number in the system, as /proc has it.
    pub inode: u64,
}

impl Listener {
    /// Its number in the system.
    pub(crate) fn inode(&self) -> Option<u64> {
        fstat(self).ok().map(|stat| stat.st_ino)
    }

    /// Whose connections or datagrams, of any peer, come in at its address besides. None for
    /// a unix or a virtual socket, whose address nobody else has.
    ///
    /// # Errors
    /// The system's: ENOENT where the kernel does not tell. That our own socket is not among
    /// what it tells.
    pub(crate) fn others(&self) -> io::Result<Others> {
        let (protocol, state) = match &self.socket {
            Socket::Udp(_) => (libc::IPPROTO_UDP, CLOSE),
            Socket::Tcp(_) => (libc::IPPROTO_TCP, LISTEN),
            Socket::Unix(_) | Socket::UnixDatagram(_) | Socket::Vsock(_) => {
                return Ok(Others::default());
            }
        };
        let Bound::Inet(address) = self.address else { return Ok(Others::default()) };
        let inode = self.inode().ok_or(ErrorKind::NotFound)?;
        let own = Other { ip: address.ip(), device: self.device(), inode };
        let mut met = Met::of(own);
        met.ask(address, protocol, 1 << state)?;
        if takes_ipv4(self, address) {
            met.ask(by_ipv4(address), protocol, 1 << state)?;
        }
        if met.own_is_there || met.others.are_more { Ok(met.others) } else { Err(absent()) }
    }

    /// The one network device of whose packets it gets; 0 for none. One that is gone has no
    /// number.
    fn device(&self) -> u32 {
        let name = getsockopt(self, sockopt::BindToDevice).unwrap_or_default();
        let name = name.to_str().unwrap_or_default().trim_end_matches('\0');
        if name.is_empty() { 0 } else { if_nametoindex(name).unwrap_or_default() }
    }
}

/// Whether it is for both families: one of the service manager's may be.
fn takes_ipv4(socket: impl AsFd, address: SocketAddr) -> bool {
    let is_for_both = || getsockopt(&socket, sockopt::Ipv6V6Only).is_ok_and(|only| !only);
    address.is_ipv6() && address.ip().is_unspecified() && is_for_both()
}

/// Where one for IPv4 alone gets what comes by that, before one for both.
fn by_ipv4(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, address.port()).into()
}

fn absent() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "the socket is not at its address any more")
}

/// Whether something may be for either.
fn meet(one: &Other, other: &Other) -> bool {
    let ips = one.ip == other.ip || one.ip.is_unspecified() || other.ip.is_unspecified();
    ips && (one.device == other.device || one.device == 0 || other.device == 0)
}

/// Those that meet one of ours, and no others, however many there are.
struct Met {
    own: Other,
    own_is_there: bool,
    others: Others,
}

impl Met {
    fn of(own: Other) -> Self {
        Self { own, own_is_there: false, others: Others::default() }
    }

    fn take(&mut self, other: Other) {
        if other.inode == self.own.inode {
            self.own_is_there = true;
        } else if meet(&other, &self.own) {
            self.others.are_more = self.others.sockets.len() >= MOST;
            if !self.others.are_more {
                self.others.sockets.push(other);
            }
        }
    }

    fn ask(&mut self, address: SocketAddr, protocol: i32, states: u32) -> io::Result<()> {
        let protocol = u8::try_from(protocol).map_err(io::Error::other)?;
        let question = SocketQuestion { address, protocol, states }.body()?;
        sock_diag::ask(&question, |answer| {
            other(answer).into_iter().for_each(|it| self.take(it));
            self.others.are_more
        })
    }
}

/// `struct inet_diag_msg`.
fn other(body: &[u8]) -> Option<Other> {
    let ip = match i32::from(*body.first()?) {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(body.get(8..12)?).ok()?).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(body.get(8..24)?).ok()?).into(),
    };
    Some(Other { ip, device: number(body, 40)?, inode: number(body, 68)?.into() })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::{AsRawFd as _, OwnedFd};

    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket,
    };

    use super::*;

    fn other_at(ip: &str, device: u32, inode: u64) -> Other {
        Other { ip: ip.parse().unwrap(), device, inode }
    }

    /// What meets this socket; none where the kernel does not tell.
    fn met_at(of: impl AsFd, address: SocketAddr, protocol: i32, state: u32) -> Option<Met> {
        let own = Other { ip: address.ip(), device: 0, inode: fstat(of).unwrap().st_ino };
        let mut met = Met::of(own);
        met.ask(address, protocol, 1 << state).ok().map(|()| met)
    }

    fn met_by_udp(socket: &UdpSocket) -> Option<Met> {
        met_at(socket, socket.local_addr().unwrap(), libc::IPPROTO_UDP, CLOSE)
    }

    /// One that lets others in beside it.
    fn shared(address: SocketAddr) -> OwnedFd {
        let flags = SockFlag::SOCK_CLOEXEC;
        let next = socket(AddressFamily::Inet, SockType::Datagram, flags, None).unwrap();
        setsockopt(&next, sockopt::ReuseAddr, &true).unwrap();
        bind(next.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
        next
    }

    #[test]
    fn sockets_at_an_address_are_found_and_no_others() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(one) = UdpSocket::bind(ip) else { continue };
            let _another_port = UdpSocket::bind(ip).unwrap();
            let Some(met) = met_by_udp(&one) else { return };
            assert!(met.own_is_there && met.others.sockets.is_empty());
            // One that is connected is its peer's alone.
            let address = one.local_addr().unwrap();
            one.connect(address).unwrap();
            assert!(!met_by_udp(&one).unwrap().own_is_there);
        }
    }

    #[test]
    fn one_that_listens_is_told_from_its_connections() {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = one.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let _connection = one.accept().unwrap();
        let Some(met) = met_at(&one, address, libc::IPPROTO_TCP, LISTEN) else { return };
        assert!(met.own_is_there && met.others.sockets.is_empty());
    }

    #[test]
    fn many_are_not_all_told() {
        let first = UdpSocket::from(shared("127.0.0.1:0".parse().unwrap()));
        let address = first.local_addr().unwrap();
        let more: Vec<_> = (0..MOST + 50).map(|_| shared(address)).collect();
        let Some(met) = met_by_udp(&first) else { return };
        assert!(met.others.are_more && met.others.sockets.len() == MOST, "{}", more.len());
    }

    #[test]
    fn however_many_there_are_at_other_addresses_those_at_ours_are_told() {
        let first = UdpSocket::from(shared("127.0.0.1:0".parse().unwrap()));
        let address = first.local_addr().unwrap();
        let sibling = shared(address);
        let wide = shared((Ipv4Addr::UNSPECIFIED, address.port()).into());
        let elsewhere = |n: u8| shared((Ipv4Addr::new(127, 7, 7, n), address.port()).into());
        let decoys: Vec<_> = (1..=250).chain(1..=250).map(elsewhere).collect();
        let Some(met) = met_by_udp(&first) else { return };
        let mut inodes: Vec<_> = met.others.sockets.iter().map(|other| other.inode).collect();
        let mut expected = [&sibling, &wide].map(|it| fstat(it).unwrap().st_ino);
        inodes.sort_unstable();
        expected.sort_unstable();
        assert!(met.own_is_there && !met.others.are_more, "{}", decoys.len());
        assert_eq!(inodes, expected);
    }

    #[test]
    fn one_for_ipv4_alone_is_beside_one_for_both() {
        let Ok(both) = UdpSocket::bind("[::]:0") else { return };
        let address = both.local_addr().unwrap();
        if !takes_ipv4(&both, address) {
            return;
        }
        setsockopt(&both, sockopt::ReuseAddr, &true).unwrap();
        let sibling = shared(by_ipv4(address));
        let Some(mut met) = met_by_udp(&both) else { return };
        met.ask(by_ipv4(address), libc::IPPROTO_UDP, 1 << CLOSE).unwrap();
        let inode = fstat(&sibling).unwrap().st_ino;
        assert!(met.own_is_there && met.others.sockets.iter().any(|other| other.inode == inode));
    }

    #[test]
    fn those_of_other_addresses_and_devices_are_in_nobodys_way() {
        let other = |ip: &str, device| other_at(ip, device, 1);
        let own = other("127.0.0.1", 0);
        assert!(meet(&own, &other("127.0.0.1", 7)) && meet(&own, &other("0.0.0.0", 0)));
        assert!(!meet(&own, &other("127.0.0.2", 0)));
        assert!(!meet(&other("0.0.0.0", 1), &other("0.0.0.0", 2)));
    }
}
