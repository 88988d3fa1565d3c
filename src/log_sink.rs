//! Where log lines go: standard error, through a bounded buffer, so that a reader
//! that stalls never stalls the loop.
//!
//! Lines are collected during a turn of the loop and written at its end, which
//! also makes one system call of many. A pipe is asked with poll(2) whether it has
//! room, and given no more than PIPE_BUF bytes at a time, so that the write cannot
//! block without the descriptor (which others may share) being made nonblocking.
//!
//! The lines of a service that has a file of its own go there instead.

mod files;
mod gauge;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use env_logger::fmt::Formatter;
use log::Record;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::calendar::Civil;
use crate::journal;

pub use files::{number_of, use_files};

/// Bytes that may wait for a slow reader; more are dropped, line by line, and counted.
const CAPACITY: usize = 256 * 1024;

/// What fits into a pipe that poll(2) calls writable (PIPE_BUF of Linux).
const PORTION: usize = 4096;

static SINK: Mutex<Sink> = Mutex::new(Sink {
    waiting: Vec::new(),
    dropped: 0,
    dropped_ever: 0,
    held: false,
    may_block: true,
});

struct Sink {
    waiting: Vec<u8>,
    /// Lines dropped since the last that got through.
    dropped: u64,
    /// Lines dropped since the start.
    dropped_ever: u64,
    /// The loop runs and will flush; until then every line goes out at once.
    held: bool,
    /// Not a regular file, for which room need not be asked.
    may_block: bool,
}

/// The end of env_logger's pipe.
struct Pipe;

impl Write for Pipe {
    /// One whole line per call: env_logger writes each record with one write_all.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes whole lines, as far as there is room.
fn add(lines: &[u8]) {
    let mut sink = sink();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if sink.waiting.len().saturating_add(line.len()) > CAPACITY {
            sink.dropped = sink.dropped.saturating_add(1);
            sink.dropped_ever = sink.dropped_ever.saturating_add(1);
        } else {
            sink.waiting.extend_from_slice(line);
        }
    }
    if !sink.held {
        write_out(&mut sink);
    }
}

fn sink() -> MutexGuard<'static, Sink> {
    // A poisoned lock means a panic while holding it; the bytes are still good.
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what there is room for; true when everything is out.
fn write_out(sink: &mut Sink) -> bool {
    let stderr = io::stderr();
    let mut written = 0;
    while let Some(rest) = sink.waiting.get(written..).filter(|rest| !rest.is_empty()) {
        if sink.may_block && !has_room(&stderr) {
            break;
        }
        let portion = rest.get(..PORTION).unwrap_or(rest);
        match nix::unistd::write(&stderr, portion) {
            Ok(count) => written = written.saturating_add(count),
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN) => break,
            // Nobody will ever read it: a log that is gone must not fill up.
            Err(_) => written = sink.waiting.len(),
        }
    }
    sink.waiting.drain(..written);
    sink.waiting.is_empty()
}

fn has_room(descriptor: &impl AsFd) -> bool {
    let mut set = [PollFd::new(descriptor.as_fd(), PollFlags::POLLOUT)];
    poll(&mut set, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Sets up logging: level from `RUST_LOG`, `level` without it.
pub fn start(level: &str) {
    let environment = env_logger::Env::default().default_filter_or(level.to_owned());
    sink().may_block = !stderr_is(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
    let format = if under_journal() { journal_format } else { plain_format::<Formatter> };
    // A second call (tests) keeps the first logger.
    let _ = env_logger::Builder::from_env(environment)
        .format(move |buffer, record| match in_its_file(record) {
            true => Ok(()),
            false => format(buffer, record),
        })
        .target(env_logger::Target::Pipe(Box::new(Pipe)))
        .try_init();
}

fn stderr_is(what: impl Fn(&libc::stat) -> bool) -> bool {
    nix::sys::stat::fstat(io::stderr()).is_ok_and(|stat| what(&stat))
}

/// Whether standard error is the journal's stream (systemd.exec(5)): the variable
/// alone may be inherited from somebody who has redirected it since.
fn under_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    stderr_is(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Whether a line went to the file that it is for, if it is for one.
fn in_its_file(record: &Record<'_>) -> bool {
    let file = journal::file_of(record.target());
    file.is_some_and(|number| files::take(number, |lines| plain_format(lines, record)))
}

/// The journal has its own time: the priority in its place (sd-daemon(3)).
fn journal_format(buffer: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let priority = match record.level() {
        log::Level::Error => 3,
        log::Level::Warn => 4,
        log::Level::Info => 6,
        log::Level::Debug | log::Level::Trace => 7,
    };
    writeln!(buffer, "<{priority}>{}", record.args())
}

/// `2026-11-22T23:05:09.123Z INFO  accepted …`.
fn plain_format<W: Write>(buffer: &mut W, record: &Record<'_>) -> io::Result<()> {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let Civil { year, month, day, hour, minute, second, .. } =
        Civil::from_seconds(i64::try_from(now.as_secs()).unwrap_or_default());
    let millis = now.subsec_millis();
    writeln!(
        buffer,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z {:<5} {}",
        record.level(),
        record.args()
    )
}

/// How many lines were dropped since the start because their reader was too slow.
#[must_use]
pub fn dropped() -> u64 {
    sink().dropped_ever
}

/// From here on lines wait for [`flush`].
pub fn hold() {
    sink().held = true;
}

/// Lines go out at once again.
pub fn let_go() {
    files::flush();
    let mut sink = sink();
    sink.held = false;
    write_out(&mut sink);
}

/// Writes what has been logged since the last call, as far as there is room. False
/// when something is left: to be called again soon.
pub fn flush() -> bool {
    files::flush();
    let mut sink = sink();
    let done = write_out(&mut sink);
    let dropped = if done { std::mem::take(&mut sink.dropped) } else { 0 };
    drop(sink);
    if dropped > 0 {
        journal::lines_dropped(dropped);
        return flush();
    }
    done
}
