//! The lines of the server's log that wait, and where they go.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::own_file::OwnFile;
use super::prefix::{self, LinePrefix};
use super::put::Put;
use super::stderr::StderrLog;
use super::syslog::Syslog;
use crate::sys::calendar::unix_time;

/// Bytes that may wait for a slow reader; more are dropped, line by line, and counted.
pub(super) const CAPACITY: usize = 256 * 1024;

/// So many are written in the middle of a turn: what one turn says may be more than there is
/// room for, and a target that takes it gets it all.
const TOO_MANY: usize = CAPACITY / 2;

/// How soon writing is tried again while the reader goes on reading, a little at a time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// The same while it does not; doubled up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

static SINK: Mutex<Sink> = Mutex::new(Sink {
    lines: Lines { waiting: Vec::new(), dropped: 0, dropped_ever: 0, head: LinePrefix::Stamp },
    held: false,
    stalled: false,
    patience: Duration::ZERO,
    pause: SHORTEST_PAUSE,
    trouble: None,
    output: LogOutput::Stderr(StderrLog::Polled),
});

/// The server's log.
pub(super) struct Sink {
    pub(super) lines: Lines,
    /// The loop runs and will flush; until then every line goes out at once.
    pub(super) held: bool,
    /// There was no room when something was last written.
    pub(super) stalled: bool,
    /// How long the reader may still be waited for: not at all while the loop runs.
    pub(super) patience: Duration,
    /// How long what is left waits until it is tried again.
    pub(super) pause: Duration,
    /// Since when nothing gets out, in seconds since 1970, and why.
    pub(super) trouble: Option<(u64, String)>,
    pub(super) output: LogOutput,
}

/// Lines that wait.
pub(super) struct Lines {
    pub(super) waiting: Vec<u8>,
    /// Lines dropped since the last that got through.
    pub(super) dropped: u64,
    /// Lines dropped since the start.
    pub(super) dropped_ever: u64,
    pub(super) head: LinePrefix,
}

/// Where they go.
pub(super) enum LogOutput {
    Stderr(StderrLog),
    Syslog(Syslog),
    File(OwnFile),
}

impl Lines {
    /// Takes a line, if there is room for it.
    pub(super) fn take(&mut self, line: impl FnOnce(&mut Vec<u8>, &mut LinePrefix)) {
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
    pub(super) fn write_out(&mut self) -> bool {
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
        self.note_trouble(written > 0);
        self.lines.waiting.is_empty()
    }

    fn note_trouble(&mut self, went_on: bool) {
        if went_on || !self.stalled {
            self.trouble = None;
        } else if self.trouble.is_none() {
            self.trouble = Some((unix_time(), self.output.why()));
        }
    }

    /// What has just been taken goes out, if nothing is held back, or too much.
    pub(super) fn taken(&mut self) {
        if !self.held {
            self.write_last();
        } else if self.lines.waiting.len() > TOO_MANY && !self.stalled {
            self.write_out();
        }
    }

    /// Writes everything, as far as there is room or, once the loop is over, there will be.
    pub(super) fn write_last(&mut self) {
        while !self.write_out() && !self.patience.is_zero() {
            let began = Instant::now();
            let has_room = self.output.waits_for_room(self.patience);
            let waited = if has_room { began.elapsed() } else { self.patience };
            self.patience = self.patience.saturating_sub(waited);
        }
    }
}

impl LogOutput {
    fn put(&mut self, bytes: &[u8]) -> Put {
        match self {
            Self::Stderr(stderr) => stderr.put(bytes),
            Self::Syslog(syslog) => syslog.put(bytes),
            Self::File(file) => file.put(bytes),
        }
    }

    /// Why it takes nothing, when it does not.
    fn why(&self) -> String {
        match self {
            Self::Stderr(_) => "nobody reads standard error".to_owned(),
            Self::Syslog(syslog) => format!("{}: nobody takes messages", syslog.path().display()),
            Self::File(file) => file.why(),
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

/// The one there is.
pub(super) fn sink() -> MutexGuard<'static, Sink> {
    // A poisoned lock means a panic while holding it; the bytes are still good.
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes whole lines of a file that could not be written to.
pub(super) fn add(lines: &[u8]) {
    let mut sink = sink();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        sink.lines.take(|out, head| prefix::write_whole(out, head, line));
    }
    sink.taken();
}
