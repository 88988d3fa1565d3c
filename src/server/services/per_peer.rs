//! `dgram nowait`: a program per peer, on a socket connected to that peer.
//!
//! The socket on which a peer's first datagram waits is connected to the peer and
//! given to the program, datagram and all, and a new socket takes its place. If
//! datagrams of others wait behind it they would be read by the wrong program, and
//! a queue cannot be sorted. In that case every datagram is taken out and each
//! peer gets a socket of its own, into which its datagrams are sent again. Peers for whom
//! there is no room then wait as they would in the queue, with what else they send.
//!
//! Where the service has all of this machine's addresses, the socket has the one that the peer
//! has asked; a peer that asks another one besides is another peer there.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::peer_queue::{SortedDatagrams, socket_holding, take_out, waiting_in};
use super::pending_peer::PendingPeer;
use super::straying::PeerSocket;
use crate::admission::Permit;
use crate::net::address::Address;
use crate::net::datagram::{self, Flow};
use crate::net::listener::{self, Socket};
use crate::net::own_address;
use crate::server::Server;
use crate::server::programs::starting::{ProgramStart, SPAWN};
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;
use crate::server::sessions::Sessions;
use crate::spawn::environment::{ConnectionEnvironment, Proto};
use crate::sys::messages;

/// Peers taken from one socket in one turn.
const PEERS: usize = 16;
/// How often and how long the system is given to deliver to this machine itself.
const LOOKS: u32 = 1000;
const LOOK: Duration = Duration::from_millis(1);

impl Server {
    /// Takes the peers whose datagrams wait on a socket.
    pub(super) fn take_peer(&mut self, key: Key) {
        let state = self.services.listeners.get_mut(key);
        if let Some(listener) = state.and_then(|state| state.listener.as_mut()) {
            listener.tell_destinations();
        }
        self.serve_waiting(key);
        for _ in 0..PEERS {
            if !self.may_accept(key) {
                return;
            }
            match self.services.first_flow(key) {
                Ok(flow) => self.serve_peer(key, flow),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Something sent before could not be delivered: nobody's first datagram.
                Err(error) => log::debug!("datagram error={error}"),
            }
        }
        self.reactor.ready.push(Owner::Listener(key));
    }

    fn serve_peer(&mut self, key: Key, flow: Flow) {
        let Some(owner) = self.services.listeners.get(key).map(|state| state.service) else {
            return;
        };
        let peer = flow.peer;
        let Some(permit) = self.admits_peer(owner, flow) else {
            // Out of the queue, or it would be looked at for ever.
            return self.services.udp_socket(key).into_iter().for_each(datagram::drop_first);
        };
        let socket = match self.services.take_socket(key, flow, &mut self.reactor) {
            Ok(socket) => socket,
            Err(error) => {
                self.services.udp_socket(key).into_iter().for_each(datagram::drop_first);
                return self.start_failed((owner, Address::Inet(peer)), permit, (SPAWN, &error));
            }
        };
        let only_its_own =
            waiting_in(&socket).is_some_and(|from| from.iter().all(|it| *it == flow));
        // While both sockets were open to all, the new one may have got some of it.
        let astray = self.services.udp_socket(key).and_then(waiting_in);
        let astray = astray.is_none_or(|from| from.contains(&flow));
        if only_its_own && !astray {
            if flow.to.is_some() {
                listener::tell_nothing(&socket);
            }
            return self.start_on(owner, permit, socket, peer);
        }
        // Counted again below, like the others.
        self.cancel(permit, owner);
        let mut peers = Vec::new();
        take_out(&socket, &mut peers);
        if let Some(next) = self.services.udp_socket(key).filter(|_| astray) {
            take_out(next, &mut peers);
        }
        // The old socket stays until then: what the peer sends meanwhile must not look
        // like a new peer's first datagram.
        self.serve_sorted(key, owner, peers);
        drop(socket);
    }

