//! The vocabulary of the log: one function per kind of line, `word key=value …`.
//!
//! People and programs read these lines, so words and keys do not change. Values
//! from a peer, a program or a file are escaped: no byte of theirs can end a line
//! or drive a terminal.

mod label;

use std::fmt::{self, Display, Write as _};
use std::path::Path;
use std::time::Duration;

use log::{error, info, warn};

use crate::address::Address;
use crate::config::model::{LogOnFailure, LogOnSuccess};
use crate::peers::Peers;

pub use label::{Label, file_of};

/// A text as a value: bare when it is one plain word, else in quotes.
struct Quoted<'a>(&'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        if !self.0.is_empty() && self.0.iter().all(plain) {
            return f.write_str(&String::from_utf8_lossy(self.0));
        }
        f.write_char('"')?;
        escape(self.0, f)?;
        f.write_char('"')
    }
}

/// Printable text as it is; quotes, backslashes, controls and what is not UTF-8 escaped.
fn escape(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\t' => f.write_str("\\t")?,
                _ if is_shown(character) => f.write_char(character)?,
                _ if character.is_ascii() => write!(f, "\\x{:02x}", u32::from(character))?,
                _ => write!(f, "\\u{{{:x}}}", u32::from(character))?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Neither a control nor a character that reorders or hides text.
fn is_shown(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn word(text: &str) -> Quoted<'_> {
    Quoted(text.as_bytes())
}

/// A text of anything that can be displayed, as a value.
struct Shown(String);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(&self.0).fmt(f)
    }
}

fn shown(value: &dyn Display) -> Shown {
    Shown(value.to_string())
}

/// Seconds with milliseconds, `0.012s`.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0.as_secs(), self.0.subsec_millis())
    }
}

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

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Status(status) => write!(f, "status={status}"),
            End::Signal(name) => write!(f, "signal={name}"),
            End::Unknown => f.write_str("status=unknown"),
        }
    }
}

/// Everything is read, bound and running.
pub fn ready(pid: u32, services: usize, listeners: usize) {
    info!("ready pid={pid} services={services} listeners={listeners}");
}

/// A socket is open.
pub fn listening(service: &str, address: &dyn Display) {
    info!("listening service={} address={}", word(service), shown(address));
}

/// `oxinetd run PORT` listens on the loopback addresses only.
pub fn local_only(port: &str) {
    let open = format!("*:{port}");
    info!(
        "local-only port={} effect=\"this machine only, {} is open to all\"",
        word(port),
        word(&open)
    );
}

/// A socket could not be opened; it is tried again.
pub fn not_listening(service: &str, address: &dyn Display, error: &dyn Display, retry: Duration) {
    let (service, address, error) = (word(service), shown(address), shown(error));
    warn!(
        "not-listening service={service} address={address} error={error} retry={}s",
        retry.as_secs()
    );
}

/// A key and its value with a blank before them, or nothing.
struct Key<T>(&'static str, Option<T>);

impl<T: Display> Display for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.1 {
            Some(value) => write!(f, " {}={value}", self.0),
            None => Ok(()),
        }
    }
}

/// The process that serves; `-` when it is ourselves.
struct Process(Option<i32>);

impl Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => pid.fmt(f),
            None => f.write_char('-'),
        }
    }
}

/// A peer is served: by a program, or by ourselves.
pub fn accepted(service: &Label, peer: Address, pid: Option<i32>, log: LogOnSuccess) {
    if !(log.host || log.pid) {
        return;
    }
    let peer = Key("peer", log.host.then_some(peer));
    let pid = Key("pid", log.pid.then_some(Process(pid)));
    info!(target: service.target(), "accepted service={}{peer}{pid}", word(service));
}

