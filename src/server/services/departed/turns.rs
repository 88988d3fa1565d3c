//! A service is there again, and whoever it still serves is its own.

use crate::admission::{Limits, ServiceId};
use crate::config::model::Service;
use crate::server::Server;
use crate::server::reactor::slab::Key;

impl Server {
    /// By what a new service is counted, and the key that it had if it was there before.
    pub(in crate::server::services) fn counted_again(
        &mut self,
        service: &Service,
        limits: Limits,
    ) -> (ServiceId, Option<Key>) {
        let now = self.reactor.now;
        if let Some(departed) = self.services.departed.take(service)
            && let Some(counts) = self.admission.come_back(now, departed.admission, limits.clone())
        {
            self.count_sources_if(counts, departed.admission);
            return (departed.admission, Some(departed.key));
        }
        (self.admission.add(limits), None)
    }

    /// Whoever a service serves that had another key before.
    pub(in crate::server::services) fn take_clients_back(&mut self, service: Key, before: Key) {
        self.sessions.table.move_to(service, before);
        self.programs.move_pipes_to(service, before);
    }
}
