//! What the server answers, as data: the same types are written by the server and
//! read by `oxinetd status`. `etc/status.schema.json` describes them for others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::statistics::LastError;
use crate::net::fronted::Encryption;

/// The whole server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// `serving`, or `draining` after `stop --drain`.
    pub state: String,
    /// Seconds that those who are here have still, at most, while it drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_left: Option<u64>,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// Seconds since then.
    pub uptime: u64,
    /// Programs that run now.
    pub running: u32,
    /// As many may run at once.
    pub max_children: u32,
    /// Connections to built-in services and relays now.
    pub conversations: usize,
    /// Connections that are over but for what their clients still send.
    #[serde(default)]
    pub lingering: usize,
    /// Processes that programs have left when they ended; none if nobody can tell.
    #[serde(default)]
    pub left_behind: Option<usize>,
    /// Of all services since the start, those that are gone included.
    pub accepted: u64,
    /// Likewise.
    pub refused: u64,
    /// Likewise.
    pub failed: u64,
    /// Lines of the log that its reader was too slow for.
    pub log_dropped: u64,
    /// Why nothing of the log gets out, if that is so, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_error: Option<LastError>,
    /// When its configuration was taken over, in seconds since 1970.
    #[serde(default)]
    pub configured: u64,
    /// Why the last reload was refused, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_refused: Option<LastError>,
    /// Limits of all services together that bite, by their words in the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Processes in front of services that have ended, which they should not.
    #[serde(default)]
    pub front_worker_deaths: u64,
    /// By label, programs and connections of services that a reload has taken out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<String, u32>,
    /// Labels of services that are wrong or lack something on this machine: a program, a
    /// user, an address.
    #[serde(default)]
    pub not_served: Vec<String>,
    /// By label, why not: the first of what the log and `oxinetd check` say.
    #[serde(default)]
    pub reasons: BTreeMap<String, String>,
    /// By label, what those are called in a file of xinetd.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<String, String>,
    /// In the order of the configuration. The last field, so that it can be written
    /// one service after the other.
    #[serde(default)]
    pub services: Vec<ServiceStatus>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// How the log calls it.
    pub service: String,
    /// What it is called in a file of xinetd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where it was said, `FILE:LINE`.
    pub origin: String,
    /// Its sockets.
    pub addresses: Vec<String>,
    /// What serves it: a path, `internal` or `redirect`.
    pub server: String,
    /// `listening`; `partial` if one of its sockets is not open; `resting` at a limit; `busy` while a `wait` program has the socket;
    /// `backoff` after that has failed; `failed` without any socket; `waiting` for a
    /// name without which it has none; `stopped`; for tcpmux entries `tcpmux`.
    pub state: String,
    /// Why it is stopped: `command`, or `max_clients`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Its limits that bite, by their words in the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Clients in the backlogs of TCP from which it takes nobody now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
    /// Programs, or connections to it.
    pub running: u32,
    /// Since the start.
    pub accepted: u64,
    /// Turned away, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Admitted, and could not be served.
    pub failed: u64,
    /// Ends of programs by status or signal.
    pub exits: BTreeMap<String, u64>,
    /// Seconds that its programs and connections ran, together.
    pub run_seconds: f64,
    /// Bytes of standard error that are not in the log.
    pub stderr_dropped: u64,
    /// When the first of its certificates ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_certificate_expiry: Option<i64>,
    /// What is wrong: why a socket is not open, or why the last client could not be served.
    pub last_error: Option<LastError>,
    /// Who is served now; only when this service was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<PeerStatus>>,
    /// The other services that are called so; only when this one was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<ServiceStatus>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The how-manieth since the start.
    pub n: u64,
    /// Where it came from.
    pub address: String,
    /// The service it came to.
    pub service: String,
    /// The program that serves it.
    pub pid: Option<u32>,
    /// `running` or `ended`.
    pub state: String,
    /// Seconds since it came, while it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<f64>,
    /// How it is encrypted, while it is here, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<Encryption>>,
}

/// Everybody who is here, and the last who were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeersAnswer {
    /// Since the start.
    pub total: u64,
    /// Now.
    pub running: usize,
    /// In the order in which they came.
    #[serde(default)]
    pub peers: Vec<PeerStatus>,
}

/// The end of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether the new configuration holds.
    pub reloaded: bool,
    /// Why not, if not because of errors in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was found in it.
    pub diagnostics: Vec<ReportedFinding>,
    /// Sockets that stayed.
    pub kept: usize,
    /// Sockets that are new.
    pub opened: usize,
    /// Sockets that are no more.
    pub closed: usize,
    /// Services that stayed and are different.
    pub updated: usize,
}

/// One finding about the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedFinding {
    /// `error` or `warning`.
    pub severity: String,
    /// As `oxinetd check` prints it.
    pub text: String,
}

/// Another program goes on in the server's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Its version.
    pub upgraded: String,
    /// The version of the one before it.
    pub from: String,
    /// The process, which is the same.
    pub pid: u32,
}

/// A command was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// In words.
    pub done: String,
}

/// The server stops; the connection ends when it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Always true.
    pub stopping: bool,
    /// Programs that run.
    pub running: u32,
    /// Seconds that they are given to end by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<u64>,
    /// Milliseconds for which clients are let in before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<u64>,
}

/// Why there is no other answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRefusal {
    /// In words.
    pub error: String,
}

/// An answer as a line.
#[must_use]
pub fn line(answer: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and maps with strings as keys: nothing that JSON lacks.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// What comes before the services of a status, and after the last one.
#[must_use]
pub fn around_services(status: &Status) -> (Vec<u8>, &'static [u8]) {
    let mut whole = serde_json::to_vec(status).unwrap_or_default();
    // They are the last field, and there are none in it.
    whole.truncate(whole.len().saturating_sub(b"]}".len()));
    (whole, b"]}\n")
}

/// An answer that was read.
///
/// # Errors
/// The server's own words when it refused, else what is wrong with the answer.
pub fn read<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, String> {
    if let Ok(RequestRefusal { error }) = serde_json::from_slice(answer) {
        return Err(error);
    }
    serde_json::from_slice(answer).map_err(|error| format!("the server's answer: {error}"))
}

#[cfg(test)]
mod tests;
