//! `dgram nowait`: a program per peer, on a socket connected to that peer.
//!
//! The socket on which a peer's first datagram waits is connected to the peer and
//! given to the program, datagram and all, and a new socket takes its place. If
//! datagrams of others wait behind it they would be read by the wrong program, and
//! a queue cannot be sorted. In that case every datagram is taken out and each
//! peer gets a socket of its own, into which its datagrams are sent again.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};

use super::Server;
use super::slab::Key;
use super::token::Owner;
use crate::address::Address;
use crate::admission::Verdict;
use crate::descriptor;
use crate::listener::{self, Socket};
use crate::spawn::environment::Connection;
use crate::spawn::kernel;

/// Peers taken from one socket in one turn.
const PEERS: usize = 16;
/// Datagrams looked at or taken out at once; the rest of a longer queue is lost.
const QUEUE: usize = 128;
/// The largest UDP datagram.
const LARGEST: usize = 65_535;

impl Server {
    /// Takes the peers whose datagrams wait on a socket.
    pub(super) fn take_peer(&mut self, key: Key) {
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
        socket.peek_from(&mut [0]).map(|(_, peer)| peer)
    }

    fn serve_peer(&mut self, key: Key, peer: SocketAddr) {
        let Some(owner) = self.listeners.get(key).map(|state| state.service) else { return };
        if !self.admits_peer(owner, peer) {
            // Out of the queue, or it would be looked at for ever.
            let _ = self.udp_socket(key).map(|socket| socket.recv_from(&mut [0]));
            return;
        }
        let socket = match self.take_socket(key, peer) {
            Ok(socket) => socket,
            Err(error) => {
                let _ = self.udp_socket(key).map(|socket| socket.recv_from(&mut [0]));
                return self.start_failed(owner, Address::Inet(peer), &error);
            }
        };
        if queue_is_of(&socket, peer) {
            return self.start_on(owner, socket, peer);
        }
        // Counted again below, like the others.
        self.cancel_start(owner, Address::Inet(peer));
        for (peer, datagrams) in by_peer(&socket) {
            if !self.admits_peer(owner, peer) {
                continue;
            }
            match self.socket_with(key, peer, &datagrams) {
                Ok(socket) => self.start_on(owner, socket, peer),
                Err(error) => self.start_failed(owner, Address::Inet(peer), &error),
            }
        }
    }

    fn admits_peer(&mut self, owner: Key, peer: SocketAddr) -> bool {
        let Some(id) = self.services.get(owner).map(|state| state.admission) else { return false };
        let peer = Address::Inet(peer);
        match self.admission.admit(&self.observed(), id, peer) {
            Verdict::Admit => true,
            Verdict::Refuse(reason) | Verdict::Rest(reason, _) => {
                self.refuse(owner, peer, reason);
                false
            }
        }
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

    /// A socket at the listener's address, connected to the peer, with the peer's
    /// datagrams in it. They were taken out of another and are sent again from here,
    /// so the sender that recvfrom(2) tells is not the peer; read(2) and write(2)
    /// do as ever.
    fn socket_with(
        &self,
        key: Key,
        peer: SocketAddr,
        datagrams: &[Vec<u8>],
    ) -> io::Result<UdpSocket> {
        let state = self.listeners.get(key).ok_or(ErrorKind::NotFound)?;
        let service = self.services.get(state.service).ok_or(ErrorKind::NotFound)?;
        let beside = self.udp_socket(key).ok_or(ErrorKind::NotFound)?;
        let loopback = match peer {
            SocketAddr::V4(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0u16, 0, 0, 0, 0, 0, 0, 1], 0)),
        };
        let socket = UdpSocket::from(descriptor::raise(listener::udp_socket(&peer)?));
        let sender = UdpSocket::bind(loopback)?;
        // Connecting gives it a port of its own for the time being, and keeps others out.
        socket.connect(sender.local_addr()?)?;
        let here = socket.local_addr()?;
        for datagram in datagrams {
            sender.send_to(datagram, here)?;
        }
        // Nobody's datagram may come between losing that port and the real connection.
        kernel::refuse_datagrams(&socket, true)?;
        kernel::disconnect(&socket)?;
        let attributes = &service.service.attributes;
        listener::share_address(&socket, beside, &state.spec, attributes)?;
        socket.connect(peer)?;
        kernel::refuse_datagrams(&socket, false)?;
        Ok(socket)
    }

    fn start_on(&mut self, owner: Key, socket: UdpSocket, peer: SocketAddr) {
        let facts = Connection {
            protocol: "UDP",
            local: socket.local_addr().ok(),
            remote: Some(peer),
            ..Connection::default()
        };
        let ready = socket.set_nonblocking(false).and_then(|()| descriptor::low_copy(&socket));
        drop(socket);
        match ready {
            Ok(socket) => {
                self.start_or_say(owner, socket, Address::Inet(peer), &facts, None);
            }
            Err(error) => self.start_failed(owner, Address::Inet(peer), &error),
        }
    }
}

/// Whether everything that waits on a socket came from this peer. Nothing more of
/// others can come: it is connected.
fn queue_is_of(socket: &UdpSocket, peer: SocketAddr) -> bool {
    if kernel::set_peek_offset(socket, 0).is_err() {
        return false;
    }
    let mut only = false;
    for _ in 0..QUEUE {
        match socket.peek_from(&mut [0; LARGEST]) {
            Ok((_, from)) if from == peer => {}
            Ok(_) => break,
            Err(error) => {
                only = error.kind() == ErrorKind::WouldBlock;
                break;
            }
        }
    }
    kernel::set_peek_offset(socket, -1).is_ok() && only
}

/// Takes everything out of a socket, by peer, in the order of their first datagrams.
fn by_peer(socket: &UdpSocket) -> Vec<(SocketAddr, Vec<Vec<u8>>)> {
    let mut peers: Vec<(SocketAddr, Vec<Vec<u8>>)> = Vec::new();
    let mut buffer = vec![0; LARGEST];
    for _ in 0..QUEUE {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { break };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        match peers.iter_mut().find(|(peer, _)| *peer == from) {
            Some((_, datagrams)) => datagrams.push(datagram),
            None => peers.push((from, vec![datagram])),
        }
    }
    peers
}