    /// Those for whom there is no room now wait.
    fn serve_sorted(&mut self, listener: Key, owner: Key, peers: SortedDatagrams) {
        let mut peers = VecDeque::from(peers);
        while !peers.is_empty() && self.may_accept(listener) {
            let Some((flow, datagrams)) = peers.pop_front() else { break };
            if let Some(permit) = self.admits_peer(owner, flow) {
                self.redeliver((listener, owner), permit, flow, &datagrams, 0);
            }
        }
        if let Some(state) = self.services.listeners.get_mut(listener) {
            state.sorted.extend(peers);
        }
    }

    /// Serves those who have waited, with what they have sent meanwhile, before others.
    fn serve_waiting(&mut self, key: Key) {
        let Some(state) = self.services.listeners.get_mut(key) else { return };
        let (mut peers, owner) = (std::mem::take(&mut state.sorted), state.service);
        if peers.is_empty() {
            return;
        }
        if let Some(socket) = self.services.udp_socket(key) {
            take_out(socket, &mut peers);
        }
        self.serve_sorted(key, owner, peers);
    }

    /// Sends an admitted peer's datagrams into a socket of its own.
    fn redeliver(
        &mut self,
        (listener, owner): (Key, Key),
        permit: Permit,
        flow: Flow,
        datagrams: &[Vec<u8>],
        looks: u32,
    ) {
        match socket_holding(flow.peer, datagrams) {
            Ok((socket, sender)) => {
                let expected = datagrams.len();
                self.deliver(PendingPeer {
                    listener,
                    owner,
                    permit,
                    socket,
                    flow,
                    sender,
                    expected,
                    looks,
                });
            }
            Err(error) => {
                self.start_failed((owner, Address::Inet(flow.peer)), permit, (SPAWN, &error))
            }
        }
    }

    /// Gives a socket that holds a peer's datagrams the service's address and its
    /// program, once they have all arrived in it: at once, but for a busy machine.
    fn deliver(&mut self, pending: PendingPeer) {
        let PendingPeer { listener, owner, flow, sender, looks, .. } = pending;
        let peer = flow.peer;
        let arrived = waiting_in(&pending.socket).map_or(0, |from| from.len());
        if arrived < pending.expected && looks < LOOKS {
            return self.sessions.look_again(
                PendingPeer { looks: looks.saturating_add(1), ..pending },
                &mut self.reactor,
            );
        }
        let taken = self.services.take_address(listener, &pending.socket, flow).and_then(|()| {
            let has_all = arrived >= pending.expected && looks < LOOKS;
            let from = has_all.then(|| waiting_in(&pending.socket)).flatten();
            from.ok_or_else(|| ErrorKind::TimedOut.into())
        });
        match taken {
            Ok(from) if from.iter().all(|it| it.peer == sender || it.peer == peer) => {
                self.start_on(owner, pending.permit, pending.socket, peer);
            }
            Ok(_) => self.sort_again(pending),
            Err(error) => {
                self.start_failed((owner, Address::Inet(peer)), pending.permit, (SPAWN, &error));
            }
        }
    }

    /// While it had the address and not yet its peer, others' datagrams came in.
    fn sort_again(&mut self, pending: PendingPeer) {
        let PendingPeer { listener, owner, permit, socket, flow, sender, looks, .. } = pending;
        let mut peers = Vec::new();
        take_out(&socket, &mut peers);
        let (own, mut others): (SortedDatagrams, SortedDatagrams) =
            peers.into_iter().partition(|(from, _)| from.peer == sender || from.peer == flow.peer);
        let own: Vec<Vec<u8>> = own.into_iter().flat_map(|(_, datagrams)| datagrams).collect();
        self.redeliver((listener, owner), permit, flow, &own, looks.saturating_add(1));
        // They asked the address that it had.
        others.iter_mut().for_each(|(other, _)| other.to = flow.to);
        self.serve_sorted(listener, owner, others);
    }

    /// Looks again whether a peer's datagrams have arrived.
    pub(in crate::server) fn look_for_datagrams(&mut self, key: Key) {
        if let Some(pending) = self.sessions.pending_peers.remove(key) {
            self.deliver(pending);
        }
    }

