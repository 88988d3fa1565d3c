//! Who comes to linger, and who goes for that.

use super::{LEAST, MOST};
use crate::front::wire::ToWorker;
use crate::net::address::Address;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::services::Services;
use crate::server::sessions::banners::AfterBanner;

impl Server {
    /// One more whom the server has, if it is over for him; who is too many is let go.
    pub(in crate::server::sessions) fn linger_if_over(&mut self, banner: Key) {
        let state = self.sessions.banners.get_mut(banner).map(|state| &mut state.then);
        let Some(AfterBanner::Close { whose, .. }) = state else { return };
        let (service, source) = (whose.service, whose.peer.into());
        whose.number = self.sessions.lingering.own.insert((service, source), banner);
        let most = MOST.min(self.room_for_clients() / 2).max(1);
        let share = (service, source, self.services.share_of_lingerers(service));
        while let Some(first) = self.sessions.lingering.own.one_too_many(most, share) {
            self.drop_banner(first);
        }
    }

    /// One more whom a worker has, if it has him still.
    pub(in crate::server::sessions) fn linger_at_worker(
        &mut self,
        number: u64,
        (service, peer): (Key, Address),
    ) {
        if self.sessions.workers.having(number).is_none() {
            return;
        }
        self.sessions.lingering.insert_fronted((service, peer.into()), number);
        let share = (service, peer.into(), self.services.share_of_lingerers(service));
        while let Some(first) = self.sessions.lingering.fronted.one_too_many(MOST, share) {
            self.let_go(first);
        }
    }

    /// Descriptors are scarce: who is on his way out has had his time.
    pub(in crate::server) fn close_at_once(&mut self) {
        for key in self.sessions.lingering.own.everybody() {
            self.drop_banner(key);
        }
    }

    /// The same of those whom workers have; whether there are any.
    pub(in crate::server::sessions) fn let_all_go(&mut self) -> bool {
        let all = self.sessions.lingering.fronted.everybody();
        all.iter().for_each(|number| self.let_go(*number));
        !all.is_empty()
    }

    fn let_go(&mut self, number: u64) {
        self.sessions.lingering.forget_fronted(number);
        // If it cannot be told now, he has as long as he would have had.
        self.sessions.workers.tell_having(number, &ToWorker::LetGo(number));
    }
}

impl Services {
    /// How many of a source may linger that a service has served, if that says how many of its
    /// programs it may have.
    fn share_of_lingerers(&self, service: Key) -> Option<usize> {
        let most = self.all.get(service)?.service.attributes.limits.per_source?;
        Some(usize::try_from(most).unwrap_or(usize::MAX).max(LEAST))
    }
}
