//! Clients of workers that leave, in the turns of the loop.

use super::ClientLeft;
use crate::front::{alerts, leaving};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::token::Owner;
use crate::server::sessions::session::SessionStage;

impl Server {
    /// A client has no program yet, and will have none; or it has left whoever serves it otherwise
    /// than it should. False if it cannot have left so.
    pub(in crate::server::sessions) fn client_has_failed(
        &mut self,
        number: u64,
        why: &str,
    ) -> bool {
        if self.sessions.fronting.has(number) {
            self.give_up_fronted(number, why);
            return true;
        }
        let Some(key) = self.sessions.table.fronted(number) else { return true };
        let Some(client) = self.sessions.table.front_mut(key) else { return true };
        let how = alerts::known(why);
        if !client.can_leave(how) {
            return false;
        }
        match (client.leaves(how), how) {
            (true, (leaving::IDLE, false)) => self.has_been_idle(key),
            (true, _) => self.look_at_again(key),
            (false, _) => {}
        }
        true
    }

    /// A worker is gone, and its clients with it.
    pub(in crate::server::sessions) fn client_has_lost_its_worker(&mut self, number: u64) {
        self.give_up_fronted(number, alerts::INTERNAL);
        self.client_has_failed(number, leaving::WORKER_DIED);
    }

    /// A worker has a client no more, and nothing to say of it.
    pub(in crate::server::sessions) fn client_is_over(&mut self, number: u64) {
        self.give_up_fronted(number, alerts::CLOSED);
        if let Some(key) = self.sessions.table.fronted(number) {
            self.look_at_again(key);
        }
    }

    /// Whoever the server itself serves may wait for what is known now; a program is asked nothing.
    fn look_at_again(&mut self, key: Key) {
        match self.sessions.table.get(key).map(|session| &session.stage) {
            Some(SessionStage::Relay(_)) => self.reactor.ready.push(Owner::Relay(key)),
            Some(SessionStage::Builtin(_)) => self.reactor.ready.push(Owner::Conversation(key)),
            Some(SessionStage::Program(_)) | None => {}
        }
    }

    /// Somebody whom the server itself serves seems to have left: how, if otherwise than he should.
    /// None while that is not known: he is looked at again when it is.
    pub(in crate::server::sessions) fn how_has_he_left(&mut self, key: Key) -> Option<ClientLeft> {
        let Some(client) = self.sessions.table.front_mut(key) else { return Some(None) };
        let Some(number) = client.number.filter(|_| client.left.is_none()) else {
            return Some(client.how());
        };
        let was_heard = std::mem::replace(&mut client.is_heard, true);
        let Some(worker) = self.sessions.workers.having(number) else { return Some(None) };
        if !was_heard || self.reactor.ready.has(Owner::Worker(worker)) {
            self.reactor.ready.push(Owner::Worker(worker));
            self.look_at_again(key);
            return None;
        }
        // Whoever closes it says in a moment that this was all, or has died.
        (!self.sessions.table.is_hung_up(key)).then_some(None)
    }
}
