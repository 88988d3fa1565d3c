//! A line of the log: a word and its fields, borrowed from whoever says them, and
//! written in the one form that the process has.

use std::cell::Cell;
use std::fmt::{self, Display, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::Level;

use super::digits::{push_millis, push_number, push_signed, push_socket_address};
use super::escape::{Json, JsonOf, Plain, push_always_quoted, push_quoted};
use crate::net::address::Address;

/// Whether lines are JSON. Set once, before the first line.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on every line is an object of JSON.
pub fn use_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Whether lines are objects of JSON, or else text.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// A value of a line. What is a number in text is one in JSON, and what is `-` or
/// unknown there is null.
pub(crate) enum LogValue<'a> {
    /// A text from anywhere, escaped; in quotes unless it is one plain word.
    Text(&'a [u8]),
    /// A text from anywhere, always in quotes.
    Quote(&'a [u8]),
    /// As [`LogValue::Text`], of anything that can be displayed.
    Shown(&'a dyn Display),
    /// A text of our own, written as it is.
    Word(&'a str),
    /// Whose connection it is.
    Peer(Address),
    /// A number.
    Number(i64),
    /// How many.
    Count(u64),
    /// A process; none when it is ourselves.
    Pid(Option<i64>),
    /// Seconds with milliseconds, `0.012s`.
    Precise(Duration),
    /// Seconds, `1s`.
    Seconds(Duration),
    /// It is so: `yes`.
    Yes,
    /// Nobody knows.
    Unknown,
    /// A text that ends the line, without its key.
    Rest(&'a str),
    /// No field at all.
    Absent,
}

impl LogValue<'_> {
    /// The value, if it is wanted.
    pub(crate) fn when(self, wanted: bool) -> Self {
        if wanted { self } else { LogValue::Absent }
    }
}

/// Of a text in this program's own encoding.
pub(crate) fn text(text: &str) -> LogValue<'_> {
    LogValue::Text(text.as_bytes())
}

/// Of the name of a file, as the system has it.
pub(super) fn path(path: &Path) -> LogValue<'_> {
    LogValue::Text(path.as_os_str().as_encoded_bytes())
}

/// A number of things.
pub(crate) fn count(number: usize) -> LogValue<'static> {
    LogValue::Count(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A key and its value.
pub(crate) type Field<'a> = (&'static str, LogValue<'a>);

thread_local! {
    /// The line that was said last: its memory serves the next.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

/// What is kept of a line's memory.
const KEPT: usize = 4096;

/// Says a line, in the log that the target of its record leads to.
pub(crate) fn say(level: Level, target: &str, word: &'static str, fields: &[Field<'_>]) {
    if level > log::max_level() {
        return;
    }
    // Taken away meanwhile: writing a line may make another one be said.
    let mut line = LINE.take();
    line.clear();
    LogLine { word, fields }.write(&mut line);
    log::log!(target: target, level, "{line}");
    if line.capacity() <= KEPT {
        LINE.set(line);
    }
}

/// `word key=value …`, or `"event":"word","key":value,…`, the inside of an object.
struct LogLine<'a> {
    word: &'static str,
    fields: &'a [Field<'a>],
}

// Writing to memory does not fail.
impl LogLine<'_> {
    fn write(&self, out: &mut String) {
        if is_json() { self.json(out) } else { self.text(out) }
    }

    fn text(&self, out: &mut String) {
        out.push_str(self.word);
        for (key, value) in self.fields {
            match value {
                LogValue::Absent => continue,
                LogValue::Rest(_) => out.push(' '),
                _ => {
                    out.push(' ');
                    out.push_str(key);
                    out.push('=');
                }
            }
            value.text(out);
        }
    }

    fn json(&self, out: &mut String) {
        let _ = write!(out, "\"event\":\"{}\"", self.word);
        let fields = self.fields.iter().filter(|(_, value)| !matches!(value, LogValue::Absent));
        for (key, value) in fields {
            let _ = write!(out, ",\"{key}\":");
            value.json(out);
        }
    }
}

impl LogValue<'_> {
    fn text(&self, out: &mut String) {
        match self {
            LogValue::Text(bytes) => push_quoted(out, bytes),
            LogValue::Quote(bytes) => push_always_quoted(out, bytes),
            LogValue::Shown(value) => push_quoted(out, value.to_string().as_bytes()),
            LogValue::Word(word) => out.push_str(word),
            LogValue::Peer(Address::Inet(address)) => push_socket_address(out, address),
            LogValue::Peer(address) => _ = write!(out, "{address}"),
            LogValue::Number(number) | LogValue::Pid(Some(number)) => push_signed(out, *number),
            LogValue::Count(number) => push_number(out, *number),
            LogValue::Pid(None) => out.push('-'),
            LogValue::Precise(time) => {
                push_precise(out, *time);
                out.push('s');
            }
            LogValue::Seconds(time) => {
                push_number(out, time.as_secs());
                out.push('s');
            }
            LogValue::Yes => out.push_str("yes"),
            LogValue::Unknown => out.push_str("unknown"),
            LogValue::Rest(rest) => _ = write!(out, "{}", Plain(rest)),
            LogValue::Absent => {}
        }
    }

    fn json(&self, out: &mut String) {
        match self {
            LogValue::Text(bytes) | LogValue::Quote(bytes) => _ = write!(out, "{}", Json(bytes)),
            LogValue::Shown(value) => _ = write!(out, "{}", JsonOf(value)),
            LogValue::Word(word) => _ = write!(out, "{}", Json(word.as_bytes())),
            LogValue::Peer(Address::None) => out.push_str("null"),
            LogValue::Peer(address) => _ = write!(out, "{}", JsonOf(address)),
            LogValue::Number(number) | LogValue::Pid(Some(number)) => push_signed(out, *number),
            LogValue::Count(number) => push_number(out, *number),
            LogValue::Precise(time) => push_precise(out, *time),
            LogValue::Seconds(time) => push_number(out, time.as_secs()),
            LogValue::Yes => out.push_str("true"),
            LogValue::Rest(rest) => _ = write!(out, "{}", JsonOf(rest)),
            LogValue::Pid(None) | LogValue::Unknown | LogValue::Absent => out.push_str("null"),
        }
    }
}

/// `0.012`.
fn push_precise(out: &mut String, time: Duration) {
    push_number(out, time.as_secs());
    out.push('.');
    push_millis(out, time.subsec_millis());
}

/// Text that is no line of the vocabulary, as the inside of an object.
pub struct Message<'a>(pub &'a dyn Display);

impl Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"event\":\"message\",\"message\":{}", JsonOf(self.0))
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
