//! Where the server is asked: the control socket and the endpoint for metrics.

use std::io;
use std::path::Path;

use crate::cli::Common;
use crate::control::{place, socket};
use crate::log::events;
use crate::server::Server;
use crate::upgrade::Snapshot;

use super::{CommandFailure, USAGE, refused};

/// Whether what the command line says of them can be meant.
pub(super) fn check(common: &Common) -> Result<(), CommandFailure> {
    match &common.metrics {
        Some(text) if !socket::is_metrics_endpoint(text) => {
            let why = format!("--metrics {text}: {}", socket::METRICS_WANTED);
            Err(CommandFailure::new(USAGE, why))
        }
        _ => Ok(()),
    }
}

/// Opens both, unless they are handed over; `usual` is the place of the control socket
/// where nothing is said of it.
pub(super) fn open(
    server: &mut Server,
    common: &Common,
    usual: Option<&Path>,
    parcel: Option<&Snapshot>,
) -> Result<(), CommandFailure> {
    // Those that are handed over are as our arguments say: they are the same.
    let handed = |controls: bool| {
        parcel.is_some_and(|it| it.state.doors.iter().any(|door| door.controls == controls))
    };
    if !handed(true) {
        open_control(server, common.control.as_deref(), usual)?;
    }
    match &common.metrics {
        Some(endpoint) if !handed(false) => open_metrics(server, endpoint),
        _ => Ok(()),
    }
}

fn open_control(
    server: &mut Server,
    wanted: Option<&Path>,
    usual: Option<&Path>,
) -> Result<(), CommandFailure> {
    let Some(path) = wanted.or(usual).filter(|path| *path != Path::new("none")) else {
        return Ok(());
    };
    match socket::open_control(path).and_then(|listener| server.control(listener)) {
        Ok(()) => {}
        // Another server may have the usual place; it can be asked there, this one not.
        Err(error) if wanted.is_none() => events::no_control(path, &unusual(&error)),
        Err(error) => return Err(refused(&format!("control socket {}", path.display()))(error)),
    }
    Ok(())
}

/// Why the server cannot be asked at the usual place, and what helps.
fn unusual(error: &io::Error) -> String {
    match place::lacks_session() && error.kind() != io::ErrorKind::AddrInUse {
        true => format!("{error}: XDG_RUNTIME_DIR is not set; --control says another place"),
        false => error.to_string(),
    }
}

fn open_metrics(server: &mut Server, endpoint: &str) -> Result<(), CommandFailure> {
    let place = format!("metrics endpoint {endpoint}");
    for listener in socket::open_metrics(endpoint).map_err(refused(&place))? {
        events::metrics(listener.address());
        server.measure(listener).map_err(refused(&place))?;
    }
    Ok(())
}
