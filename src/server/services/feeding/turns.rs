//! Services that rest, since nobody is there for whom their program would be started.

use crate::net::askers;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::services::Services;
use crate::server::services::waiting::{FIRST_BACKOFF, PAUSE};
use crate::server::state::Rest;

impl Services {
    /// Whether a `wait` program may be started for what waits; if not, its service rests.
    pub(in crate::server::services) fn is_for_somebody(
        &mut self,
        key: Key,
        reactor: &mut Reactor,
    ) -> bool {
        let Some(state) = self.listeners.get_mut(key) else { return true };
        if !state.row.is_in_doubt(reactor.now) {
            return true;
        }
        let asker = state.listener.as_ref().and_then(askers::is_there);
        if asker == Some(true) {
            state.row.forget();
            return true;
        }
        let is_full = state.listener.as_ref().is_some_and(askers::may_be_full);
        let before = state.row.begins_to_rest();
        state.rest = Rest::Backoff;
        if before > 0 && asker.is_some() && !is_full {
            self.back_off(key, reactor);
        } else {
            // Many short rests in a row are said once.
            let says = if is_full { before == 1 } else { before > 0 };
            self.rest_for(key, (PAUSE, says), reactor);
        }
        false
    }

    /// Something has come to a service that rests: true if it has rested until then.
    pub(in crate::server::services) fn somebody_has_come(
        &mut self,
        key: Key,
        reactor: &mut Reactor,
    ) -> bool {
        let Some(state) = self.listeners.get_mut(key) else { return false };
        if state.rest != Rest::Backoff || !state.row.is_over_by_somebody() {
            return false;
        }
        (state.not_before, state.backoff) = (None, FIRST_BACKOFF);
        self.resume(key, reactor);
        true
    }
}
