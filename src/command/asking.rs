//! The commands that ask a running server, or tell it what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollTimeout, poll};
use oxinetd::cli::{Control, Kill, PeersOf, Start, StatusOf, Stop};
use oxinetd::control::answer::{
    self, Done, PeersAnswer, Reloaded, ServiceStatus, Status, Stopping, Upgraded,
};
use oxinetd::control::request::Request;
use oxinetd::control::{client, socket, table};

use super::output::{show, write};
use super::{CONFIGURATION, Failure, SYSTEM};

/// Clears a terminal, and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// `oxinetd status`.
pub(super) fn status(of: &StatusOf) -> Result<(), Failure> {
    let Some(seconds) = of.watch else { return show(&render_status(of)?) };
    // Until interrupted, or until nobody reads it any more.
    while write(&format!("{CLEAR}{}", render_status(of)?))? {
        pause(Duration::from_secs(seconds));
    }
    Ok(())
}

fn render_status(of: &StatusOf) -> Result<String, Failure> {
    let answer = asked(&of.control, &Request::Status { service: of.service.clone() })?;
    match (&of.service, of.json) {
        (None, false) => Ok(table::status(&read(&answer)?)),
        (None, true) => as_json(&read::<Status>(&answer)?),
        (Some(_), false) => Ok(table::service(&read(&answer)?)),
        (Some(_), true) => as_json(&read::<ServiceStatus>(&answer)?),
    }
}

/// `oxinetd peers`.
pub(super) fn peers(of: &PeersOf) -> Result<(), Failure> {
    let answer = asked(&of.control, &Request::Peers {})?;
    let peers: PeersAnswer = read(&answer)?;
    show(&if of.json { as_json(&peers)? } else { table::peers(&peers) })
}

/// `oxinetd reload`.
pub(super) fn reload(control: &Control) -> Result<(), Failure> {
    let answer = asked(control, &Request::Reload {})?;
    let reloaded: Reloaded = read(&answer)?;
    show(&table::reloaded(&reloaded))?;
    if reloaded.reloaded { Ok(()) } else { Err(Failure::silent(CONFIGURATION)) }
}

/// `oxinetd upgrade`.
pub(super) fn upgrade(control: &Control) -> Result<(), Failure> {
    let answer = asked(control, &Request::Upgrade {})?;
    let Upgraded { upgraded, from, pid } = read(&answer)?;
    let words = format!("upgraded from {from} to {upgraded}, pid {pid}");
    show(&(table::printable(&words) + "\n"))
}

/// `oxinetd stop`.
pub(super) fn stop(stop: &Stop) -> Result<(), Failure> {
    let request = Request::Stop { service: stop.service.clone(), drain: stop.drain };
    if stop.service.is_some() {
        return done(&stop.control, &request);
    }
    let path = place(&stop.control)?;
    let unreachable = |error| unreachable(&path, &error);
    let mut asked = client::ask(&path, &request).map_err(unreachable)?;
    let first = asked.first_line().map_err(unreachable)?;
    let stopping: Stopping = read(&first)?;
    if stop.drain.is_some() && stopping.running > 0 {
        show(&format!("waiting for {} programs\n", stopping.running))?;
    }
    // The connection ends with the server, perhaps by a reset.
    let _ = asked.answer();
    show("stopped\n")
}

/// `oxinetd start`.
pub(super) fn start(start: &Start) -> Result<(), Failure> {
    done(&start.control, &Request::Start { service: start.service.clone() })
}

/// `oxinetd kill`.
pub(super) fn kill(kill: &Kill) -> Result<(), Failure> {
    done(&kill.control, &Request::Kill { who: kill.who.clone() })
}

fn done(control: &Control, request: &Request) -> Result<(), Failure> {
    let answer = asked(control, request)?;
    show(&(table::printable(&read::<Done>(&answer)?.done) + "\n"))
}

fn place(control: &Control) -> Result<PathBuf, Failure> {
    control.control.clone().or_else(socket::default_path).ok_or_else(|| {
        let why = "which server? There is no XDG_RUNTIME_DIR: name its socket with --control";
        Failure::new(CONFIGURATION, why)
    })
}

fn asked(control: &Control, request: &Request) -> Result<Vec<u8>, Failure> {
    let path = place(control)?;
    let asked = client::ask(&path, request).and_then(client::Asked::answer);
    asked.map_err(|error| unreachable(&path, &error))
}

fn unreachable(path: &std::path::Path, error: &io::Error) -> Failure {
    let path = path.display();
    let hint = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "; does it run? --control says where else to ask"
        }
        _ => "",
    };
    Failure::new(SYSTEM, format!("asking the server at {path}: {error}{hint}"))
}

fn read<'a, T: serde::Deserialize<'a>>(answer: &'a [u8]) -> Result<T, Failure> {
    answer::read(answer).map_err(|error| Failure::new(CONFIGURATION, table::printable(&error)))
}

/// For people to look at, too: on several lines.
fn as_json(answer: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(answer);
    text.map(|text| text + "\n").map_err(|error| Failure::new(SYSTEM, error.to_string()))
}

/// Waits; an interrupt ends the program.
fn pause(time: Duration) {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [], timeout);
}
