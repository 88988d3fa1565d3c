//! Whom a service serves, by source: asked when a reload has it count sources.

use crate::admission::{ServiceId, Source};
use crate::net::address::Address;
use crate::server::Server;
use crate::server::sessions::banners::{AfterBanner, BannerState};

impl Server {
    /// Counts everybody by source who is counted by this number.
    pub(super) fn count_sources(&mut self, id: ServiceId) {
        // Most are idle, and this is all that it costs them.
        if self.admission.running(id) == 0 {
            return;
        }
        for source in self.sources_of(id) {
            self.admission.count_by_source(self.reactor.now, id, source);
        }
    }

    fn sources_of(&self, id: ServiceId) -> Vec<Source> {
        let children = self.programs.children.iter().map(|(_, it)| it);
        let children = children.filter(|it| it.admission == id && !it.released);
        let guests = self.sessions.builtins.iter().map(|(_, it)| &it.guest);
        let guests = guests.filter(|it| it.admission == id).map(|it| it.peer);
        let relays = self.sessions.relays.iter().map(|(_, it)| it);
        let relays = relays.filter(|it| it.admission == id).map(|it| it.peer);
        let told = self.sessions.banners.iter().filter_map(|(_, it)| greeted(it, id));
        let homing = self.sessions.pending_peers.iter().map(|(_, it)| it);
        let homing = homing.filter(|it| {
            self.services.all.get(it.owner).is_some_and(|service| service.admission == id)
        });
        let homing = homing.map(|it| Address::Inet(it.flow.peer));
        let peers = guests.chain(relays).chain(told).chain(homing).map(Source::from);
        children.map(|it| it.source).chain(peers).collect()
    }
}

/// Who is told a banner, and counted already.
fn greeted(state: &BannerState, id: ServiceId) -> Option<Address> {
    match &state.then {
        AfterBanner::Serve(admitted) if admitted.admission == id => Some(admitted.peer),
        AfterBanner::Serve(_) | AfterBanner::Close { .. } => None,
    }
}
