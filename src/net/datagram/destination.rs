//! To which of this machine's addresses a datagram was sent. Where a socket is bound to all of
//! them, that is the one to answer from: a client takes an answer from no other. What was
//! sent to many is not to be answered at all.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::inet::{send, socket_address};

/// Where a datagram was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SocketAddr", into = "SocketAddr")]
pub(crate) struct Destination {
    /// The address; 255.255.255.255 stands for every IPv4 address that is not one host's.
    pub ip: IpAddr,
    /// The interface, for an address that is one of several networks.
    interface: u32,
}

impl From<SocketAddr> for Destination {
    /// Of an address of a socket, whatever the port.
    fn from(address: SocketAddr) -> Self {
        let interface = match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        };
        Self { ip: address.ip(), interface }
    }
}

impl From<Destination> for SocketAddr {
    fn from(destination: Destination) -> Self {
        destination.at(0)
    }
}

impl Destination {
    /// The address with a port, as a socket has it.
    #[must_use]
    pub(crate) fn at(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.interface).into(),
        }
    }
}

/// Who talks to whom: a datagram's sender, and to which of our addresses it was sent. None:
/// to the one that the socket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flow {
    /// The sender.
    pub peer: SocketAddr,
    /// Where to.
    #[serde(default)]
    pub to: Option<Destination>,
}

/// Takes a datagram; its length, or what of it fits, who sent it, and where to, if the socket
/// has the option for that (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
///
/// # Errors
/// recvmsg(2)'s. WouldBlock: there is none.
pub(crate) fn take_told(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Flow)> {
    receive(socket, buffer, MsgFlags::empty())
}

/// The same, and it stays where it is.
///
/// # Errors
/// As [`take_told`].
pub(crate) fn peek_told(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Flow)> {
    receive(socket, buffer, MsgFlags::MSG_PEEK)
}

fn receive(socket: &UdpSocket, buffer: &mut [u8], flags: MsgFlags) -> io::Result<(usize, Flow)> {
    let mut room = cmsg_space!(in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let (number, flags) = (socket.as_raw_fd(), flags | MsgFlags::MSG_DONTWAIT);
    let message = recvmsg::<SockaddrStorage>(number, &mut parts, Some(&mut room), flags)?;
    let peer = message.address.as_ref().and_then(socket_address).ok_or(ErrorKind::InvalidData)?;
    let to = message.cmsgs()?.find_map(|record| match record {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(from_v4(info)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(from_v6(info)),
        _ => None,
    });
    Ok((message.bytes, Flow { peer, to }))
}

/// The system says from which address it would answer, too: another one if many were meant.
fn from_v4(info: in_pktinfo) -> Destination {
    let address = |it: in_addr| Ipv4Addr::from(u32::from_be(it.s_addr));
    let (to, own) = (address(info.ipi_addr), address(info.ipi_spec_dst));
    let is_one = own.is_unspecified() || own == to;
    let ip = if is_one { to } else { Ipv4Addr::BROADCAST };
    Destination { ip: ip.into(), interface: 0 }
}

fn from_v6(info: in6_pktinfo) -> Destination {
    let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
    Destination { ip: ip.into(), interface }
}

/// Sends a datagram from the address that another was sent to.
///
/// # Errors
/// sendmsg(2)'s. WouldBlock: there is no room for it.
pub(crate) fn send_from(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<Destination>,
) -> io::Result<()> {
    let Some(Destination { ip, interface }) = from else { return send(socket, bytes, to) };
    let (v4, v6);
    let record = match ip {
        IpAddr::V4(ip) => {
            let own = in_addr { s_addr: u32::from(ip).to_be() };
            v4 = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: in_addr { s_addr: 0 } };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        IpAddr::V6(ip) => {
            let own = in6_addr { s6_addr: ip.octets() };
            v6 = in6_pktinfo { ipi6_addr: own, ipi6_ifindex: interface };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let (parts, to) = ([IoSlice::new(bytes)], SockaddrStorage::from(to));
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg(socket.as_raw_fd(), &parts, &[record], flags, Some(&to))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(("127.0.0.2", port)).unwrap();
        client.send(b"before it is told").unwrap();
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap();
        client.send(b"after").unwrap();
        for length in [17, 5] {
            let mut buffer = [0; 64];
            let seen = peek_told(&socket, &mut buffer).unwrap();
            let (received, Flow { peer, to }) = take_told(&socket, &mut buffer).unwrap();
            assert_eq!(seen, (received, Flow { peer, to }));
            assert_eq!((received, peer), (length, client.local_addr().unwrap()));
            assert_eq!(to.unwrap().at(port), ([127, 0, 0, 2], port).into());
            send_from(&socket, b"answer", peer, to).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), 6);
        }
        assert!(take_told(&socket, &mut [0]).is_err_and(|it| it.kind() == ErrorKind::WouldBlock));
    }

    #[test]
    fn what_was_sent_to_many_is_told() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_broadcast(true).unwrap();
        client.send_to(b"all", ("127.255.255.255", port)).unwrap();
        let (_, flow) = take_told(&socket, &mut [0; 8]).unwrap();
        assert_eq!(flow.to.unwrap().ip, Ipv4Addr::BROADCAST);
    }
}
