//! When the log is told of refusals.

use std::time::Instant;

use super::RejectionAction;
use crate::admission::{Notice, Reason};
use crate::log::events::{self, Why};
use crate::net::fronted::Whom;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::services::Services;

impl Server {
    /// Says which limits have begun and ended to bite.
    pub(in crate::server) fn log_limits(&mut self) {
        for notice in self.admission.notices() {
            let (id, reason) = match notice {
                Notice::LimitBegan { id, reason } | Notice::LimitEnded { id, reason, .. } => {
                    (id, reason)
                }
            };
            let state = self.services.all.iter().find(|(_, state)| Some(state.admission) == id);
            let everybody = events::Label::new("*", None);
            let label = state.map_or(&everybody, |(_, state)| &state.label);
            match notice {
                Notice::LimitBegan { .. } => events::limit_begins(label, reason.as_str()),
                Notice::LimitEnded { left_out, .. } => {
                    events::limit_ends(label, reason.as_str(), left_out);
                }
            }
        }
    }

    /// Somebody is turned away.
    pub(in crate::server) fn refuse(
        &mut self,
        service: Key,
        whom: impl Into<Whom>,
        reason: Reason,
        why: Why,
    ) {
        let (now, whom) = (self.reactor.now, whom.into());
        self.count(service, |counters| counters.refused(reason.as_str()));
        let Some(state) = self.services.all.get_mut(service) else { return };
        let log = state.service.attributes.log.on_failure;
        match state.refusals.add(reason, (whom, why), now) {
            RejectionAction::Now => {
                events::refused(&state.label, whom, (reason.as_str(), why), 0, log);
            }
            RejectionAction::At(when) => self.reactor.timers.set(when, Timer::Refusals(service)),
            RejectionAction::WithOthers => {}
        }
    }
}

impl Services {
    /// A second after a line: those who came after it.
    pub(in crate::server) fn log_due_refusals(&mut self, service: Key, now: Instant) {
        self.log_refusals(service, Some(now));
    }

    fn log_refusals(&mut self, service: Key, now: Option<Instant>) {
        let Some(state) = self.all.get_mut(service) else { return };
        let (label, log) = (state.label.clone(), state.service.attributes.log.on_failure);
        for (reason, (whom, why), left_out) in state.refusals.take(now) {
            events::refused(&label, whom, (reason.as_str(), why), left_out, log);
        }
    }

    /// What is still to be told of a service that goes.
    pub(in crate::server) fn log_all_refusals(&mut self, service: Key) {
        self.log_refusals(service, None);
    }
}
