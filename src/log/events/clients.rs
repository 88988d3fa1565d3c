//! What the log says of clients and of the programs that serve them, from when they come until
//! they have ended.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use log::Level::{Error, Info, Warn};

use crate::config::model::{LogOnFailure, LogOnSuccess};
use crate::log::label::{Label, SERVER};
use crate::log::line::LogValue::{
    Absent, Count, Number, Peer, Pid, Precise, Quote, Shown, Unknown, Word, Yes,
};
use crate::log::line::{Field, count, path, say, text};
use crate::net::address::Address;
use crate::net::fronted::{Encryption, Whom};

/// Who has said something.
const CLIENT: &str = "client";

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
    pub(super) fn field(self) -> Field<'static> {
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
