//! Clients who are told something, in the turns of the loop.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};

use super::{Admitted, AfterBanner, BannerProgress, BannerState, Unsent, send_now};
use crate::admission::{Permit, Reason};
use crate::config::model::Action;
use crate::log::events::{self, Why};
use crate::net::fronted::Whom;
use crate::net::listener::Connection;
use crate::server::Server;
use crate::server::programs::starting::{ProgramStart, SPAWN, StartOutcome};
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::services::accepting::connection_facts;
use crate::server::sessions::Sessions;
use crate::server::sessions::lingering::Lingerer;
use crate::server::state::Stopped;
use crate::spawn::NotStarted;
use crate::sys::descriptor;

/// How long a client may take to read its banner.
const GREETING: Duration = Duration::from_secs(30);

/// How soon a program is tried again for which there was no room, and until when.
const AGAIN: Duration = Duration::from_millis(250);

const PATIENCE: Duration = Duration::from_secs(60);

/// Why it is not tried any more.
const NO_ROOM: &str = "the system has had no room for its program";

/// How long a refused client may take to read its text and to close.
const FAREWELL: Duration = Duration::from_secs(5);

/// The same for one whose program has ended, to read its answer, and what it may send in it.
const LINGERING: Duration = Duration::from_secs(15);

const LEFT_UNREAD: usize = 64 * 1024 * 1024;

/// Bytes of a refused client that are thrown away, and how many at once.
const UNREAD: usize = 256 * 1024;

impl Server {
    /// A client has been admitted: it is told so, and served.
    pub(in crate::server) fn greet_client(
        &mut self,
        (listener, owner): (Key, Key),
        connection: Connection,
        permit: Permit,
    ) {
        let state = self.services.all.get(owner);
        let Some(text) = state.and_then(|state| state.banners.admitted.clone()) else {
            return self.serve_connection((listener, owner), connection, permit);
        };
        match send_now(&connection.socket, &text) {
            Ok(sent) if sent < text.len() => {
                let bound = self.services.open(listener);
                let admitted = Admitted {
                    service: owner,
                    permit,
                    peer: connection.peer,
                    peer_gid: connection.peer_gid,
                    facts: connection_facts(bound.map(|it| it.address()), &connection),
                    since: self.reactor.now,
                };
                let then = AfterBanner::Serve(Box::new(admitted));
                self.watch_banner(connection.socket, Unsent { text, sent }, then, GREETING);
            }
            // A client that is gone is served as ever: it is for the program to find out.
            _ => self.serve_connection((listener, owner), connection, permit),
        }
    }

    /// A client has been refused: it is told so, and the connection closed.
    pub(in crate::server::sessions) fn reject(&mut self, owner: Key, connection: Connection) {
        let Connection { socket, peer, .. } = connection;
        let Some(text) = self.services.all.get(owner).and_then(|it| it.banners.refused.clone())
        else {
            return;
        };
        let Ok(sent) = send_now(&socket, &text) else { return };
        if sent == text.len() {
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
        }
        let then = AfterBanner::Close { left: UNREAD, whose: peer.into() };
        self.watch_banner(socket, Unsent { text, sent }, then, FAREWELL);
    }

    /// A connection is over but for what the client still sends: nothing more will come to it,
    /// and what it sends is thrown away until it closes, too.
    pub(in crate::server::sessions) fn close_slowly(&mut self, socket: OwnedFd, whose: Lingerer) {
        if shutdown(socket.as_raw_fd(), Shutdown::Write).is_err() {
            return;
        }
        let then = AfterBanner::Close { left: LEFT_UNREAD, whose };
        let due = self.reactor.now + LINGERING;
        let mut state = BannerState { socket, unsent: Unsent::nothing(), then, due };
        match state.turn(&mut self.reactor.scratch) {
            Ok(BannerProgress::Done | BannerProgress::Gone) => {}
            Err(error) if error != Errno::EAGAIN => {}
            _ => {
                descriptor::raise_held_in_place(&mut state.socket);
                self.keep_banner(state);
            }
        }
    }

    fn watch_banner(
        &mut self,
        socket: OwnedFd,
        unsent: Unsent,
        then: AfterBanner,
        patience: Duration,
    ) {
        let (socket, due) = (descriptor::raise_held(socket), self.reactor.now + patience);
        self.keep_banner(BannerState { socket, unsent, then, due });
    }

    /// Goes on with a client whenever it can be told more.
    pub(in crate::server) fn keep_banner(&mut self, state: BannerState) {
        let (descriptor, due) = (state.socket.as_raw_fd(), state.due);
        let key = self.sessions.banners.insert(state);
        self.reactor.timers.set(due, Timer::Banner(key));
        self.linger_if_over(key);
        if self.reactor.watch_both(&descriptor, Owner::Banner(key)).is_err() {
            self.drop_banner(key);
        }
    }

    /// One turn of one client.
    pub(in crate::server) fn serve_banner(&mut self, key: Key) {
        let Some(state) = self.sessions.banners.get_mut(key) else { return };
        let telling = match state.turn(&mut self.reactor.scratch) {
            Ok(telling) => telling,
            Err(Errno::EAGAIN) => BannerProgress::Blocked,
            Err(_) => BannerProgress::Gone,
        };
        match telling {
            BannerProgress::Blocked => {}
            BannerProgress::More => self.reactor.ready.push(Owner::Banner(key)),
            BannerProgress::Gone => self.drop_banner(key),
            BannerProgress::Done => self.serve_after_banner(key),
        }
    }

