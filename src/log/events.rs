//! The vocabulary of the log: one function per kind of line, `word key=value …`, or
//! the same as an object of JSON.
//!
//! People and programs read these lines, so words and keys do not change. Values
//! from a peer, a program or a file are escaped: no byte of theirs can end a line
//! or drive a terminal.

mod clients;

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use log::Level::{Debug, Error, Info, Warn};

use super::label::SERVER;
use super::line::LogValue::{
    Absent, Count, Number, Peer, Pid, Precise, Rest, Seconds, Shown, Unknown, Word, Yes,
};
use super::line::{count, path, say, text};
use crate::net::address::Address;
use crate::sys::calendar::Civil;

pub use super::escape::Plain;
pub use super::label::{Label, file_of, is_ours};
pub use super::line::{Message, is_json, use_json};
pub use super::signal::signal_name;
pub use clients::{
    End, Why, accepted, closed, detached, ended, failed, leftovers, limit_begins, limit_ends,
    occupied, peer, peer_counts, refused, stderr, strayed, timeout, worker_died,
};

/// The process ends, since this is in the way of serving.
pub fn fatal(error: &str) {
    say(Error, SERVER, "fatal", &[("error", text(error))]);
}

/// Everything is read, bound and running.
pub fn ready(pid: u32, services: usize, listeners: usize) {
    let fields = [
        ("pid", Number(pid.into())),
        ("services", count(services)),
        ("listeners", count(listeners)),
    ];
    say(Info, SERVER, "ready", &fields);
}

/// A socket is open.
pub fn listening(service: &str, address: &dyn Display, adopted: bool) {
    let fields =
        [("service", text(service)), ("address", Shown(address)), ("adopted", Yes.when(adopted))];
    say(Info, SERVER, "listening", &fields);
}

/// A socket that the service manager has given us and no service has.
pub fn unclaimed(address: &dyn Display, socket_type: &str, name: &str) {
    let fields = [("address", Shown(address)), ("type", Word(socket_type)), ("name", text(name))];
    say(Warn, SERVER, "unclaimed", &fields);
}

/// A descriptor that the service manager has given us and no service can have.
pub fn not_adopted(descriptor: i32, name: &str, error: &dyn Display) {
    let fields =
        [("descriptor", Number(descriptor.into())), ("name", text(name)), ("error", Shown(error))];
    say(Warn, SERVER, "not-adopted", &fields);
}

/// `oxinetd run PORT` listens on the loopback addresses only.
pub fn local_only(port: &str) {
    let effect = format!("this machine only, *:{port} is open to all");
    say(Info, SERVER, "local-only", &[("port", text(port)), ("effect", text(&effect))]);
}

/// A socket could not be opened; it is tried again.
pub fn not_listening(service: &str, address: &dyn Display, error: &dyn Display, retry: Duration) {
    let fields = [
        ("service", text(service)),
        ("address", Shown(address)),
        ("error", Shown(error)),
        ("retry", Seconds(retry)),
    ];
    say(Warn, SERVER, "not-listening", &fields);
}

/// Sockets are left out, since this process may have only so many descriptors.
pub fn left_out(sockets: usize, limit: u64) {
    let fields = [
        ("sockets", count(sockets)),
        ("limit", count(usize::try_from(limit).unwrap_or(usize::MAX))),
        ("error", text("too few descriptors: raise `ulimit -n`, or LimitNOFILE= of the unit")),
    ];
    say(Warn, SERVER, "left-out", &fields);
}

/// The name of a relay's target has been looked up, and it is connected to these addresses.
pub fn resolved(service: &str, name: &str, addresses: &dyn Display) {
    let fields =
        [("service", text(service)), ("name", text(name)), ("addresses", Shown(addresses))];
    say(Info, SERVER, "resolved", &fields);
}

/// Since a reload, this certificate is served, which was not before.
pub fn certificate(file: &Path, names: &str, ends: Option<i64>, fingerprint: &str) {
    let until = ends.map(|ends| Civil::from_seconds(ends).stamp() + "Z");
    let fields = [
        ("file", path(file)),
        ("names", text(names)),
        ("until", until.as_deref().map_or(Unknown, Word)),
        ("fingerprint", Word(fingerprint)),
    ];
    say(Info, SERVER, "certificate", &fields);
}

/// A certificate was made on the spot.
pub fn self_signed(fingerprint: &str) {
    say(Info, SERVER, "certificate", &[("fingerprint", Word(fingerprint))]);
}

/// A `wait` service that failed at once is given time before the next start.
pub fn backoff(service: &Label, delay: Duration) {
    let shown = if delay.subsec_nanos() == 0 { Seconds(delay) } else { Precise(delay) };
    say(Warn, service.target(), "backoff", &[("service", text(service)), ("delay", shown)]);
}

/// A `wait` service's program has left its socket in a state that cannot be undone.
pub fn renewed(service: &str, address: &dyn Display, reason: &str) {
    let fields =
        [("service", text(service)), ("address", Shown(address)), ("reason", text(reason))];
    say(Warn, SERVER, "renewed", &fields);
}

/// accept(2) or another call of the loop failed in a way that may pass.
pub fn trouble(service: &str, call: &str, error: &dyn Display) {
    let fields = [("service", text(service)), ("call", Word(call)), ("error", Shown(error))];
    say(Warn, SERVER, "trouble", &fields);
}

/// A finding about the configuration.
pub fn configuration(is_error: bool, line: &str) {
    say(level_of_finding(is_error), SERVER, "configuration", &[("message", Rest(line))]);
}