    fn admits_peer(&mut self, owner: Key, Flow { peer, to }: Flow) -> Option<Permit> {
        if to.is_some_and(|to| self.sessions.guard.is_for_many(to.ip)) {
            log::debug!("unanswered peer={peer} reason=ForMany");
            return None;
        }
        if self.sessions.is_one_of_us(peer) {
            log::debug!("unanswered peer={peer} reason=OwnService");
            return None;
        }
        self.admits_datagram(owner, Address::Inet(peer))
    }

    fn start_on(&mut self, owner: Key, permit: Permit, socket: UdpSocket, peer: SocketAddr) {
        let facts = ConnectionEnvironment {
            protocol: Proto::Udp,
            local: socket.local_addr().ok(),
            remote: Some(peer),
            ..ConnectionEnvironment::default()
        };
        let kept = socket.set_nonblocking(false).and_then(|()| PeerSocket::of(&socket));
        match kept {
            Ok(kept) => {
                let start = ProgramStart::new(owner, Address::Inet(peer), &facts);
                let child = self.start_or_say(&start, permit, socket.into());
                let child = child.and_then(|key| self.sessions.table.program_mut(key));
                if let Some((_, child)) = child {
                    child.peer_socket = Some(kept);
                }
            }
            Err(error) => self.start_failed((owner, Address::Inet(peer)), permit, (SPAWN, &error)),
        }
    }
}

impl Sessions {
    /// Whether a datagram seems to come from one of our own services: its program and the one
    /// that it would get would talk to each other for ever. Another host is nobody of us:
    /// there are protocols whose two ends have one port.
    fn is_one_of_us(&self, peer: SocketAddr) -> bool {
        let is_here = |ip: IpAddr| ip.is_loopback() || own_address::may_be_own(peer);
        self.guard.is_own_port(peer.port()) && is_here(peer.ip().to_canonical())
    }

    pub(in crate::server) fn look_again(&mut self, pending: PendingPeer, reactor: &mut Reactor) {
        let key = self.pending_peers.insert(pending);
        reactor.after(LOOK, Timer::Deliver(key));
    }
}

impl Services {
    /// Puts a new socket into the listener's place and connects the old one.
    fn take_socket(
        &mut self,
        key: Key,
        flow: Flow,
        reactor: &mut Reactor,
    ) -> io::Result<UdpSocket> {
        let (state, service) = self.of(key).ok_or(ErrorKind::NotFound)?;
        let socket = self.udp_socket(key).ok_or(ErrorKind::NotFound)?;
        let attributes = &service.service.attributes;
        let next = listener::bind_beside(socket, &state.spec, attributes, flow.to.is_some())?;
        let port = socket.local_addr()?.port();
        let (asked, device) = (flow.to.map(|to| to.at(port)), state.spec.device.as_deref());
        listener::connect_from(socket, flow.peer, asked, device)?;
        self.deregister_listener(key, reactor);
        let state = self.listeners.get_mut(key).ok_or(ErrorKind::NotFound)?;
        let listener = state.listener.as_mut().ok_or(ErrorKind::NotFound)?;
        let taken = listener.replace_socket(next);
        self.register_listener(key, reactor);
        match taken {
            Socket::Udp(socket) => Ok(socket),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn udp_socket(&self, key: Key) -> Option<&UdpSocket> {
        match self.open(key)?.socket() {
            Socket::Udp(socket) => Some(socket),
            _ => None,
        }
    }

    fn first_flow(&self, key: Key) -> io::Result<Flow> {
        let socket = self.udp_socket(key).ok_or(ErrorKind::WouldBlock)?;
        datagram::peek_told(socket, &mut [0]).map(|(_, flow)| flow)
    }

    /// The listener's address, or of several the one that was asked, and the real peer, in
    /// place of those that served to fill it.
    fn take_address(&self, key: Key, socket: &UdpSocket, flow: Flow) -> io::Result<()> {
        let (state, service) = self.of(key).ok_or(ErrorKind::NotFound)?;
        let beside = self.udp_socket(key).ok_or(ErrorKind::NotFound)?;
        let all = beside.local_addr()?;
        let address = flow.to.map_or(all, |to| to.at(all.port()));
        messages::disconnect(socket)?;
        let attributes = &service.service.attributes;
        listener::share_address(socket, beside, address, &state.spec, attributes)?;
        socket.connect(flow.peer)
    }
}
