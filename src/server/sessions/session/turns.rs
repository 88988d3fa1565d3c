//! How sessions begin and end.

use std::ops::Bound;

use super::{Client, SessionEnd, SessionStage};
use crate::admission::Permit;
use crate::config::model::LogOnSuccess;
use crate::log::events::{self, Label};
use crate::net::fronted::{Fronted, Whom};
use crate::server::Server;
use crate::server::peers::{Peer, PeerId};
use crate::server::reactor::slab::Key;
use crate::server::sessions::Sessions;
use crate::server::sessions::builtin::DONE;

impl Sessions {
    /// The first `most` of those who came after one: who is here, and the last who were.
    pub(in crate::server) fn peers_after(
        &self,
        last: Option<PeerId>,
        most: usize,
    ) -> Vec<(PeerId, Peer)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let here = self.table.order.range((from, Bound::Unbounded));
        let here = here.filter_map(|(id, key)| Some((*id, self.table.all.get(*key)?.peer())));
        self.peers.in_order(here, last, most)
    }

    /// The same of everybody.
    pub(in crate::server) fn everybody(&self) -> Vec<(PeerId, Peer)> {
        self.peers_after(None, usize::MAX)
    }
}

impl Server {
    /// Somebody who has been admitted is served from now on, by a program if it has a number.
    /// Whoever has come through tcpmux is known; what stood in front of him may know more.
    pub(in crate::server) fn begin(
        &mut self,
        service: Key,
        (label, log): (Label, LogOnSuccess),
        (whom, fronted, known): (Whom, Option<&Fronted>, Option<PeerId>),
        (pid, permit): (Option<i32>, Permit),
    ) -> Client {
        let encryption = fronted.and_then(Fronted::encryption).map(Box::new);
        events::accepted(&label, whom, (pid, encryption.as_deref()), log);
        if pid.is_none() {
            self.count(service, |counters| counters.served());
        }
        if let Some(fronted) = fronted {
            self.renew_idle_limit(service, fronted);
        }
        let front = fronted.and_then(|fronted| fronted.number);
        let peer_id = known.unwrap_or_else(|| self.sessions.peers.connected());
        let (peer, since) = (whom.peer, self.reactor.now);
        let permit = Some(permit);
        Client { service, label, log, permit, peer, peer_id, front, encryption, since }
    }

    /// He is served no more, and what was his is closed: the one place where his permit is given
    /// back, the log told, and where he comes to be one of those who have been here.
    pub(in crate::server) fn end(&mut self, client: Client, end: &SessionEnd<'_>) {
        let Client { service, label, log, permit, peer, peer_id, front, since, .. } = client;
        let time = self.reactor.now.saturating_duration_since(since);
        match *end {
            SessionEnd::Closed(why, left) => {
                let left = left.filter(|(how, _)| *how != why);
                events::closed(&label, peer, (why, left), time, log);
                self.count(service, |counters| counters.ran(time));
            }
            SessionEnd::Failed(stage, error) => {
                events::failed(&label, peer, None, (stage, None), error);
                self.count_failure(service, stage, error);
            }
            SessionEnd::Ended(pid, (end, left), None) => {
                events::ended(&label, peer, pid, (end, time), left, log);
                self.count_end(service, end, time);
            }
            SessionEnd::Ended(pid, _, Some((failure, ref program))) => {
                let (stage, path) = (failure.stage.as_str(), program.as_deref());
                events::failed(&label, peer, Some(pid), (stage, path), &failure);
                let what = path.map(|path| format!("{}: ", path.display())).unwrap_or_default();
                self.count_failure(service, stage, &format_args!("{what}{failure}"));
            }
        }
        let pid = match *end {
            SessionEnd::Ended(pid, ..) => u32::try_from(pid).ok(),
            SessionEnd::Closed(..) | SessionEnd::Failed(..) => None,
        };
        let (address, service_name) = (peer, label.name());
        let gone =
            Peer { address, service: service_name, pid, running: false, since, encryption: None };
        self.sessions.peers.ended(peer_id, gone);
        if let Some(permit) = permit {
            self.release(permit, service);
        }
        if let Some(number) = front {
            self.linger_at_worker(number, (service, peer));
        }
    }

    /// He goes on in another session, as the same peer: this one has ended, and he is not gone.
    pub(in crate::server) fn end_handed_on(&mut self, client: Client) {
        let Client { service, label, log, permit, peer, since, .. } = client;
        let time = self.reactor.now.saturating_duration_since(since);
        events::closed(&label, peer, (DONE, None), time, log);
        self.count(service, |counters| counters.ran(time));
        if let Some(permit) = permit {
            self.release(permit, service);
        }
    }

    /// Ends a session, whatever is going on in it.
    pub(in crate::server) fn close_session(&mut self, key: Key, why: &'static str) {
        match self.sessions.table.get(key).map(|session| &session.stage) {
            Some(SessionStage::Relay(_)) => self.end_relay(key, Ok(why)),
            Some(SessionStage::Builtin(_)) => self.close_builtin(key, why),
            Some(SessionStage::Program(_)) => {
                self.sessions.end_child(key, &mut self.reactor);
            }
            None => {}
        }
    }
}
