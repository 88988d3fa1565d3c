//! Where log lines go: standard error, the system's log or a file, through a bounded
//! buffer, so that a reader that stalls never stalls the loop.
//!
//! Lines are collected for a moment and written between two turns of the loop, which
//! also makes one system call of many. What cannot be written without waiting stays
//! in the buffer and is tried again; once the loop is over, the reader is waited for a little.
//!
//! The lines of a service that has a file of its own go there instead.

mod files;
mod own_file;
mod prefix;
mod size_limit;
mod stderr;
mod syslog;

use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{Metadata, Record};
use nix::poll::{PollFlags, PollTimeout};

use super::events;
use super::target::{self, LogTarget};
use crate::sys::descriptor::becomes_ready;
use crate::sys::zone::Zone;
use own_file::OwnFile;
use prefix::{LinePrefix, SyslogHead};
use stderr::StderrLog;
use syslog::Syslog;

pub(crate) use files::{keep_files, number_of, open_again, open_files};

/// Bytes that may wait for a slow reader; more are dropped, line by line, and counted.
const CAPACITY: usize = 256 * 1024;

/// Bytes that are written in the turn in which they have become so many.
const MANY: usize = CAPACITY / 16;

/// So many are written in the middle of a turn: what one turn says may be more than there is
/// room for, and a target that takes it gets it all.
const TOO_MANY: usize = CAPACITY / 2;

/// How long the reader is waited for in all when the server ends.
const LAST: Duration = Duration::from_secs(1);

/// How soon writing is tried again while the reader goes on reading, a little at a time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// The same while it does not; doubled up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Whether warnings and errors go to standard error as well.
static ECHO: AtomicBool = AtomicBool::new(false);

static SINK: Mutex<Sink> = Mutex::new(Sink {
    lines: Lines { waiting: Vec::new(), dropped: 0, dropped_ever: 0, head: LinePrefix::Stamp },
    held: false,
    stalled: false,
    patience: Duration::ZERO,
    pause: SHORTEST_PAUSE,
    output: Output::Stderr(StderrLog::Polled),
});

struct Sink {
    lines: Lines,
    /// The loop runs and will flush; until then every line goes out at once.
    held: bool,
    /// There was no room when something was last written.
    stalled: bool,
    /// How long the reader may still be waited for: not at all while the loop runs.
    patience: Duration,
    /// How long what is left waits until it is tried again.
    pause: Duration,
    output: Output,
}

struct Lines {
    waiting: Vec<u8>,
    /// Lines dropped since the last that got through.
    dropped: u64,
    /// Lines dropped since the start.
    dropped_ever: u64,
    head: LinePrefix,
}

enum Output {
    Stderr(StderrLog),
    Syslog(Syslog),
    File(OwnFile),
}

/// What has come of an attempt to write.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    /// So many bytes are out; more may be tried.
    Taken(usize),
    /// The line of so many bytes can never get out.
    Lost(usize),
    /// There is no room now.
    Later,
    /// There will never be room again.
    Gone,
}

impl Lines {
    /// Takes a line, if there is room for it.
    fn take(&mut self, line: impl FnOnce(&mut Vec<u8>, &mut LinePrefix)) {
        let before = self.waiting.len();
        line(&mut self.waiting, &mut self.head);
        if self.waiting.len() > CAPACITY {
            self.waiting.truncate(before);
            self.count_dropped();
        }
    }

    fn count_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
        self.dropped_ever = self.dropped_ever.saturating_add(1);
    }
}

impl Sink {
    /// Writes what there is room for; true when everything is out.
    fn write_out(&mut self) -> bool {
        let mut written = 0;
        self.stalled = false;
        while let Some(rest) = self.lines.waiting.get(written..).filter(|rest| !rest.is_empty()) {
            match self.output.put(rest) {
                Put::Taken(count) => written = written.saturating_add(count),
                Put::Lost(count) => {
                    written = written.saturating_add(count);
                    self.lines.count_dropped();
                }
                Put::Later => {
                    self.stalled = true;
                    break;
                }
                Put::Gone => written = self.lines.waiting.len(),
            }
        }
        self.lines.waiting.drain(..written);
        self.pause = match written {
            0 => self.pause.saturating_mul(2).min(LONGEST_PAUSE),
            _ => SHORTEST_PAUSE,
        };
        self.lines.waiting.is_empty()
    }

    /// What has just been taken goes out, if nothing is held back, or too much.
    fn taken(&mut self) {
        if !self.held {
            self.write_last();
        } else if self.lines.waiting.len() > TOO_MANY && !self.stalled {
            self.write_out();
        }
    }

    /// Writes everything, as far as there is room or, once the loop is over, there will be.
    fn write_last(&mut self) {
        while !self.write_out() && !self.patience.is_zero() {
            let began = Instant::now();
            let has_room = self.output.waits_for_room(self.patience);
            let waited = if has_room { began.elapsed() } else { self.patience };
            self.patience = self.patience.saturating_sub(waited);
        }
    }
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> Put {
        match self {
            Self::Stderr(stderr) => stderr.put(bytes),
            Self::Syslog(syslog) => syslog.put(bytes),
            Self::File(file) => file.put(bytes),
        }
    }

    /// True when there is room, false if there has been none for so long, or may never be.
    fn waits_for_room(&self, time: Duration) -> bool {
        match self {
            Self::Stderr(stderr) => stderr.waits_for_room(time),
            Self::Syslog(syslog) => syslog.waits_for_room(time),
            Self::File(_) => false,
        }
    }
}

/// Waits until something can be written to a descriptor.
fn has_room(descriptor: BorrowedFd<'_>, time: Duration) -> bool {
    let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
    becomes_ready(&descriptor, PollFlags::POLLOUT, time).unwrap_or(false)
}

fn sink() -> MutexGuard<'static, Sink> {
    // A poisoned lock means a panic while holding it; the bytes are still good.
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes whole lines of a file that could not be written to.
fn add(lines: &[u8]) {
    let mut sink = sink();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        sink.lines.take(|out, head| prefix::write_whole(out, head, line));
    }
    sink.taken();
}

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

fn open(target: &LogTarget) -> io::Result<(LinePrefix, Output)> {
    Ok(match target {
        LogTarget::Stderr => {
            let head = if under_journal() { LinePrefix::Priority } else { LinePrefix::Stamp };
            (head, Output::Stderr(StderrLog::find_out()))
        }
        LogTarget::Syslog { facility, socket } => {
            // Whoever tells the time of day says what is wrong with the zone.
            let zone = Zone::load(std::env::var_os("TZ").as_deref()).unwrap_or_default();
            let head = LinePrefix::Syslog(SyslogHead::new(*facility, zone));
            (head, Output::Syslog(Syslog::new(socket)))
        }
        LogTarget::File(path) => (LinePrefix::Stamp, Output::File(OwnFile::open(path)?)),
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
    log::max_level() > log::LevelFilter::Off && !matches!(sink().output, Output::Stderr(_))
}

/// Where the log goes if it goes to the system's, or else where that is: the facility, and
/// the socket.
#[must_use]
pub(crate) fn system_log() -> (u8, PathBuf) {
    let sink = sink();
    match (&sink.lines.head, &sink.output) {
        (LinePrefix::Syslog(head), Output::Syslog(syslog)) => {
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
    let Output::File(file) = &mut sink.output else { return };
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