/// A program has ended.
pub fn ended(
    service: &Label,
    peer: Address,
    pid: i32,
    (end, time): (End, Duration),
    log: LogOnSuccess,
) {
    if !(log.exit || log.duration) {
        return;
    }
    let (peer, pid) = (Key("peer", log.host.then_some(peer)), Key("pid", log.pid.then_some(pid)));
    let time = Key("time", log.duration.then_some(Seconds(time)));
    if log.exit {
        info!(target: service.target(), "ended service={}{peer}{pid} {end}{time}", word(service));
    } else {
        info!(target: service.target(), "ended service={}{peer}{pid}{time}", word(service));
    }
}

/// A conversation of our own has ended.
pub fn closed(service: &Label, peer: Address, why: &str, time: Duration, log: LogOnSuccess) {
    if !(log.exit || log.duration) {
        return;
    }
    let peer = Key("peer", log.host.then_some(peer));
    let why = Key("reason", log.exit.then_some(word(why)));
    let time = Key("time", log.duration.then_some(Seconds(time)));
    info!(target: service.target(), "closed service={}{peer}{why}{time}", word(service));
}

/// A program has run for too long and is sent a signal, `TERM` and later `KILL`.
pub fn timeout(service: &Label, peer: Address, pid: i32, signal: &str, log: LogOnSuccess) {
    let peer = Key("peer", log.host.then_some(peer));
    warn!(target: service.target(), "timeout service={}{peer} pid={pid} signal={signal}", word(service));
}

/// A program could not be started; `stage` says at which step.
pub fn failed(service: &Label, peer: Address, pid: Option<i32>, stage: &str, error: &dyn Display) {
    let (target, service, error) = (service.target(), word(service), shown(error));
    match pid {
        Some(pid) => {
            error!(target: target, "failed service={service} peer={peer} pid={pid} stage={stage} error={error}");
        }
        None => {
            error!(target: target, "failed service={service} peer={peer} pid=- stage={stage} error={error}")
        }
    }
}

/// A peer was turned away, and so many others for the same reason since the last line.
pub fn refused(service: &Label, peer: Address, reason: &str, left_out: u64, log: LogOnFailure) {
    if !(log.host || log.attempt) {
        return;
    }
    let peer = Key("peer", log.host.then_some(peer));
    info!(target: service.target(), "refused service={}{peer} reason={reason} left_out={left_out}", word(service));
}

/// A limit begins to bite.
pub fn limit_begins(service: &Label, reason: &str) {
    warn!(target: service.target(), "limit-begin service={} reason={reason}", word(service));
}

/// A limit no longer bites; so many were left out meanwhile.
pub fn limit_ends(service: &Label, reason: &str, left_out: u64) {
    warn!(target: service.target(), "limit-end service={} reason={reason} left_out={left_out}", word(service));
}

/// A line that a program wrote to its standard error.
pub fn stderr(service: &Label, pid: i32, line: &[u8], cut: bool) {
    let more = if cut { " cut=yes" } else { "" };
    info!(target: service.target(), "stderr service={} pid={pid} line={}{more}", word(service), Always(line));
}

/// A value that is quoted even when it is one word.
struct Always<'a>(&'a [u8]);

impl Display for Always<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        escape(self.0, f)?;
        f.write_char('"')
    }
}

/// A `wait` service that failed at once is given time before the next start.
pub fn backoff(service: &Label, delay: Duration) {
    warn!(target: service.target(), "backoff service={} delay={}s", word(service), delay.as_secs());
}

/// accept(2) or another call of the loop failed in a way that may pass.
pub fn trouble(service: &str, call: &str, error: &dyn Display) {
    warn!("trouble service={} call={call} error={}", word(service), shown(error));
}

/// A finding about the configuration.
pub fn configuration(is_error: bool, line: &str) {
    if is_error {
        error!("configuration {}", Plain(line));
    } else {
        warn!("configuration {}", Plain(line));
    }
}

/// A text that ends the line, escaped but not quoted.
struct Plain<'a>(&'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            _ if is_shown(character) => f.write_char(character),
            _ => write!(f, "\\x{:02x}", u32::from(character)),
        })
    }
}

