//! The commands that ask a running server, or tell it what to do.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::cli::{Control, Kill, PeersOf, StartArguments, StatusOf, StopArguments};
use crate::control::answer::{
    Done, PeersAnswer, Reloaded, ServiceStatus, Status, Stopping, Upgraded,
};
use crate::control::request::Request;
use crate::control::table;

use super::asking::{asked, reach, read, unreachable};
use super::failure::{CONFIGURATION, CommandFailure, SYSTEM};
use super::output::show;
use super::watch;

/// `oxinetd status`.
pub(super) fn status(of: &StatusOf) -> Result<(), CommandFailure> {
    match of.watch {
        Some(seconds) => watch::watch(of, Duration::from_secs(seconds)),
        None => show(&render_status(of)?),
    }
}

fn render_status(of: &StatusOf) -> Result<String, CommandFailure> {
    let answer = asked(&of.control, &Request::Status { service: of.service.clone() })?;
    match (&of.service, of.json) {
        (None, false) => Ok(table::status(&read(&answer)?, None)),
        (None, true) => as_json(&read::<Status>(&answer)?),
        (Some(_), false) => Ok(table::service(&read(&answer)?, None)),
        (Some(_), true) => as_json(&read::<ServiceStatus>(&answer)?),
    }
}

/// `oxinetd peers`.
pub(super) fn peers(of: &PeersOf) -> Result<(), CommandFailure> {
    let answer = asked(&of.control, &Request::Peers {})?;
    let peers: PeersAnswer = read(&answer)?;
    show(&if of.json { as_json(&peers)? } else { table::peers(&peers) })
}

/// `oxinetd reload`.
pub(super) fn reload(control: &Control) -> Result<(), CommandFailure> {
    let answer = asked(control, &Request::Reload {})?;
    let reloaded: Reloaded = read(&answer)?;
    show(&table::reloaded(&reloaded))?;
    if reloaded.reloaded { Ok(()) } else { Err(CommandFailure::silent(CONFIGURATION)) }
}

/// `oxinetd upgrade`.
pub(super) fn upgrade(control: &Control) -> Result<(), CommandFailure> {
    let answer = asked(control, &Request::Upgrade {})?;
    let Upgraded { upgraded, from, pid } = read(&answer).map_err(goes_on)?;
    let words = format!("upgraded from {from} to {upgraded}, pid {pid}");
    show(&(table::printable(&words) + "\n"))
}

/// What the server answers that has not been upgraded.
fn goes_on(failure: CommandFailure) -> CommandFailure {
    let told =
        |why: String| format!("{}\nnot upgraded: the server goes on as it was", why.trim_end());
    CommandFailure { message: failure.message.map(told), ..failure }
}

/// `oxinetd stop`.
pub(super) fn stop(stop: &StopArguments) -> Result<(), CommandFailure> {
    let delay = stop.drain_delay.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let request = Request::Stop { service: stop.service.clone(), drain: stop.drain, delay };
    if stop.service.is_some() {
        return done(&stop.control, &request);
    }
    let (path, mut asked) = reach(&stop.control, &request)?;
    let first = asked.first_line().map_err(|error| unreachable(&path, &error))?;
    let stopping: Stopping = read(&first)?;
    if let Some(delay) = stopping.delay.filter(|delay| *delay > 0) {
        let seconds = Duration::from_millis(delay).as_secs_f64();
        show(&format!("not ready any more; clients are let in for {seconds}s\n"))?;
    } else if stop.drain.is_some() && stopping.running > 0 {
        show(&format!("waiting for {}\n", table::counted(stopping.running, "program")))?;
    }
    // The connection ends with the server, perhaps by a reset.
    if let Err(error) = asked.answer()
        && error.kind() == io::ErrorKind::FileTooLarge
    {
        return Err(unreachable(&path, &error));
    }
    show("stopped\n")
}

/// `oxinetd start`.
pub(super) fn start(start: &StartArguments) -> Result<(), CommandFailure> {
    let service = &start.service;
    let outcome = done(&start.control, &Request::Start { service: service.clone() });
    outcome.map_err(|failure| match failure.message {
        // No service is called so, and somebody may have meant the file.
        Some(message) if Path::new(service).is_file() => {
            let message = format!("{message}; to serve the file {service}: `oxinetd {service}`");
            CommandFailure { message: Some(message), ..failure }
        }
        _ => failure,
    })
}

/// `oxinetd kill`.
pub(super) fn kill(kill: &Kill) -> Result<(), CommandFailure> {
    done(&kill.control, &Request::Kill { who: kill.who.clone() })
}

fn done(control: &Control, request: &Request) -> Result<(), CommandFailure> {
    let answer = asked(control, request)?;
    show(&(table::printable(&read::<Done>(&answer)?.done) + "\n"))
}

/// For people to look at, too: on several lines.
fn as_json(answer: &impl serde::Serialize) -> Result<String, CommandFailure> {
    let text = serde_json::to_string_pretty(answer);
    text.map(|text| table::printable_json(&text) + "\n")
        .map_err(|error| CommandFailure::new(SYSTEM, error.to_string()))
}
