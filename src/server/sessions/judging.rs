//! Whether somebody may still come in. Between the beginning of a handshake and its end, or while
//! somebody waits for a place, a reload may have made other rules. Those of now count, as for
//! everybody who is admitted; of those whom they keep out it does not matter what was right when
//! they came.

use super::believing::objection;
use super::header;
use super::holding::Caller;
use crate::admission::Reason;
use crate::config::model::ProxyProtocol;
use crate::front::alerts;
use crate::log::events::Why;
use crate::net::listener::Connection;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::services::Services;

impl Server {
    /// A socket goes with a reload: whoever has come to it and is not admitted yet is refused.
    pub(in crate::server) fn turn_away_all_at(&mut self, listener: Key) {
        self.give_up_fronted_at(listener);
        self.expel_all_at(listener);
        let at_it =
            |it: &Caller| matches!(it, Caller::Taken { listener: at, .. } if *at == listener);
        self.hold_no_more(at_it);
    }

    /// A service goes with a reload: the same of those who have named it to tcpmux, and whoever is
    /// admitted and not served yet is told no further.
    pub(in crate::server) fn turn_away_all_of(&mut self, service: Key) {
        self.hold_no_more(|it| matches!(it, Caller::Named { entry, .. } if *entry == service));
        self.greet_no_more(service);
    }

    /// Whether somebody has come through what stands in front of a service now; else he is
    /// refused.
    pub(in crate::server) fn is_let_in(&mut self, owner: Key, connection: &Connection) -> bool {
        let Some(state) = self.services.all.get(owner) else { return true };
        let front = &state.service.attributes.front;
        let alert = match connection.fronted.as_deref().filter(|it| it.number.is_some()) {
            Some(fronted) => objection(front, fronted),
            None => front.need_worker().then_some(alerts::CLOSED),
        };
        if let Some(alert) = alert {
            let reason = self.services.reason_of_front(owner);
            self.refuse(owner, connection.whom(), reason, Why::Alert(alert));
        }
        alert.is_none() && self.is_well_introduced(owner, connection)
    }

    /// Whether it is believed now for whom somebody says that he has come; else he is refused.
    pub(in crate::server) fn is_well_introduced(
        &mut self,
        owner: Key,
        connection: &Connection,
    ) -> bool {
        let Some(via) = connection.fronted.as_ref().and_then(|it| it.via) else { return true };
        let Some(state) = self.services.all.get(owner) else { return true };
        let is_believed = state.service.attributes.front.proxy_protocol != ProxyProtocol::No
            && self.admission.may_speak_for_others(state.admission, via);
        if !is_believed {
            let why = Why::Header(header::FOREIGN);
            self.refuse(owner, connection.whom(), Reason::Proxy, why);
        }
        is_believed
    }

    /// Whether somebody who was admitted and has been told so may still be served; else he is
    /// refused.
    pub(in crate::server) fn is_still_let_in(
        &mut self,
        owner: Key,
        connection: &Connection,
    ) -> bool {
        let id = self.services.all.get(owner).map(|state| state.admission);
        let seen = self.services.conditions.observed(self.reactor.now);
        let reason = id.and_then(|id| self.admission.keeps_out(&seen, id, connection.peer));
        if let Some(reason) = reason {
            self.refuse(owner, connection.whom(), reason, Why::Plain);
        }
        reason.is_none() && self.is_let_in(owner, connection)
    }
}

impl Services {
    /// Whether somebody has come past what stands in front of a service by now.
    pub(in crate::server) fn has_to_begin_anew(&self, owner: Key, connection: &Connection) -> bool {
        let state = self.all.get(owner);
        let needs_worker = state.is_some_and(|it| it.service.attributes.front.need_worker());
        let has_one = connection.fronted.as_ref().is_some_and(|it| it.number.is_some());
        needs_worker && !has_one
    }
}
