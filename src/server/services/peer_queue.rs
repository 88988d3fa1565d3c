//! Datagrams that wait on a socket, told apart by who has sent them and, where the socket is
//! bound to all of this machine's addresses, to which of those.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::net::datagram::{self, Flow};
use crate::net::listener;
use crate::sys::descriptor;
use crate::sys::socket_options;

/// Datagrams looked at or taken out at once; the rest of a longer queue is lost.
const QUEUE: usize = 128;
/// Bytes of datagrams that wait for room at most: as many as a socket usually holds.
const WAITING: usize = 256 * 1024;
/// The largest UDP datagram.
const LARGEST: usize = 65_535;

/// Datagrams by flow, in the order of the flows' first.
pub(in crate::server) type SortedDatagrams = Vec<(Flow, Vec<Vec<u8>>)>;

/// A socket with the peer's datagrams on their way into it, and their new sender. They were
/// taken out of another and are sent again from here, so the sender that recvfrom(2) tells is
/// not the peer; read(2) and write(2) do as ever.
pub(super) fn socket_holding(
    peer: SocketAddr,
    datagrams: &[Vec<u8>],
) -> io::Result<(UdpSocket, SocketAddr)> {
    let loopback: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let socket = UdpSocket::from(descriptor::raise_held(listener::udp_socket(&peer)?));
    let sender = UdpSocket::bind((loopback, 0))?;
    // Connecting gives it a port of its own for the time being, and keeps others out.
    let from = sender.local_addr()?;
    socket.connect(from)?;
    let here = socket.local_addr()?;
    for bytes in datagrams {
        datagram::send(&sender, bytes, here)?;
    }
    Ok((socket, from))
}

/// Who sent what waits on a socket, in order; None if that cannot be told.
pub(super) fn waiting_in(socket: &UdpSocket) -> Option<Vec<Flow>> {
    socket_options::set_peek_offset(socket, 0).ok()?;
    let mut buffer = vec![0; LARGEST];
    let mut flows = Vec::new();
    let end = loop {
        match datagram::peek_told(socket, &mut buffer) {
            Ok(_) if flows.len() == QUEUE => break None,
            Ok((_, flow)) => flows.push(flow),
            Err(error) => break Some(error.kind()),
        }
    };
    // Back to the head, for the program.
    socket_options::set_peek_offset(socket, -1).ok()?;
    (end == Some(ErrorKind::WouldBlock)).then_some(flows)
}

/// Takes everything out of a socket, as long as it is not too much.
pub(super) fn take_out(socket: &UdpSocket, flows: &mut SortedDatagrams) {
    let mut buffer = vec![0; LARGEST];
    let waiting = flows.iter().flat_map(|(_, datagrams)| datagrams);
    let (mut count, mut bytes) =
        waiting.fold((0, 0), |(count, bytes), one| (count + 1, bytes + one.len()));
    while count < QUEUE && bytes < WAITING {
        let Ok((length, from)) = datagram::take_told(socket, &mut buffer) else { break };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        (count, bytes) = (count + 1, bytes + length);
        match flows.iter_mut().find(|(flow, _)| *flow == from) {
            Some((_, datagrams)) => datagrams.push(datagram),
            None => flows.push((from, vec![datagram])),
        }
    }
}
