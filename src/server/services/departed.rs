//! Services that a reload has taken away while they served somebody. Where one is put back,
//! under its name and at one of its endpoints, those are its own again.

mod turns;

use std::rc::Rc;

use crate::admission::{Admission, ServiceId};
use crate::config::model::{Action, Service};
use crate::server::reactor::slab::Key;
use crate::server::state::ServiceState;

/// What is known of one.
#[derive(Debug)]
pub(super) struct DepartedService {
    /// The key that it had.
    pub(super) key: Key,
    /// By what its clients are counted.
    pub(super) admission: ServiceId,
    service: Rc<Service>,
}

/// All of them that still serve somebody.
#[derive(Debug, Default)]
pub(in crate::server) struct Departed(Vec<DepartedService>);

impl Departed {
    /// A service goes. Those of whom nobody is left are forgotten.
    pub(super) fn note(&mut self, key: Key, state: &ServiceState, admission: &Admission) {
        let (id, service) = (state.admission, Rc::clone(&state.service));
        self.0.push(DepartedService { key, admission: id, service });
        self.0.retain(|one| admission.running(one.admission) > 0);
    }

    /// The one that a service of the new configuration was, if it was there.
    pub(super) fn take(&mut self, service: &Service) -> Option<DepartedService> {
        let at = self.0.iter().position(|one| is_same(&one.service, service))?;
        Some(self.0.swap_remove(at))
    }
}

/// Whether a client of the one would call the other the same. What has no program is counted
/// otherwise.
fn is_same(one: &Service, other: &Service) -> bool {
    let shares = one.sockets.iter().any(|spec| other.sockets.contains(spec));
    let has_none = one.sockets.is_empty() && other.sockets.is_empty();
    one.label == other.label
        && one.tcpmux == other.tcpmux
        && runs_program(one) == runs_program(other)
        && (shares || has_none)
}

fn runs_program(service: &Service) -> bool {
    matches!(service.action, Action::Program(_))
}
