//! The vocabulary of the log: one function per kind of line, `word key=value …`, or
//! the same as an object of JSON.
//!
//! People and programs read these lines, so words and keys do not change. Values
//! from a peer, a program or a file are escaped: no byte of theirs can end a line
//! or drive a terminal.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use log::Level::{Debug, Error, Info, Warn};

use super::label::SERVER;
use super::line::LogValue::{
    Absent, Count, Number, Peer, Pid, Precise, Quote, Rest, Seconds, Shown, Unknown, Word, Yes,
};
use super::line::{Field, count, say, text};
use crate::config::model::{LogOnFailure, LogOnSuccess};
use crate::net::address::Address;
use crate::net::fronted::{Encryption, Whom};
use crate::sys::calendar::Civil;

pub use super::escape::Plain;
pub use super::label::{Label, file_of, is_ours};
pub use super::line::{Message, is_json, use_json};
pub use super::signal::signal_name;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit status.
    Status(i32),
    /// By this signal.
    Signal(&'static str),
    /// It is gone and nobody knows how.
    Unknown,
}

impl End {
    fn field(self) -> Field<'static> {
        match self {
            End::Status(status) => ("status", Number(status.into())),
            End::Signal(name) => ("signal", Word(name)),
            End::Unknown => ("status", Unknown),
        }
    }
}

