//! Whether a state can be gone on with, asked before anything is touched.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::model::{Action, Attributes, Builtin, Config, Program, RelayTarget, Service};
use crate::reload::plan::{plan, withhold_replacements};
use crate::reload::{Loading, Step};
use crate::server::control::connection::ControlConnection;
use crate::server::peers::Peers;
use crate::server::programs::leftovers::Remains;
use crate::server::services::pending_peer::PendingPeer;
use crate::server::sessions::banners::BannerState;
use crate::server::sessions::builtin::BuiltinStage;
use crate::server::sessions::relay::RelayStage;
use crate::server::sessions::session::Client;
use crate::server::state::{ProgramStage, StderrState};
use crate::upgrade::UpgradeRefusal;
use crate::upgrade::state::{self, State};

use super::handed::{HandedRemains, HandedSession};

/// Whether a state could be gone on with under a configuration that has no errors: the
/// last question of a trial.
///
/// # Errors
/// What stands against it.
pub(crate) fn examine(state: &State, config: &Config) -> Result<(), UpgradeRefusal> {
    let (served, mut config) = (served(state), config.clone());
    withhold_replacements(&served, &mut config);
    if let Some(held) = plan(&served, &config).held.first() {
        return Err(UpgradeRefusal::WouldBeLost(held.service.label.clone()));
    }
    all_can_be::<HandedSession<Client, ProgramStage>>(&state.children)?;
    all_can_be::<HandedSession<Client, BuiltinStage>>(&state.builtins)?;
    all_can_be::<HandedSession<Client, RelayStage>>(&state.relays)?;
    all_can_be::<HandedRemains<Remains>>(&state.remains)?;
    all_can_be::<StderrState>(&state.pipes)?;
    all_can_be::<BannerState>(&state.banners)?;
    all_can_be::<PendingPeer>(&state.pending_peers)?;
    all_can_be::<ControlConnection>(&state.control_connections)?;
    all_can_be::<Peers>(std::slice::from_ref(&state.peers))
}

/// Whether each is understood, as what it was when it was handed over.
fn all_can_be<T: DeserializeOwned>(all: &[Value]) -> Result<(), UpgradeRefusal> {
    let unreadable = |error: serde_json::Error| UpgradeRefusal::Unread(error.into());
    all.iter().try_for_each(|one| T::deserialize(one).map(drop).map_err(unreadable))
}

/// The services of a state, as far as they are known: what a configuration is compared with.
pub(crate) fn served(state: &State) -> Vec<Rc<Service>> {
    state.services.iter().map(stub).map(Rc::new).collect()
}

/// Whether what has been read, compared with [`served`], can be gone on with: what
/// [`examine`] asks in a trial, of what has been read since.
///
/// # Errors
/// What stands against it.
pub(crate) fn may_follow(loading: &Loading, served: &[Rc<Service>]) -> Result<(), UpgradeRefusal> {
    let held = loading.steps.iter().find_map(|step| match step {
        Step::Hold { old, .. } => served.get(*old),
        _ => None,
    });
    held.map_or(Ok(()), |it| Err(UpgradeRefusal::WouldBeLost(it.label.clone())))
}

/// What to do when nothing could be read: nobody knows what was served.
pub(crate) fn nothing_more(served: &[Rc<Service>]) -> Loading {
    let steps = served.iter().zip(0..).map(|(service, old)| {
        let close = (0..service.sockets.len()).collect();
        Step::Remove { old, close }
    });
    Loading { steps: steps.collect(), ..Loading::default() }
}

/// A service that a reload takes for the one that was served: the same sockets and name.
/// Its options are set again, and everybody is counted by source, whatever it will be.
pub(super) fn stub(service: &state::SavedService) -> Service {
    let mut attributes = Attributes::default();
    attributes.limits.per_source = Some(u32::MAX);
    attributes.limits.max_clients = service.clients.1;
    attributes.socket.mode = u32::MAX;
    let program = Program { path: PathBuf::from("/"), argv: vec![OsString::from("-")] };
    let action = match service.runs_program {
        true => Action::Program(program),
        // One that waits for the name of its target serves nobody yet.
        false if service.sockets.iter().all(|socket| socket.open.is_none()) => {
            let (host, addresses) = ("-".to_owned(), Vec::new());
            Action::Relay(RelayTarget::Inet { host, port: 0, addresses })
        }
        false => Action::Builtin(Builtin::Discard),
    };
    Service {
        socket_type: service.socket_type,
        sockets: service.sockets.iter().map(|socket| socket.spec.clone()).collect(),
        tcpmux: service.tcpmux.clone(),
        wait: service.wait,
        attributes: Rc::new(attributes),
        ..Service::unwritten(&service.label, action)
    }
}
