//! Where log lines go: standard error, the system's log or a file, through a bounded
//! buffer, so that a reader that stalls never stalls the loop.
//!
//! Lines are collected for a moment and written between two turns of the loop, which
//! also makes one system call of many. What cannot be written without waiting stays
//! in the buffer and is tried again; once the loop is over, the reader is waited for a little.
//!
//! The lines of a service that has a file of its own go there instead.

mod files;
mod opening;
mod own_file;
mod prefix;
mod put;
mod queue;
mod size_limit;
mod stderr;
mod syslog;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{Metadata, Record};

use super::events;
use super::target::{self, LogTarget};
use crate::sys::zone::Zone;
use own_file::OwnFile;
use prefix::{LinePrefix, SyslogHead};
use queue::{CAPACITY, Lines, LogOutput, sink};
use stderr::StderrLog;
use syslog::Syslog;

pub(crate) use files::{keep_files, number_of, open_again, open_files};

/// Bytes that are written in the turn in which they have become so many.
const MANY: usize = CAPACITY / 16;

/// How long the reader is waited for in all when the server ends.
const LAST: Duration = Duration::from_secs(1);

/// Whether warnings and errors go to standard error as well.
static ECHO: AtomicBool = AtomicBool::new(false);

/// What the log facade speaks to. Records are written where they wait, without a copy.
struct Logger {
    /// Which records are wanted.
    filter: env_logger::Logger,
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.matches(record) {
            return;
        }
        echo(record);
        if in_its_file(record) {
            return;
        }
        let mut sink = sink();
        sink.lines.take(|out, head| prefix::write(out, head, record));
        sink.taken();
    }

    fn flush(&self) {}
}

/// Whether a line went to the file that it is for, if it is for one.
fn in_its_file(record: &Record<'_>) -> bool {
    let file = events::file_of(record.target());
    file.is_some_and(|number| {
        files::take(number, |lines| prefix::write(lines, &mut LinePrefix::Stamp, record))
    })
}

/// Sets up logging, in the process that will serve: level from `RUST_LOG`, `level`
/// without it.
///
/// # Errors
/// When the file cannot be opened. A syslog daemon may come later.
pub(crate) fn start(target: &LogTarget, level: &str) -> io::Result<()> {
    let (head, output) = open(target)?;
    let mut sink = sink();
    (sink.lines.head, sink.output) = (head, output);
    drop(sink);
    let environment = env_logger::Env::default().default_filter_or(level);
    let filter = env_logger::Builder::from_env(environment).build();
    let most = filter.filter();
    // A second call (tests) keeps the first logger.
    if log::set_boxed_logger(Box::new(Logger { filter })).is_ok() {
        log::set_max_level(most);
    }
    Ok(())
}

fn open(target: &LogTarget) -> io::Result<(LinePrefix, LogOutput)> {
    Ok(match target {
        LogTarget::Stderr => {
            let head = if under_journal() { LinePrefix::Priority } else { LinePrefix::Stamp };
            (head, LogOutput::Stderr(StderrLog::find_out()))
        }
        LogTarget::Syslog { facility, socket } => {
            // Whoever tells the time of day says what is wrong with the zone.
            let zone = Zone::load(std::env::var_os("TZ").as_deref()).unwrap_or_default();
            let head = LinePrefix::Syslog(SyslogHead::new(*facility, zone));
            (head, LogOutput::Syslog(Syslog::new(socket)))
        }
        LogTarget::File(path) => (LinePrefix::Stamp, LogOutput::File(OwnFile::open(path)?)),
    })
}

/// Whether somebody takes what is sent to a target now.
///
/// # Errors
/// The socket of the system's log where nobody does, and what the system answered.
pub(crate) fn reach(target: &LogTarget) -> io::Result<()> {
    let LogTarget::Syslog { socket, .. } = target else { return Ok(()) };
    let failed = |error| io::Error::other(format!("{}: {error}", socket.display()));
    syslog::connect(socket).map(drop).map_err(failed)
}

/// From here on, or no longer, warnings and errors go to standard error as well: whoever
/// starts the server looks there.
pub(crate) fn echo_to_starter(wanted: bool) {
    ECHO.store(wanted, Ordering::Relaxed);
}

/// Whether they do.
#[must_use]
pub(crate) fn echoes_to_starter() -> bool {
    ECHO.load(Ordering::Relaxed)
}