    fn serve_after_banner(&mut self, key: Key) {
        if let Some(state) = self.sessions.forget_banner(key, &mut self.reactor)
            && let AfterBanner::Serve(admitted) = state.then
        {
            self.serve_greeted(*admitted, state.socket);
        }
    }

    /// A client that does not read, or is gone: what was counted for it is given back.
    pub(in crate::server::sessions) fn drop_banner(&mut self, key: Key) {
        let Some(state) = self.sessions.forget_banner(key, &mut self.reactor) else { return };
        let told = state.is_all_sent();
        match state.then {
            AfterBanner::Serve(admitted) if told => {
                let Admitted { service, permit, peer, .. } = *admitted;
                self.start_failed((service, peer), permit, (SPAWN, &NO_ROOM));
            }
            AfterBanner::Serve(admitted) => self.give_up(*admitted, Reason::Banner),
            AfterBanner::Close { .. } => {}
        }
    }

    /// The service goes whose banner these are still being told.
    pub(in crate::server::sessions) fn greet_no_more(&mut self, service: Key) {
        let of_it = |it: &BannerState| matches!(&it.then, AfterBanner::Serve(admitted) if admitted.service == service);
        let all = self.sessions.banners.iter().filter(|(_, it)| of_it(it));
        for key in all.map(|(key, _)| key).collect::<Vec<_>>() {
            let state = self.sessions.forget_banner(key, &mut self.reactor);
            if let Some(BannerState { then: AfterBanner::Serve(admitted), .. }) = state {
                self.give_up(*admitted, Reason::Gone);
            }
        }
    }

    /// Somebody who has been admitted is not served after all.
    fn give_up(&mut self, admitted: Admitted, reason: Reason) {
        let Admitted { service, permit, peer, facts, .. } = admitted;
        self.refuse(service, Whom { peer, via: facts.via() }, reason, Why::Plain);
        self.release(permit, service);
        if let Some(number) = facts.fronted.and_then(|fronted| fronted.number) {
            self.linger_at_worker(number, (service, peer));
        }
    }

    /// The whole banner has been sent. The service may have changed meanwhile.
    fn serve_greeted(&mut self, admitted: Admitted, socket: OwnedFd) {
        let counted = self.services.all.get(admitted.service).filter(|state| {
            // Counted by another number: it is not the service that has admitted it. The last
            // of so many clients is still served.
            state.admission == admitted.permit.service() && state.stopped != Stopped::Asked
        });
        let Some(action) = counted.map(|state| state.service.action.clone()) else {
            return self.give_up(admitted, Reason::Gone);
        };
        let Admitted { service, permit, peer, peer_gid, facts, since } = admitted;
        let connection = Connection { socket, peer, peer_gid, fronted: facts.fronted.clone() };
        // A reload may have made other rules while he read.
        if !self.is_still_let_in(service, &connection) {
            return self.cancel(permit, service);
        }
        match action {
            Action::Builtin(kind) => self.start_builtin(service, kind, connection, permit),
            Action::Relay(_) => self.start_relay(service, connection, permit),
            Action::Program(_) => {
                let Connection { socket, peer, .. } = connection;
                let start = ProgramStart::new(service, peer, &facts);
                if let StartOutcome::Later(failed, permit) =
                    self.start_blocking(&start, permit, socket)
                {
                    let admitted = Admitted { service, permit, peer, peer_gid, facts, since };
                    self.serve_later(admitted, failed);
                }
            }
        }
    }

    /// The system has no room for the program of somebody who has been told that he is
    /// admitted: he waits for it, as those do who are told nothing.
    fn serve_later(&mut self, admitted: Admitted, NotStarted { error, socket }: NotStarted) {
        if self.services.exhaustion_is_new(self.reactor.now)
            && let Some(state) = self.services.all.get(admitted.service)
        {
            events::trouble(&state.label, "spawn", &error);
        }
        let (then, due) = (AfterBanner::Serve(Box::new(admitted)), self.reactor.now + AGAIN);
        let state = BannerState { socket, unsent: Unsent::nothing(), then, due };
        let key = self.sessions.banners.insert(state);
        self.reactor.timers.set(due, Timer::Banner(key));
    }

    /// A client has not read in time; or its program can be tried once more.
    pub(in crate::server) fn banner_due(&mut self, key: Key) {
        let Some(state) = self.sessions.banners.get(key) else { return };
        match &state.then {
            AfterBanner::Serve(admitted)
                if state.is_all_sent() && admitted.since + PATIENCE > self.reactor.now =>
            {
                self.serve_after_banner(key);
            }
            _ => self.drop_banner(key),
        }
    }
}

impl Sessions {
    fn forget_banner(&mut self, key: Key, reactor: &mut Reactor) -> Option<BannerState> {
        let state = self.banners.remove(key)?;
        reactor.unwatch(&state.socket);
        reactor.timers.cancel(state.due, Timer::Banner(key));
        if let AfterBanner::Close { whose, .. } = state.then {
            self.lingering.forget(whose);
        }
        Some(state)
    }
}
