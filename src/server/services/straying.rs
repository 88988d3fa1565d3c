//! Programs per peer that make their socket one for others.
//!
//! Such a socket is connected to its peer, and gets what that one sends. A program that takes
//! the connection away gets what is for the service instead, and one that connects it to
//! somebody else what is for him; nothing in the system hinders it. So we keep a copy of the
//! socket, of which the poll tells us at each datagram, and look whether it has its peer still.
//! It is told at each datagram, though the program may have taken it by then, since the socket
//! is nearly always ready for sending, too. Whatever strangers have sent meanwhile is cut off
//! for good (see [`socket_options::keep_to_peer`]): the program has nothing of it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use mio::Interest;
use mio::unix::SourceFd;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::log::events;
use crate::server::Server;
use crate::server::programs::time_limits::signal_group;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::{self, Owner};
use crate::sys::{descriptor, handed, socket_options};

/// Sockets of programs that have strayed, which something may have still; the oldest goes when
/// there are more.
const STRAYS: usize = 64;

/// Nobody sends datagrams from this port: it is the one of discard.
const NOWHERE: u16 = 9;

/// A copy of the socket that the program of a peer has.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct PeerSocket {
    #[serde(rename = "descriptor", with = "handed")]
    pub(in crate::server) socket: UdpSocket,
    /// To whom it is connected.
    pub(in crate::server) peer: SocketAddr,
}

impl PeerSocket {
    /// Of a socket that is about to be a program's, and that from now on has nothing for
    /// anybody but its peer.
    pub(in crate::server) fn of(socket: &UdpSocket) -> io::Result<Self> {
        let peer = socket.peer_addr()?;
        if let Err(error) = socket_options::keep_to_peer(socket, &peer) {
            // It is noticed all the same.
            log::debug!("filter peer={peer} error={error}");
        }
        let copy = descriptor::raise_held(descriptor::copy(socket)?);
        Ok(Self { socket: copy.into(), peer })
    }

    fn has_its_peer(&self) -> bool {
        self.socket.peer_addr().is_ok_and(|peer| peer == self.peer)
    }

    /// Connects it to nobody who sends anything, so that nothing that is for others comes there.
    fn lead_nowhere(&mut self) {
        let nowhere = match self.peer {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, NOWHERE)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, NOWHERE)),
        };
        match self.socket.connect(nowhere) {
            Ok(()) => self.peer = nowhere,
            // One of a device that does not lead to this machine itself.
            Err(_) => _ = self.socket.connect(self.peer),
        }
    }
}

impl Server {
    /// Polls the socket of a peer's program. What has come before is announced at once.
    pub(in crate::server) fn watch_peer_socket(&mut self, key: Key) {
        let Some(child) = self.sessions.table.program(key) else { return };
        let Some(peer) = &child.peer_socket else { return };
        if let Err(error) = self.poll_peer_socket(peer, Owner::PeerSocket(key))
            && let Some(session) = self.sessions.table.get(key)
        {
            events::trouble(&session.client.label, "epoll_ctl", &error);
        }
    }

    fn poll_peer_socket(&self, peer: &PeerSocket, owner: Owner) -> io::Result<()> {
        let number = peer.socket.as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.reactor.poll.registry().register(&mut SourceFd(&number), token::pack(owner), interest)
    }

    /// Something has come to the socket of a peer's program, or the program has ended: is it
    /// its peer's still? Ends it if not, at once: each moment costs others what they send.
    pub(in crate::server) fn look_at_peer_socket(&mut self, key: Key) {
        let Some((client, child)) = self.sessions.table.program_mut(key) else { return };
        if child.peer_socket.as_ref().is_none_or(PeerSocket::has_its_peer) {
            return;
        }
        let Some(mut peer) = child.peer_socket.take() else { return };
        peer.lead_nowhere();
        if let Some(deadline) = child.deadline.take() {
            self.reactor.timers.cancel(deadline, Timer::Overdue(key));
        }
        child.overdue = true;
        events::strayed(&client.label, client.peer, child.pid);
        if let Err(error) = signal_group(child.pid, Signal::SIGKILL) {
            events::trouble(&client.label, "kill", &error);
        }
        self.keep_stray(peer);
    }

    /// What has left the program's group may have the socket still.
    fn keep_stray(&mut self, peer: PeerSocket) {
        let _ = self.reactor.poll.registry().deregister(&mut SourceFd(&peer.socket.as_raw_fd()));
        if self.sessions.strays.len() >= STRAYS
            && let Some(oldest) = self.sessions.strays.keys().into_iter().next()
        {
            self.sessions.strays.remove(oldest);
        }
        let key = self.sessions.strays.insert(peer);
        if let Some(peer) = self.sessions.strays.get(key) {
            let _ = self.poll_peer_socket(peer, Owner::Stray(key));
        }
    }

    /// Something has come to a socket whose program has strayed.
    pub(in crate::server) fn look_at_stray(&mut self, key: Key) {
        let Some(peer) = self.sessions.strays.get_mut(key) else { return };
        if !peer.has_its_peer() {
            peer.lead_nowhere();
        }
    }
}
