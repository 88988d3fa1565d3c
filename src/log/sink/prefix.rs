//! Records as bytes: what stands before a line in each kind of log, and the line.
//!
//! A log that knows the time of each message itself gets none in the line.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{Level, Record};

use crate::log::digits::push_millis;
use crate::log::events::{self, Message};
use crate::sys::calendar::Civil;
use crate::sys::zone::Zone;

/// What stands before a line.
pub(super) enum LinePrefix {
    /// The time and the level.
    Stamp,
    /// The priority, as the journal reads it (sd-daemon(3)).
    Priority,
    /// What syslog(3) sends (RFC 3164).
    Syslog(SyslogHead),
}

/// `<30>Nov 22 23:05:09 oxinetd[4711]: `.
pub(super) struct SyslogHead {
    facility: u8,
    /// `oxinetd[4711]: `.
    tag: String,
    zone: Zone,
    /// The second that was last written, and as what.
    last: (i64, String),
}

impl SyslogHead {
    /// For this process; `facility` is its number.
    pub(super) fn new(facility: u8, zone: Zone) -> Self {
        let tag = format!("oxinetd[{}]: ", std::process::id());
        Self { facility, tag, zone, last: (i64::MIN, String::new()) }
    }

    pub(super) fn facility(&self) -> u8 {
        self.facility
    }

    fn write(&mut self, out: &mut Vec<u8>, severity: u8) {
        let now = i64::try_from(now().as_secs()).unwrap_or_default();
        if self.last.0 != now {
            // As ctime(3) has it, without the weekday and the year.
            let text = self.zone.clock(now).local().to_string();
            self.last = (now, text.get(4..19).unwrap_or_default().to_owned());
        }
        let priority = u32::from(self.facility) * 8 + u32::from(severity);
        // Writing to memory does not fail.
        let _ = write!(out, "<{priority}>{} {}", self.last.1, self.tag);
    }
}

/// Adds a record as a whole line.
pub(super) fn write(out: &mut Vec<u8>, head: &mut LinePrefix, record: &Record<'_>) {
    let (severity, text, json) = names(record.level());
    match head {
        LinePrefix::Stamp => {}
        LinePrefix::Priority => {
            let _ = write!(out, "<{severity}>");
        }
        LinePrefix::Syslog(head) => head.write(out, severity),
    }
    let stamped = matches!(head, LinePrefix::Stamp);
    if events::is_json() {
        out.push(b'{');
        if stamped {
            out.extend_from_slice(b"\"timestamp\":\"");
            stamp(out);
            out.extend_from_slice(b"\",");
        }
        let _ = write!(out, "\"level\":\"{json}\",");
        let _ = match events::is_ours(record.target()) {
            true => write!(out, "{}", record.args()),
            false => write!(out, "{}", Message(record.args())),
        };
        out.push(b'}');
    } else if stamped {
        stamp(out);
        out.push(b' ');
        out.extend_from_slice(text.as_bytes());
        out.push(b' ');
        let _ = write!(out, "{}", record.args());
    } else if events::is_ours(record.target()) {
        let _ = write!(out, "{}", record.args());
    } else {
        // A line of its own must not become two messages.
        let _ = write!(out, "{}", events::Plain(&record.args().to_string()));
    }
    out.push(b'\n');
}

/// Adds a line that is whole already, but for what this log has before each.
pub(super) fn write_whole(out: &mut Vec<u8>, head: &mut LinePrefix, line: &[u8]) {
    if let LinePrefix::Syslog(head) = head {
        head.write(out, names(Level::Info).0);
    }
    out.extend_from_slice(line);
}

/// The severity of syslog(3), the name in text, of one width, and that in JSON.
fn names(level: Level) -> (u8, &'static str, &'static str) {
    match level {
        Level::Error => (3, "ERROR", "error"),
        Level::Warn => (4, "WARN ", "warn"),
        Level::Info => (6, "INFO ", "info"),
        Level::Debug => (7, "DEBUG", "debug"),
        Level::Trace => (7, "TRACE", "trace"),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

thread_local! {
    /// The second that was last written, and as what: many lines have the same one.
    static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// `2026-11-22T23:05:09.123Z`.
fn stamp(out: &mut Vec<u8>) {
    let now = now();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            (*second, *text) = (now.as_secs(), second_of(now.as_secs()) + ".");
        }
        // Kept with a dot at its end, and after it the milliseconds.
        let whole = text.len();
        push_millis(text, now.subsec_millis());
        text.push('Z');
        out.extend_from_slice(text.as_bytes());
        text.truncate(whole);
    });
}

/// `2026-11-22T23:05:09`.
fn second_of(seconds: u64) -> String {
    Civil::from_seconds(i64::try_from(seconds).unwrap_or_default()).stamp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(head: &mut LinePrefix, target: &str, text: &str) -> String {
        let mut out = Vec::new();
        let mut builder = Record::builder();
        builder.level(Level::Warn).target(target);
        write(&mut out, head, &builder.args(format_args!("{text}")).build());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_log_has_its_head() {
        let ours = "oxinetd::journal";
        let line = record(&mut LinePrefix::Stamp, ours, "word key=1");
        assert!(line.starts_with("20") && line.ends_with("Z WARN  word key=1\n"), "{line}");
        assert_eq!(line.find('Z'), Some(23));
        assert_eq!(record(&mut LinePrefix::Priority, ours, "word"), "<4>word\n");
        let mut head = LinePrefix::Syslog(SyslogHead::new(16, Zone::utc()));
        let line = record(&mut head, ours, "word");
        let tag = format!(" oxinetd[{}]: word\n", std::process::id());
        assert!(line.starts_with("<132>") && line.ends_with(&tag), "{line}");
        assert_eq!(line.len(), "<132>Nov 22 23:05:09".len() + tag.len());
    }

    #[test]
    fn a_message_of_another_module_is_one_line_where_lines_are_messages() {
        assert_eq!(record(&mut LinePrefix::Priority, "mio", "a\nb"), "<4>a\\x0ab\n");
    }

    #[test]
    fn seconds_are_civil() {
        assert_eq!(second_of(1_795_388_709), "2026-11-22T23:05:09");
    }
}
