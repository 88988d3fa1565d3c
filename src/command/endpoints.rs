//! Where the server is asked: the control socket and the endpoints for metrics and the page.

use std::io;
use std::path::Path;

use crate::cli::Common;
use crate::control::socket::ControlKind;
use crate::control::{host, place, socket};
use crate::log::events;
use crate::server::Server;
use crate::upgrade::Snapshot;

use super::failure::{CommandFailure, USAGE, refused};

/// Whether what the command line says of them can be meant.
pub(super) fn check(common: &Common) -> Result<(), CommandFailure> {
    let wrong = |why: String| Err(CommandFailure::new(USAGE, why));
    let said = [("--metrics", &common.metrics), ("--page", &common.page)];
    for (option, endpoint) in said {
        if let Some(text) = endpoint.as_ref().filter(|text| !socket::is_endpoint(text)) {
            return wrong(format!("{option} {text}: {}", socket::ENDPOINT_WANTED));
        }
    }
    if let (Some(metrics), Some(page)) = (&common.metrics, &common.page)
        && socket::collide(metrics, page)
    {
        return wrong(format!("--page {page}: that is where `--metrics {metrics}` is"));
    }
    if !common.page_host.is_empty() && common.page.is_none() && common.metrics.is_none() {
        return wrong("--page-host: there is neither --page nor --metrics".to_owned());
    }
    if let Some(name) = common.page_host.iter().find(|name| !host::is_name(name)) {
        return wrong(format!(
            "--page-host {name}: the name of a machine is wanted, or an address"
        ));
    }
    match &common.page {
        Some(text) if !common.page_open && !socket::is_of_this_machine(text) => wrong(format!(
            "--page {text}: other machines could see it; `--page-open` says that they may"
        )),
        _ => Ok(()),
    }
}

/// Opens all, unless they are handed over; `usual` is the place of the control socket
/// where nothing is said of it.
pub(super) fn open(
    server: &mut Server,
    common: &Common,
    usual: Option<&Path>,
    parcel: Option<&Snapshot>,
) -> Result<(), CommandFailure> {
    // Those that are handed over are as our arguments say: they are the same.
    let handed = |kind: ControlKind| {
        parcel.is_some_and(|it| it.state.control_listeners.iter().any(|state| state.kind == kind))
    };
    server.is_called(&common.page_host);
    if !handed(ControlKind::Control) {
        open_control(server, common.control.as_deref(), usual)?;
    }
    if let Some(endpoint) = common.metrics.as_deref().filter(|_| !handed(ControlKind::Metrics)) {
        open_metrics(server, endpoint)?;
    }
    match &common.page {
        Some(endpoint) if !handed(ControlKind::Page) => open_page(server, endpoint),
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
    match socket::open_control(path)
        .and_then(|listener| server.answer_at(listener, ControlKind::Control))
    {
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
    for listener in socket::open_endpoint(endpoint).map_err(refused(&place))? {
        events::metrics(listener.address());
        server.answer_at(listener, ControlKind::Metrics).map_err(refused(&place))?;
    }
    Ok(())
}

fn open_page(server: &mut Server, endpoint: &str) -> Result<(), CommandFailure> {
    let place = format!("page {endpoint}");
    for listener in socket::open_endpoint(endpoint).map_err(refused(&place))? {
        events::page(listener.address());
        server.answer_at(listener, ControlKind::Page).map_err(refused(&place))?;
    }
    Ok(())
}