/// How a client has left, and whether it has said so itself.
fn fields_of_leaving(left: Option<(&'static str, bool)>, log: LogOnSuccess) -> [Field<'static>; 2] {
    let (how, by_client) = left.map_or((Absent, false), |(how, it)| (Word(how), it));
    [("how", how.when(log.exit)), ("by", Word(CLIENT).when(by_client && log.exit))]
}

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

/// A peer is served: by a program, or by ourselves.
pub fn accepted(
    service: &Label,
    whom: impl Into<Whom>,
    (pid, encryption): (Option<i32>, Option<&Encryption>),
    log: LogOnSuccess,
) {
    if !(log.host || log.pid) {
        return;
    }
    let Whom { peer, via } = whom.into();
    let told = |which: fn(&Encryption) -> Option<&str>| {
        let known = encryption.filter(|_| log.host).and_then(which);
        known.map_or(Absent, text)
    };
    let fields = [
        ("service", text(service)),
        ("peer", Peer(peer).when(log.host)),
        ("via", via.map_or(Absent, Peer).when(log.host)),
        ("pid", Pid(pid.map(i64::from)).when(log.pid)),
        ("tls", told(|it| it.version.as_deref())),
        ("server_name", told(|it| it.server_name.as_deref())),
        ("subject", told(|it| it.subject.as_deref())),
        ("common_name", told(|it| it.common_name.as_deref())),
        ("fingerprint", told(|it| it.fingerprint.as_deref())),
    ];
    say(Info, service.target(), "accepted", &fields);
}

/// A program has ended; how its client has left it, if that is not as it should be, and whether
/// it has said so itself.
pub fn ended(
    service: &Label,
    peer: Address,
    pid: i32,
    (end, time): (End, Duration),
    left: Option<(&'static str, bool)>,
    log: LogOnSuccess,
) {
    if !(log.exit || log.duration) {
        return;
    }
    let (key, end) = end.field();
    let [how, by] = fields_of_leaving(left, log);
    let fields = [
        ("service", text(service)),
        ("peer", Peer(peer).when(log.host)),
        ("pid", Pid(Some(pid.into())).when(log.pid)),
        (key, end.when(log.exit)),
        how,
        by,
        ("time", Precise(time).when(log.duration)),
    ];
    say(Info, service.target(), "ended", &fields);
}

/// The server ends, and the program of a client goes on without it.
pub fn detached(service: &Label, peer: Address, pid: i32, time: Duration, log: LogOnSuccess) {
    if !(log.exit || log.duration) {
        return;
    }
    let fields = [
        ("service", text(service)),
        ("peer", Peer(peer).when(log.host)),
        ("pid", Pid(Some(pid.into())).when(log.pid)),
        ("time", Precise(time).when(log.duration)),
    ];
    say(Info, service.target(), "detached", &fields);
}

/// A conversation of our own has ended; why, and how its client has left it, as of a program.
pub fn closed(
    service: &Label,
    peer: Address,
    (why, left): (&str, Option<(&'static str, bool)>),
    time: Duration,
    log: LogOnSuccess,
) {
    if !(log.exit || log.duration) {
        return;
    }
    let [how, by] = fields_of_leaving(left, log);
    let fields = [
        ("service", text(service)),
        ("peer", Peer(peer).when(log.host)),
        ("reason", text(why).when(log.exit)),
        how,
        by,
        ("time", Precise(time).when(log.duration)),
    ];
    say(Info, service.target(), "closed", &fields);
}

/// A program has run for too long and is sent a signal, `TERM` and later `KILL`; with a reason
/// if it is another one.
pub fn timeout(
    service: &Label,
    peer: Address,
    pid: i32,
    (signal, reason): (&str, Option<&str>),
    log: LogOnSuccess,
) {
    let fields = [
        ("service", text(service)),
        ("peer", Peer(peer).when(log.host)),
        ("pid", Pid(Some(pid.into()))),
        ("signal", Word(signal)),
        ("reason", reason.map_or(Absent, Word)),
    ];
    say(Warn, service.target(), "timeout", &fields);
}

/// What a program has left behind, so many processes, is sent a signal, `TERM` and later `KILL`.
pub fn leftovers(
    service: &Label,
    peer: Address,
    pid: i32,
    (signal, processes): (&str, usize),
    log: LogOnSuccess,
) {
    let fields = [
        ("service", text(service)),
        ("peer", Peer(peer).when(log.host)),
        ("pid", Pid(Some(pid.into()))),
        ("signal", Word(signal)),
        ("processes", count(processes)),
    ];
    say(Info, service.target(), "leftovers", &fields);
}

/// The program of a peer has made its socket one for others, and is killed.
pub fn strayed(service: &Label, peer: Address, pid: i32) {
    let fields = [("service", text(service)), ("peer", Peer(peer)), ("pid", Pid(Some(pid.into())))];
    say(Warn, service.target(), "strayed", &fields);
}

/// Something that a program has left behind has the address of its service; the process, if it
/// could be found, and whether it is ended.
pub fn occupied(service: &Label, address: &dyn Display, holder: Option<(i32, bool)>) {
    let ended = holder.is_some_and(|(_, ended)| ended);
    let fields = [
        ("service", text(service)),
        ("address", Shown(address)),
        ("pid", Pid(holder.map(|(pid, _)| i64::from(pid)))),
        ("signal", Word("KILL").when(ended)),
    ];
    say(Warn, service.target(), "occupied", &fields);
}

/// A program could not be started; `stage` says at which step, `program` which one if that
/// is what the step was about.
pub fn failed(
    service: &Label,
    peer: Address,
    pid: Option<i32>,
    (stage, program): (&str, Option<&Path>),
    error: &dyn Display,
) {
    let fields = [
        ("service", text(service)),
        ("peer", Peer(peer)),
        ("pid", Pid(pid.map(i64::from))),
        ("stage", Word(stage)),
        ("program", program.map_or(Absent, path)),
        ("error", Shown(error)),
    ];
    say(Error, service.target(), "failed", &fields);
}

/// Who has said something.
const CLIENT: &str = "client";

/// What is known of a refusal besides its reason: a word that is one of few.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Why {
    /// Nothing.
    #[default]
    Plain,
    /// Why there was no PROXY header.
    Header(&'static str),
    /// Why there was no handshake.
    Alert(&'static str),
    /// The same, as the client has said.
    ClientsAlert(&'static str),
}

/// A peer was turned away, and so many others for the same reason since the last line.
pub fn refused(
    service: &Label,
    whom: impl Into<Whom>,
    (reason, why): (&str, Why),
    left_out: u64,
    log: LogOnFailure,
) {
    if !(log.host || log.attempt) {
        return;
    }
    let Whom { peer, via } = whom.into();
    let (header, alert, by_client) = match why {
        Why::Plain => (Absent, Absent, false),
        Why::Header(word) => (Word(word), Absent, false),
        Why::Alert(word) => (Absent, Word(word), false),
        Why::ClientsAlert(word) => (Absent, Word(word), true),
    };
    let fields = [
        ("service", text(service)),
        ("peer", Peer(peer).when(log.host)),
        ("via", via.map_or(Absent, Peer).when(log.host)),
        ("reason", Word(reason)),
        ("why", header),
        ("alert", alert),
        ("by", Word(CLIENT).when(by_client)),
        ("left_out", Count(left_out)),
    ];
    say(Info, service.target(), "refused", &fields);
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

/// A process in front of services has ended, and so many clients with it.
pub fn worker_died(pid: i32, (end, error): (End, Option<&dyn Display>), clients: usize) {
    let fields = [
        ("pid", Pid(Some(pid.into()))),
        end.field(),
        ("clients", count(clients)),
        ("error", error.map_or(Absent, Shown)),
    ];
    say(Error, SERVER, "worker-died", &fields);
}

/// A limit begins to bite.
pub fn limit_begins(service: &Label, reason: &str) {
    let fields = [("service", text(service)), ("reason", Word(reason))];
    say(Warn, service.target(), "limit-begin", &fields);
}

/// A limit no longer bites; so many were left out meanwhile.
pub fn limit_ends(service: &Label, reason: &str, left_out: u64) {
    let fields =
        [("service", text(service)), ("reason", Word(reason)), ("left_out", Count(left_out))];
    say(Warn, service.target(), "limit-end", &fields);
}

/// A line that a program wrote to its standard error.
pub fn stderr(service: &Label, pid: i32, line: &[u8], cut: bool) {
    let fields = [
        ("service", text(service)),
        ("pid", Pid(Some(pid.into()))),
        ("line", Quote(line)),
        ("cut", Yes.when(cut)),
    ];
    say(Info, service.target(), "stderr", &fields);
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

/// One of the list of peers, as SIGUSR1 asks for it: its number, where it came from and to
/// which service, its program, and whether it is served still.
pub fn peer(number: u64, (address, service): (Address, &str), pid: Option<u32>, running: bool) {
    let fields = [
        ("n", Count(number)),
        ("address", Peer(address)),
        ("service", text(service)),
        ("pid", Pid(pid.map(i64::from))),
        ("state", Word(if running { "running" } else { "ended" })),
    ];
    say(Info, SERVER, "peer", &fields);
}

/// How many peers there have been and are, as SIGUSR2 asks for it.
pub fn peer_counts(total: u64, running: usize) {
    say(Info, SERVER, "peers", &[("total", Count(total)), ("running", count(running))]);
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

fn path(path: &Path) -> super::line::LogValue<'_> {
    super::line::LogValue::Text(path.as_os_str().as_encoded_bytes())
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
