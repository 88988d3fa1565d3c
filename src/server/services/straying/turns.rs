//! Watching the sockets of programs per peer.

use super::PeerSocket;
use crate::log::events;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::sessions::Sessions;

/// Sockets of programs that have strayed, which something may have still; the oldest goes when
/// there are more.
const STRAYS: usize = 64;

impl Sessions {
    /// Polls the socket of a peer's program. What has come before is announced at once.
    pub(in crate::server) fn watch_peer_socket(&mut self, key: Key, reactor: &Reactor) {
        let Some(child) = self.table.program(key) else { return };
        let Some(peer) = &child.peer_socket else { return };
        if let Err(error) = reactor.watch_both(&peer.socket, Owner::PeerSocket(key))
            && let Some(session) = self.table.get(key)
        {
            events::trouble(&session.client.label, "epoll_ctl", &error);
        }
    }

    /// Something has come to the socket of a peer's program, or the program has ended: is it
    /// its peer's still? Ends it if not, at once: each moment costs others what they send.
    pub(in crate::server) fn look_at_peer_socket(&mut self, key: Key, reactor: &mut Reactor) {
        let Some((client, child)) = self.table.program_mut(key) else { return };
        if child.peer_socket.as_ref().is_none_or(PeerSocket::has_its_peer) {
            return;
        }
        let Some(mut peer) = child.peer_socket.take() else { return };
        peer.lead_nowhere();
        if let Some(deadline) = child.deadline.take() {
            reactor.timers.cancel(deadline, Timer::Overdue(key));
        }
        child.overdue = true;
        events::strayed(&client.label, client.peer, child.pid);
        self.table.kill(key, reactor);
        self.keep_stray(peer, reactor);
    }

    /// What has left the program's group may have the socket still.
    fn keep_stray(&mut self, peer: PeerSocket, reactor: &Reactor) {
        reactor.unwatch(&peer.socket);
        if self.strays.len() >= STRAYS
            && let Some(oldest) = self.strays.keys().into_iter().next()
        {
            self.strays.remove(oldest);
        }
        let key = self.strays.insert(peer);
        if let Some(peer) = self.strays.get(key) {
            let _ = reactor.watch_both(&peer.socket, Owner::Stray(key));
        }
    }

    /// Something has come to a socket whose program has strayed.
    pub(in crate::server) fn look_at_stray(&mut self, key: Key) {
        let Some(peer) = self.strays.get_mut(key) else { return };
        if !peer.has_its_peer() {
            peer.lead_nowhere();
        }
    }
}
