//! Built-in services on datagrams: an answer to each, a bounded number per turn.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};

use crate::builtin::{Share, WallClock, answer};
use crate::config::model::Builtin;
use crate::control::statistics::Statistics;
use crate::net::address::Address;
use crate::net::datagram::{self, Destination, Flow};
use crate::net::listener::{Bound, Listener, Socket};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::token::Owner;
use crate::server::services::Services;

/// Datagrams answered on one socket in one turn.
const DATAGRAMS: usize = 64;

impl Server {
    /// Answers what waits on a datagram socket.
    pub(super) fn answer_datagrams(&mut self, key: Key, kind: Builtin) {
        let clock = self.clock();
        let mut out = Vec::new();
        let state = self.services.listeners.get_mut(key);
        if let Some(listener) = state.and_then(|state| state.listener.as_mut()) {
            listener.tell_destinations();
            listener.tell_senders();
        }
        for _ in 0..DATAGRAMS {
            if !self.may_accept(key) {
                return;
            }
            match self.answer_one(key, kind, clock, &mut out) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An earlier answer could not be delivered, or this one cannot be
                // sent: loss is part of the protocol.
                Err(error) => log::debug!("datagram error={error}"),
            }
        }
        self.reactor.ready.push(Owner::Listener(key));
    }

    fn answer_one(
        &mut self,
        key: Key,
        kind: Builtin,
        clock: WallClock,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let nothing = || io::Error::from(ErrorKind::WouldBlock);
        let state = self.services.listeners.get(key).ok_or_else(nothing)?;
        let service = state.service;
        let listener = state.listener.as_ref().ok_or_else(nothing)?;
        let socket = match listener.socket() {
            Socket::Udp(socket) => socket,
            Socket::UnixDatagram(_) => return self.answer_unix(key, kind, clock, out),
            Socket::Tcp(_) | Socket::Unix(_) | Socket::Vsock(_) => return Err(nothing()),
        };
        let (length, Flow { peer, to }) = if listener.tells_destinations() {
            datagram::take_told(socket, &mut self.reactor.scratch)?
        } else {
            let (length, peer) = datagram::take(socket, &mut self.reactor.scratch)?;
            (length, Flow { peer, to: None })
        };
        let request = self.reactor.scratch.get(..length).unwrap_or_default();
        if !answer(kind, request, clock, out) {
            return Ok(());
        }
        let Some(share) = self.services.share_of(service) else { return Err(nothing()) };
        if let Err(rejection) =
            self.sessions.guard.permits(self.reactor.now, peer, destination(to, listener), share)
        {
            log::debug!("unanswered peer={peer} reason={rejection:?}");
            return Ok(());
        }
        if self.may_answer(service, peer.into())
            && let Some(Socket::Udp(socket)) = self.services.datagram_socket(key)
        {
            datagram::send_from(socket, out, peer, to).map_err(lost)?;
        }
        Ok(())
    }

    /// The service's own limits on starts; an answer is over as soon as it is begun.
    fn may_answer(&mut self, service: Key, peer: Address) -> bool {
        let Some(permit) = self.admits_datagram(service, peer) else { return false };
        let _ = self.admission.release(self.reactor.now, permit);
        self.count(service, Statistics::served);
        true
    }

    fn answer_unix(
        &mut self,
        key: Key,
        kind: Builtin,
        clock: WallClock,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let nothing = || io::Error::from(ErrorKind::WouldBlock);
        let state = self.services.listeners.get(key).ok_or_else(nothing)?;
        let service = state.service;
        let Some(Socket::UnixDatagram(socket)) = state.listener.as_ref().map(Listener::socket)
        else {
            return Err(nothing());
        };
        let (length, sender) = datagram::take_unix(socket, &mut self.reactor.scratch)?;
        let request = self.reactor.scratch.get(..length).unwrap_or_default();
        let Some(sender) = sender.filter(|_| answer(kind, request, clock, out)) else {
            return Ok(());
        };
        let process = sender.credentials.map_or(0, |it| it.pid());
        if let Err(rejection) =
            self.sessions.guard.permits_local(self.reactor.now, &sender.name, process)
        {
            log::debug!("unanswered process={process} reason={rejection:?}");
            return Ok(());
        }
        let route = match sender.route() {
            Ok(route) => route,
            Err(reason) => {
                log::debug!("unanswered process={process} reason={reason:?}");
                return Ok(());
            }
        };
        if self.may_answer(service, Address::None)
            && let Some(Socket::UnixDatagram(socket)) = self.services.datagram_socket(key)
        {
            datagram::answer_unix(socket, out, &sender, &route).map_err(lost)?;
        }
        Ok(())
    }
}

impl Services {
    /// What each source gets of this service.
    fn share_of(&self, service: Key) -> Option<Share> {
        let state = self.all.get(service)?;
        let rate = state.service.attributes.limits.answer_rate;
        Some(Share { service: state.admission, rate })
    }

    fn datagram_socket(&self, key: Key) -> Option<&Socket> {
        self.open(key).map(Listener::socket)
    }
}

/// An answer for which there is no room is lost; that says nothing of what waits to be
/// answered.
fn lost(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => io::Error::other("no room for the answer"),
        _ => error,
    }
}

/// The address a datagram was sent to: what is told of it, or that of the socket.
fn destination(told: Option<Destination>, listener: &Listener) -> IpAddr {
    match (told, listener.address()) {
        (Some(told), _) => told.ip,
        (None, Bound::Inet(address)) => address.ip(),
        (None, Bound::Unix(_) | Bound::Vsock(_)) => Ipv4Addr::UNSPECIFIED.into(),
    }
}