fn echo(record: &Record<'_>) {
    if record.level() <= log::Level::Warn && echoes_to_starter() {
        let mut line = Vec::new();
        prefix::write(&mut line, &mut LinePrefix::Stamp, record);
        let _ = io::stderr().write_all(&line);
    }
}

/// Whether there is a log that is not on standard error.
#[must_use]
pub(crate) fn is_elsewhere() -> bool {
    log::max_level() > log::LevelFilter::Off && !matches!(sink().output, LogOutput::Stderr(_))
}

/// Where the log goes if it goes to the system's, or else where that is: the facility, and
/// the socket.
#[must_use]
pub(crate) fn system_log() -> (u8, PathBuf) {
    let sink = sink();
    match (&sink.lines.head, &sink.output) {
        (LinePrefix::Syslog(head), LogOutput::Syslog(syslog)) => {
            (head.facility(), syslog.path().to_owned())
        }
        _ => (target::DAEMON, PathBuf::from(target::SOCKET)),
    }
}

/// Whether standard error is the journal's stream (systemd.exec(5)): the variable
/// alone may be inherited from somebody who has redirected it since.
#[must_use]
pub(crate) fn under_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    nix::sys::stat::fstat(io::stderr())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// How many lines were dropped since the start because their reader was too slow.
#[must_use]
pub(crate) fn dropped() -> u64 {
    sink().lines.dropped_ever
}

/// Since when nothing of the log gets out, in seconds since 1970, and why; none while it does.
#[must_use]
pub(crate) fn trouble() -> Option<(u64, String)> {
    sink().trouble.clone()
}

/// What has been logged and is not out.
pub(crate) struct Unwritten {
    /// Lines that have not been written yet, the first of them perhaps in part.
    pub log: Vec<u8>,
    /// How many never were since the start.
    pub dropped: u64,
    /// How many of those have not been told.
    pub untold: u64,
}

/// For another to go on with.
#[must_use]
pub(crate) fn unwritten() -> Unwritten {
    let sink = sink();
    let Lines { waiting, dropped, dropped_ever, .. } = &sink.lines;
    Unwritten { log: waiting.clone(), dropped: *dropped_ever, untold: *dropped }
}

/// Goes on with the lines of another before ours.
pub(crate) fn go_on_with(waiting: &[u8], dropped: u64, untold: u64) {
    let mut sink = sink();
    let lines = &mut sink.lines;
    lines.dropped_ever = lines.dropped_ever.saturating_add(dropped);
    lines.dropped = lines.dropped.saturating_add(untold);
    lines.waiting.splice(..0, waiting.iter().copied());
}

/// No line goes out before those of another, who may have written a part of one.
pub(crate) fn wait_for_another() {
    let mut sink = sink();
    (sink.held, sink.stalled) = (true, true);
}

/// From here on lines wait for [`flush`].
pub(crate) fn hold() {
    sink().held = true;
}

/// Lines go out at once again, and the reader is waited for a last time.
pub(crate) fn let_go() {
    flush();
    let mut sink = sink();
    (sink.held, sink.patience) = (false, LAST);
    sink.write_last();
}

/// Opens the file of the server's log again, if it is one: the other may have been
/// rotated away.
pub(crate) fn reopen() {
    let mut sink = sink();
    sink.write_out();
    let LogOutput::File(file) = &mut sink.output else { return };
    let failed = file.reopen().err().map(|error| (file.path().to_owned(), error));
    drop(sink);
    if let Some((path, error)) = failed {
        events::log_file_failed(&path, &error);
    }
}

/// How much there is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backlog {
    /// Everything is written.
    Nothing,
    /// Some lines, which may wait for more.
    Few,
    /// So many that those of another turn or two might find no room.
    Many,
}

/// How much has been logged and not been written.
#[must_use]
pub(crate) fn backlog() -> Backlog {
    match sink().lines.waiting.len() {
        0 if !files::have_lines() => Backlog::Nothing,
        0..MANY => Backlog::Few,
        _ => Backlog::Many,
    }
}

/// Writes what has been logged since the last call, as far as there is room. If
/// something is left: after how long to call it again at the latest.
pub(crate) fn flush() -> Option<Duration> {
    files::flush();
    let mut sink = sink();
    let done = sink.write_out();
    let dropped = if done { std::mem::take(&mut sink.lines.dropped) } else { 0 };
    let pause = (!done).then_some(sink.pause);
    drop(sink);
    if dropped > 0 {
        events::lines_dropped(dropped);
        return flush();
    }
    pause
}
