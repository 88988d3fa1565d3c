//! Making room for somebody who is to have a share.

use crate::admission::Source;
use crate::net::address::Address;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::services::reserve::ServedClient;
use crate::server::sessions::session::SessionTable;

impl Server {
    /// Whether there is room for one more of this service; somebody who waits for nothing may
    /// have to go for it.
    pub(in crate::server::services) fn make_room_for(
        &mut self,
        service: Key,
        held: ServedClient,
    ) -> bool {
        let room = self.room_for_clients();
        if self.sessions.table.shares.has_share(service, held, room) {
            return false;
        }
        while self.has_no_room_for(held) {
            if held == ServedClient::Nameless || !self.displace() {
                return false;
            }
        }
        true
    }

    /// Whether a source has its share: less than any service has. The loopback is no single
    /// source, and whoever comes from there may wait.
    pub(in crate::server::services) fn source_has_share(
        &self,
        peer: Address,
        held: ServedClient,
    ) -> bool {
        if matches!(peer, Address::Inet(peer) if peer.ip().to_canonical().is_loopback()) {
            return false;
        }
        let quarter = self.room_for_clients() / 4;
        let share =
            if held == ServedClient::Nameless { quarter } else { quarter.saturating_mul(3) };
        let has = self.sessions.table.shares.of_sources.get(&Source::from(peer));
        has.is_some_and(|has| *has >= share.max(1))
    }

    /// The one who has waited longest without a word of what he wants is closed.
    fn displace(&mut self) -> bool {
        while let Some(key) = self.sessions.table.shares.nameless.pop_front() {
            let builtin = self.sessions.table.builtin(key);
            if builtin.is_some_and(|builtin| builtin.conversation.awaits_name()) {
                self.close_session(key, "displaced");
                return true;
            }
        }
        false
    }
}

impl SessionTable {
    /// Notes one who has not said yet what he wants.
    pub(in crate::server) fn note_nameless(&mut self, key: Key) {
        let table = self;
        let mut nameless = std::mem::take(&mut table.shares.nameless);
        if nameless.len() > table.builtins().saturating_mul(2) {
            nameless.retain(|key| table.builtin(*key).is_some());
        }
        nameless.push_back(key);
        table.shares.nameless = nameless;
    }
}
