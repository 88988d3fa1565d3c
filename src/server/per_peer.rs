//! `dgram nowait`: a program per peer, on a socket connected to that peer.
//!
//! The socket on which a peer's first datagram waits is connected to the peer and
//! given to the program, datagram and all, and a new socket takes its place. If
//! datagrams of others wait behind it they would be read by the wrong program, and
//! a queue cannot be sorted. In that case every datagram is taken out and each
//! peer gets a socket of its own, into which its datagrams are sent again. Peers for whom
//! there is no room then wait as they would in the queue, with what else they send.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::Server;
use super::slab::Key;
use super::starting::Start;
use super::timers::Timer;
use super::token::Owner;
use crate::address::Address;
use crate::admission::Verdict;
use crate::datagram;
use crate::descriptor;
use crate::listener::{self, Socket};
use crate::spawn::environment::Connection;
use crate::spawn::kernel;

/// Peers taken from one socket in one turn.
const PEERS: usize = 16;
/// Datagrams looked at or taken out at once; the rest of a longer queue is lost.
const QUEUE: usize = 128;
/// Bytes of datagrams that wait for room at most: as many as a socket usually holds.
const WAITING: usize = 256 * 1024;
/// How often and how long the system is given to deliver to this machine itself.
const LOOKS: u32 = 1000;
const LOOK: Duration = Duration::from_millis(1);
/// The largest UDP datagram.
const LARGEST: usize = 65_535;

