//! Asking a running server, and telling it, with the commands of its own program.

use serde_json::Value;

use super::{Daemon, Setup};

/// A server with a control socket.
pub(crate) fn controlled(text: &str) -> Daemon {
    Setup::new().controlled().start(text)
}

/// `status --json`, of one service if it is named.
#[track_caller]
pub(crate) fn status(daemon: &Daemon, service: Option<&str>) -> Value {
    let mut arguments = vec!["status", "--json"];
    arguments.extend(service);
    serde_json::from_str(&daemon.answer(&arguments)).unwrap()
}

/// A service, by its label, in the status of the whole server.
#[track_caller]
pub(crate) fn status_of(daemon: &Daemon, label: &str) -> Value {
    let all = status(daemon, None);
    let services = all["services"].as_array().unwrap();
    let found = services.iter().find(|service| service["service"] == label);
    found.unwrap_or_else(|| panic!("no {label} in {all}")).clone()
}

/// `PORT/tcp`, likewise.
#[track_caller]
pub(crate) fn status_of_port(daemon: &Daemon, port: u16) -> Value {
    status_of(daemon, &format!("{port}/tcp"))
}

/// `oxinetd upgrade`, by the same program.
#[track_caller]
pub(crate) fn upgrade(daemon: &Daemon) {
    let said = daemon.answer(&["upgrade"]);
    let version = env!("CARGO_PKG_VERSION");
    let pid = daemon.pid();
    assert_eq!(said, format!("upgraded from {version} to {version}, pid {pid}\n"));
}

/// What `oxinetd ARGUMENTS` says when it fails, and its status.
#[track_caller]
pub(crate) fn refused(daemon: &Daemon, arguments: &[&str]) -> (i32, String) {
    let output = daemon.ask(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}