/// What a reload did with the sockets and the services.
pub fn reloaded(kept: usize, opened: usize, closed: usize, updated: usize) {
    let fields = [
        ("kept", count(kept)),
        ("opened", count(opened)),
        ("closed", count(closed)),
        ("updated", count(updated)),
    ];
    say(Info, SERVER, "reloaded", &fields);
}

/// A new configuration was refused; the old one goes on.
pub fn reload_refused(errors: usize) {
    say(Error, SERVER, "reload-refused", &[("errors", count(errors))]);
}

/// The program on disk is tried out, to go on in the server's place.
pub fn upgrading(program: &Path) {
    say(Info, SERVER, "upgrading", &[("program", path(program))]);
}

/// Another program goes on: its version, that of the one before, how long nobody was
/// served, and the programs that run on.
pub fn upgraded((version, from): (&str, &str), pause: Duration, children: usize) {
    let fields = [
        ("version", text(version)),
        ("from", text(from)),
        ("pause", Precise(pause)),
        ("children", count(children)),
    ];
    say(Info, SERVER, "upgraded", &fields);
}

/// Whether the log takes what is said of configurations: `RUST_LOG` may leave it out.
#[must_use]
pub fn takes_findings(is_error: bool) -> bool {
    log::log_enabled!(target: SERVER, level_of_finding(is_error))
}

/// How much a finding in a configuration matters.
fn level_of_finding(is_error: bool) -> log::Level {
    if is_error { Error } else { Warn }
}

/// Characters of what another program has said.
const LONGEST_REASON: usize = 1000;

/// The program that runs goes on. The reason is what another program has said: whoever asked
/// hears all of it, the log its beginning.
pub fn upgrade_refused(reason: &str) {
    let bounded = match reason.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default()),
        None => reason.to_owned(),
    };
    say(Error, SERVER, "upgrade-refused", &[("reason", text(&bounded))]);
}

/// Somebody who may has told the server to do something.
pub fn control(peer: Address, command: &str) {
    say(Info, SERVER, "control", &[("peer", Peer(peer)), ("command", text(command))]);
}

/// Nobody is let in any more, or will be after a delay; programs have so long to end.
pub fn draining(time: Duration, running: u32, delay: Option<Duration>) {
    let delay = delay.map_or(Absent, Precise);
    let fields = [("time", Seconds(time)), ("running", Count(running.into())), ("delay", delay)];
    say(Info, SERVER, "draining", &fields);
}

/// The server cannot be asked at the usual place.
pub fn no_control(place: &Path, error: &dyn Display) {
    say(Warn, SERVER, "no-control", &[("path", path(place)), ("error", Shown(error))]);
}

/// Counters are told here.
pub fn metrics(address: &dyn Display) {
    say(Info, SERVER, "metrics", &[("address", Shown(address))]);
}

/// The page is shown here.
pub fn page(address: &dyn Display) {
    say(Info, SERVER, "page", &[("address", Shown(address))]);
}

/// A service has stopped by itself, after so many clients.
pub fn service_stopped(service: &Label, reason: &str, clients: u32) {
    let fields =
        [("service", text(service)), ("reason", Word(reason)), ("clients", Count(clients.into()))];
    say(Info, service.target(), "service-stopped", &fields);
}

/// The server has been told to stop.
pub fn stopping(signal: &str) {
    say(Info, SERVER, "stopping", &[("signal", Word(signal))]);
}

/// Nobody is waited for any more, since the server has been told to stop once more: so many
/// programs are killed and so many connections closed, of these services.
pub fn cut_short(signal: &str, (programs, connections): (usize, usize), services: Option<&str>) {
    let fields = [
        ("signal", Word(signal)),
        ("programs", count(programs)),
        ("connections", count(connections)),
        ("services", services.map_or(Absent, text)),
    ];
    say(Warn, SERVER, "cut-short", &fields);
}

/// The last line.
pub fn stopped() {
    say(Info, SERVER, "stopped", &[]);
}

/// Lines that were not written because their reader did not take them.
pub fn lines_dropped(lines: u64) {
    say(Warn, SERVER, "log-dropped", &[("lines", Count(lines))]);
}

/// A file for services' lines has reached the size of which it is to be said.
pub fn log_file_large(file: &Path, limit: u64) {
    say(Warn, SERVER, "log-file-large", &[("file", path(file)), ("limit", Count(limit))]);
}

/// Nothing more is written to a file for services' lines: it has its whole size.
pub fn log_file_full(file: &Path, limit: u64) {
    say(Warn, SERVER, "log-file-full", &[("file", path(file)), ("limit", Count(limit))]);
}

/// A file that was full is written to again, or given up; so many lines are not in it.
pub fn log_file_resumed(file: &Path, left_out: u64) {
    say(Warn, SERVER, "log-file-resumed", &[("file", path(file)), ("left_out", Count(left_out))]);
}

/// A file for services' lines cannot be opened or written to: they come here. Or the
/// server's own cannot be opened again: lines go on into the one that it has.
pub fn log_file_failed(file: &Path, error: &dyn Display) {
    say(Error, SERVER, "log-file-failed", &[("file", path(file)), ("error", Shown(error))]);
}

/// How programs are started, and how many may run at once.
pub fn spawning(way: &str, max_children: u32) {
    let fields = [("way", Word(way)), ("max_children", Count(max_children.into()))];
    say(Info, SERVER, "spawning", &fields);
}

/// An orphan that came to us as process 1 has ended.
pub fn orphan(pid: i32, end: End) {
    say(Debug, SERVER, "orphan", &[("pid", Pid(Some(pid.into()))), end.field()]);
}