impl Server {
    /// Takes the peers whose datagrams wait on a socket.
    pub(super) fn take_peer(&mut self, key: Key) {
        self.serve_waiting(key);
        for _ in 0..PEERS {
            if !self.may_accept(key) {
                return;
            }
            match self.first_peer(key) {
                Ok(peer) => self.serve_peer(key, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Something sent before could not be delivered: nobody's first datagram.
                Err(error) => log::debug!("datagram error={error}"),
            }
        }
        self.queue(Owner::Listener(key));
    }

    fn udp_socket(&self, key: Key) -> Option<&UdpSocket> {
        match self.listeners.get(key)?.listener.as_ref()?.socket() {
            Socket::Udp(socket) => Some(socket),
            _ => None,
        }
    }

    fn first_peer(&self, key: Key) -> io::Result<SocketAddr> {
        let socket = self.udp_socket(key).ok_or(ErrorKind::WouldBlock)?;
        datagram::peek(socket, &mut [0]).map(|(_, peer)| peer)
    }

    fn serve_peer(&mut self, key: Key, peer: SocketAddr) {
        let Some(owner) = self.listeners.get(key).map(|state| state.service) else { return };
        if !self.admits_peer(owner, peer) {
            // Out of the queue, or it would be looked at for ever.
            self.udp_socket(key).into_iter().for_each(datagram::drop_first);
            return;
        }
        let socket = match self.take_socket(key, peer) {
            Ok(socket) => socket,
            Err(error) => {
                self.udp_socket(key).into_iter().for_each(datagram::drop_first);
                return self.start_failed(owner, Address::Inet(peer), &error);
            }
        };
        let only_its_own =
            waiting_in(&socket).is_some_and(|from| from.iter().all(|it| *it == peer));
        // While both sockets were open to all, the new one may have got some of it.
        let astray = self.udp_socket(key).and_then(waiting_in);
        let astray = astray.is_none_or(|from| from.contains(&peer));
        if only_its_own && !astray {
            return self.start_on(owner, socket, peer);
        }
        // Counted again below, like the others.
        self.cancel_start(owner, Address::Inet(peer));
        let mut peers = Vec::new();
        take_out(&socket, &mut peers);
        if let Some(next) = self.udp_socket(key).filter(|_| astray) {
            take_out(next, &mut peers);
        }
        // The old socket stays until then: what the peer sends meanwhile must not look
        // like a new peer's first datagram.
        self.serve_sorted(key, owner, peers);
        drop(socket);
    }

    /// Those for whom there is no room now wait.
    fn serve_sorted(&mut self, listener: Key, owner: Key, peers: Sorted) {
        let mut peers = VecDeque::from(peers);
        while !peers.is_empty() && self.may_accept(listener) {
            let Some((peer, datagrams)) = peers.pop_front() else { break };
            if self.admits_peer(owner, peer) {
                self.send_home(listener, owner, peer, &datagrams, 0);
            }
        }
        if let Some(state) = self.listeners.get_mut(listener) {
            state.sorted.extend(peers);
        }
    }

    /// Serves those who have waited, with what they have sent meanwhile, before others.
    fn serve_waiting(&mut self, key: Key) {
        let Some(state) = self.listeners.get_mut(key) else { return };
        let (mut peers, owner) = (std::mem::take(&mut state.sorted), state.service);
        if peers.is_empty() {
            return;
        }
        if let Some(socket) = self.udp_socket(key) {
            take_out(socket, &mut peers);
        }
        self.serve_sorted(key, owner, peers);
    }

    /// Sends an admitted peer's datagrams into a socket of its own.
    fn send_home(
        &mut self,
        listener: Key,
        owner: Key,
        peer: SocketAddr,
        datagrams: &[Vec<u8>],
        looks: u32,
    ) {
        match socket_holding(peer, datagrams) {
            Ok((socket, sender)) => {
                let expected = datagrams.len();
                self.bring_home(Homing { listener, owner, socket, peer, sender, expected, looks });
            }
            Err(error) => self.start_failed(owner, Address::Inet(peer), &error),
        }
    }

    /// Gives a socket that holds a peer's datagrams the service's address and its
    /// program, once they have all arrived in it: at once, but for a busy machine.
    fn bring_home(&mut self, homing: Homing) {
        let Homing { listener, owner, peer, sender, looks, .. } = homing;
        let arrived = waiting_in(&homing.socket).map_or(0, |from| from.len());
        if arrived < homing.expected && looks < LOOKS {
            return self.look_again(Homing { looks: looks.saturating_add(1), ..homing });
        }
        let taken = match self.take_address(listener, &homing.socket, peer) {
            Ok(()) if arrived >= homing.expected && looks < LOOKS => waiting_in(&homing.socket),
            Ok(()) => None,
            Err(error) => return self.start_failed(owner, Address::Inet(peer), &error),
        };
        match taken {
            Some(from) if from.iter().all(|it| *it == sender || *it == peer) => {
                self.start_on(owner, homing.socket, peer);
            }
            Some(_) => self.sort_again(&homing),
            None => {
                let error = io::Error::from(ErrorKind::TimedOut);
                self.start_failed(owner, Address::Inet(peer), &error);
            }
        }
    }

    pub(super) fn look_again(&mut self, homing: Homing) {
        let key = self.homing.insert(homing);
        self.timers.set(self.now + LOOK, Timer::Home(key));
    }

    /// While it had the address and not yet its peer, others' datagrams came in.
    fn sort_again(&mut self, homing: &Homing) {
        let Homing { listener, owner, peer, sender, looks, .. } = *homing;
        let mut peers = Vec::new();
        take_out(&homing.socket, &mut peers);
        let (own, others): (Sorted, Sorted) =
            peers.into_iter().partition(|(from, _)| *from == sender || *from == peer);
        let own: Vec<Vec<u8>> = own.into_iter().flat_map(|(_, datagrams)| datagrams).collect();
        self.send_home(listener, owner, peer, &own, looks.saturating_add(1));
        self.serve_sorted(listener, owner, others);
    }

    /// Looks again whether a peer's datagrams have arrived.
    pub(super) fn look_for_datagrams(&mut self, key: Key) {
        if let Some(homing) = self.homing.remove(key) {
            self.bring_home(homing);
        }
    }

    /// The listener's address and the real peer, in place of those that served to fill it.
    fn take_address(&self, key: Key, socket: &UdpSocket, peer: SocketAddr) -> io::Result<()> {
        let state = self.listeners.get(key).ok_or(ErrorKind::NotFound)?;
        let service = self.services.get(state.service).ok_or(ErrorKind::NotFound)?;
        let beside = self.udp_socket(key).ok_or(ErrorKind::NotFound)?;
        kernel::disconnect(socket)?;
        let attributes = &service.service.attributes;
        listener::share_address(socket, beside, &state.spec, attributes)?;
        socket.connect(peer)
    }

    fn admits_peer(&mut self, owner: Key, peer: SocketAddr) -> bool {
        if self.is_one_of_us(peer) {
            log::debug!("unanswered peer={peer} reason=OwnService");
            return false;
        }
        let Some(id) = self.services.get(owner).map(|state| state.admission) else { return false };
        let peer = Address::Inet(peer);
        match self.admits(id, peer) {
            Verdict::Admit => true,
            Verdict::Refuse(reason) | Verdict::Rest(reason, _) => {
                self.refuse(owner, peer, reason);
                false
            }
        }
    }

    /// Whether a datagram seems to come from one of our own services: its program and the one
    /// that it would get would talk to each other for ever. Another host is nobody of us:
    /// there are protocols whose two ends have one port.
    fn is_one_of_us(&self, peer: SocketAddr) -> bool {
        let is_here = |ip: IpAddr| ip.is_loopback() || is_own_address(peer);
        self.guard.is_own_port(peer.port()) && is_here(peer.ip().to_canonical())
    }

    /// Puts a new socket into the listener's place and connects the old one.
    fn take_socket(&mut self, key: Key, peer: SocketAddr) -> io::Result<UdpSocket> {
        let state = self.listeners.get(key).ok_or(ErrorKind::NotFound)?;
        let service = self.services.get(state.service).ok_or(ErrorKind::NotFound)?;
        let socket = self.udp_socket(key).ok_or(ErrorKind::NotFound)?;
        let next = listener::bind_beside(socket, &state.spec, &service.service.attributes)?;
        socket.connect(peer)?;
        self.deregister_listener(key);
        let state = self.listeners.get_mut(key).ok_or(ErrorKind::NotFound)?;
        let listener = state.listener.as_mut().ok_or(ErrorKind::NotFound)?;
        let taken = listener.replace_socket(next);
        self.register_listener(key);
        match taken {
            Socket::Udp(socket) => Ok(socket),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn start_on(&mut self, owner: Key, socket: UdpSocket, peer: SocketAddr) {
        let facts = Connection {
            protocol: "UDP",
            local: socket.local_addr().ok(),
            remote: Some(peer),
            ..Connection::default()
        };
        match socket.set_nonblocking(false) {
            Ok(()) => {
                let start = Start::new(owner, Address::Inet(peer), &facts);
                self.start_or_say(&start, socket.into());
            }
            Err(error) => self.start_failed(owner, Address::Inet(peer), &error),
        }
    }
}

/// Whether an address is this machine's: the way there begins and ends at it.
fn is_own_address(address: SocketAddr) -> bool {
    let way_to = || {
        let socket = UdpSocket::from(listener::udp_socket(&address)?);
        socket.connect(address)?;
        socket.local_addr()
    };
    way_to().is_ok_and(|own| own.ip() == address.ip())
}

/// A socket on its way to a peer's program.
#[derive(Debug)]
pub(super) struct Homing {
    pub(super) listener: Key,
    pub(super) owner: Key,
    pub(super) socket: UdpSocket,
    pub(super) peer: SocketAddr,
    /// Our own address from which its datagrams were sent again.
    pub(super) sender: SocketAddr,
    /// How many it has to hold.
    pub(super) expected: usize,
    /// How often that was not so, or others' came in.
    pub(super) looks: u32,
}

/// Datagrams by peer, in the order of the peers' first.
pub(super) type Sorted = Vec<(SocketAddr, Vec<Vec<u8>>)>;

/// A socket with the peer's datagrams on their way into it, and their new sender. They were taken out of
/// another and are sent again from here, so the sender that recvfrom(2) tells is not
/// the peer; read(2) and write(2) do as ever.
fn socket_holding(peer: SocketAddr, datagrams: &[Vec<u8>]) -> io::Result<(UdpSocket, SocketAddr)> {
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
fn waiting_in(socket: &UdpSocket) -> Option<Vec<SocketAddr>> {
    kernel::set_peek_offset(socket, 0).ok()?;
    let mut buffer = vec![0; LARGEST];
    let mut from = Vec::new();
    let end = loop {
        match datagram::peek(socket, &mut buffer) {
            Ok(_) if from.len() == QUEUE => break None,
            Ok((_, peer)) => from.push(peer),
            Err(error) => break Some(error.kind()),
        }
    };
    // Back to the head, for the program.
    kernel::set_peek_offset(socket, -1).ok()?;
    (end == Some(ErrorKind::WouldBlock)).then_some(from)
}

/// Takes everything out of a socket, as long as it is not too much.
fn take_out(socket: &UdpSocket, peers: &mut Sorted) {
    let mut buffer = vec![0; LARGEST];
    let waiting = peers.iter().flat_map(|(_, datagrams)| datagrams);
    let (mut count, mut bytes) =
        waiting.fold((0, 0), |(count, bytes), one| (count + 1, bytes + one.len()));
    while count < QUEUE && bytes < WAITING {
        let Ok((length, from)) = datagram::take(socket, &mut buffer) else { break };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        (count, bytes) = (count + 1, bytes + length);
        match peers.iter_mut().find(|(peer, _)| *peer == from) {
            Some((_, datagrams)) => datagrams.push(datagram),
            None => peers.push((from, vec![datagram])),
        }
    }
}
