//! Watching the sockets of programs per peer.

use nix::sys::signal::Signal;

use super::PeerSocket;
use crate::log::events;
use crate::server::Server;
use crate::server::programs::process_sessions::signal_group;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::sessions::Sessions;

/// Sockets of programs that have strayed, which something may have still; the oldest goes when
/// there are more.
const STRAYS: usize = 64;

impl Server {
    /// Polls the socket of a peer's program. What has come before is announced at once.
    pub(in crate::server) fn watch_peer_socket(&mut self, key: Key) {
        let Some(child) = self.sessions.table.program(key) else { return };
        let Some(peer) = &child.peer_socket else { return };
        if let Err(error) = self.reactor.watch_both(&peer.socket, Owner::PeerSocket(key))
            && let Some(session) = self.sessions.table.get(key)
        {
            events::trouble(&session.client.label, "epoll_ctl", &error);
        }
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
        self.reactor.unwatch(&peer.socket);
        if self.sessions.strays.len() >= STRAYS
            && let Some(oldest) = self.sessions.strays.keys().into_iter().next()
        {
            self.sessions.strays.remove(oldest);
        }
        let key = self.sessions.strays.insert(peer);
        if let Some(peer) = self.sessions.strays.get(key) {
            let _ = self.reactor.watch_both(&peer.socket, Owner::Stray(key));
        }
    }
}

impl Sessions {
    /// Something has come to a socket whose program has strayed.
    pub(in crate::server) fn look_at_stray(&mut self, key: Key) {
        let Some(peer) = self.strays.get_mut(key) else { return };
        if !peer.has_its_peer() {
            peer.lead_nowhere();
        }
    }
}
