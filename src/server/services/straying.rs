//! Programs per peer that make their socket one for others.
//!
//! Such a socket is connected to its peer, and gets what that one sends. A program that takes
//! the connection away gets what is for the service instead, and one that connects it to
//! somebody else what is for him; nothing in the system hinders it. So we keep a copy of the
//! socket, of which the poll tells us at each datagram, and look whether it has its peer still.
//! It is told at each datagram, though the program may have taken it by then, since the socket
//! is nearly always ready for sending, too. Whatever strangers have sent meanwhile is cut off
//! for good (see [`socket_options::keep_to_peer`]): the program has nothing of it.

mod turns;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use serde::{Deserialize, Serialize};

use crate::sys::{descriptor, handed, socket_options};

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