/// What a reload did with the sockets and the services.
pub fn reloaded(kept: usize, opened: usize, closed: usize, updated: usize) {
    info!("reloaded kept={kept} opened={opened} closed={closed} updated={updated}");
}

/// A new configuration was refused; the old one goes on.
pub fn reload_refused(errors: usize) {
    error!("reload-refused errors={errors}");
}

/// The list of peers, as SIGUSR1 asks for it.
pub fn peers(peers: &Peers) {
    for (id, peer) in peers.iter() {
        let state = if peer.running { "running" } else { "ended" };
        let service = word(&peer.service);
        let (n, address) = (id.number(), peer.address);
        match peer.pid {
            Some(pid) => {
                info!("peer n={n} address={address} service={service} pid={pid} state={state}")
            }
            None => info!("peer n={n} address={address} service={service} pid=- state={state}"),
        }
    }
}

/// How many peers there have been and are, as SIGUSR2 asks for it.
pub fn peer_counts(total: u64, running: usize) {
    info!("peers total={total} running={running}");
}

/// Somebody who may has told the server to do something.
pub fn control(peer: Address, command: &str) {
    info!("control peer={peer} command={}", word(command));
}

/// Nobody is let in any more; programs have so long to end.
pub fn draining(time: Duration, running: u32) {
    info!("draining time={}s running={running}", time.as_secs());
}

/// The server cannot be asked at the usual place.
pub fn no_control(place: &Path, error: &dyn Display) {
    warn!("no-control path={} error={}", path(place), shown(error));
}

/// Counters are told here.
pub fn metrics(address: &dyn Display) {
    info!("metrics address={}", shown(address));
}

/// The server has been told to stop.
pub fn stopping(signal: &str) {
    info!("stopping signal={signal}");
}

/// The last line.
pub fn stopped() {
    info!("stopped");
}

/// Lines that were not written because their reader did not take them.
pub fn lines_dropped(lines: u64) {
    warn!("log-dropped lines={lines}");
}

/// A file for services' lines has reached the size of which it is to be said.
pub fn log_file_large(file: &Path, limit: u64) {
    warn!("log-file-large file={} limit={limit}", path(file));
}

/// Nothing more is written to a file for services' lines: it has its whole size.
pub fn log_file_full(file: &Path, limit: u64) {
    warn!("log-file-full file={} limit={limit}", path(file));
}

/// A file that was full is written to again, or given up; so many lines are not in it.
pub fn log_file_resumed(file: &Path, left_out: u64) {
    warn!("log-file-resumed file={} left_out={left_out}", path(file));
}

/// A file for services' lines cannot be opened or written to: they come here.
pub fn log_file_failed(file: &Path, error: &dyn Display) {
    error!("log-file-failed file={} error={}", path(file), shown(error));
}

fn path(path: &Path) -> Quoted<'_> {
    Quoted(path.as_os_str().as_encoded_bytes())
}

/// How programs are started, and how many may run at once.
pub fn spawning(way: &str, max_children: u32) {
    info!("spawning way={way} max_children={max_children}");
}

/// An orphan that came to us as process 1 has ended.
pub fn orphan(pid: i32, end: End) {
    log::debug!("orphan pid={pid} {end}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_bare() {
        assert_eq!(word("daytime/tcp").to_string(), "daytime/tcp");
        assert_eq!(word("").to_string(), "\"\"");
        assert_eq!(word("two words").to_string(), "\"two words\"");
    }

    #[test]
    fn nothing_ends_a_line_or_drives_a_terminal() {
        let nasty = b"a\"b\\\n\r\x1b[31m\x00\xff\xc3\xa9\xe2\x80\xae";
        let shown = Quoted(nasty).to_string();
        assert_eq!(shown, "\"a\\\"b\\\\\\x0a\\x0d\\x1b[31m\\x00\\xff\u{e9}\\u{202e}\"");
    }

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(Seconds(Duration::from_micros(12_345)).to_string(), "0.012s");
        assert_eq!(Seconds(Duration::from_secs(61)).to_string(), "61.000s");
    }
}
