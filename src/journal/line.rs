//! A line of the log: a word and its fields, borrowed from whoever says them, and
//! written in the one form that the process has.

use std::fmt::{self, Display, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::Level;

use super::escape::{Always, Json, JsonOf, Plain, Quoted};
use crate::address::Address;

/// Whether lines are JSON. Set once, before the first line.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on every line is an object of JSON.
pub fn use_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Whether lines are objects of JSON, or else text.
#[must_use]
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// A value of a line. What is a number in text is one in JSON, and what is `-` or
/// unknown there is null.
pub(super) enum Value<'a> {
    /// A text from anywhere, escaped; in quotes unless it is one plain word.
    Text(&'a [u8]),
    /// A text from anywhere, always in quotes.
    Quote(&'a [u8]),
    /// As [`Value::Text`], of anything that can be displayed.
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

impl Value<'_> {
    /// The value, if it is wanted.
    pub(super) fn when(self, wanted: bool) -> Self {
        if wanted { self } else { Value::Absent }
    }
}

/// Of a text in this program's own encoding.
pub(super) fn text(text: &str) -> Value<'_> {
    Value::Text(text.as_bytes())
}

/// A number of things.
pub(super) fn count(number: usize) -> Value<'static> {
    Value::Count(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A key and its value.
pub(super) type Field<'a> = (&'static str, Value<'a>);

/// Says a line, in the log that the target of its record leads to.
pub(super) fn say(level: Level, target: &str, word: &'static str, fields: &[Field<'_>]) {
    log::log!(target: target, level, "{}", Line { word, fields });
}

/// `word key=value …`, or `"event":"word","key":value,…`, the inside of an object.
struct Line<'a> {
    word: &'static str,
    fields: &'a [Field<'a>],
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_json() { self.json(f) } else { self.text(f) }
    }
}

impl Line<'_> {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)?;
        for (key, value) in self.fields {
            match value {
                Value::Absent => continue,
                Value::Rest(_) => f.write_char(' ')?,
                _ => {
                    f.write_char(' ')?;
                    f.write_str(key)?;
                    f.write_char('=')?;
                }
            }
            value.text(f)?;
        }
        Ok(())
    }

    fn json(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"event\":\"{}\"", self.word)?;
        let fields = self.fields.iter().filter(|(_, value)| !matches!(value, Value::Absent));
        for (key, value) in fields {
            write!(f, ",\"{key}\":")?;
            value.json(f)?;
        }
        Ok(())
    }
}

impl Value<'_> {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(bytes) => Quoted(bytes).fmt(f),
            Value::Quote(bytes) => Always(bytes).fmt(f),
            Value::Shown(value) => Quoted(value.to_string().as_bytes()).fmt(f),
            Value::Word(word) => f.write_str(word),
            Value::Peer(address) => address.fmt(f),
            Value::Number(number) => number.fmt(f),
            Value::Count(number) => number.fmt(f),
            Value::Pid(Some(pid)) => pid.fmt(f),
            Value::Pid(None) => f.write_char('-'),
            Value::Precise(time) => write!(f, "{}.{:03}s", time.as_secs(), time.subsec_millis()),
            Value::Seconds(time) => write!(f, "{}s", time.as_secs()),
            Value::Yes => f.write_str("yes"),
            Value::Unknown => f.write_str("unknown"),
            Value::Rest(rest) => Plain(rest).fmt(f),
            Value::Absent => Ok(()),
        }
    }

    fn json(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(bytes) | Value::Quote(bytes) => Json(bytes).fmt(f),
            Value::Shown(value) => JsonOf(value).fmt(f),
            Value::Word(word) => Json(word.as_bytes()).fmt(f),
            Value::Peer(Address::None) => f.write_str("null"),
            Value::Peer(address) => JsonOf(address).fmt(f),
            Value::Number(number) => number.fmt(f),
            Value::Count(number) => number.fmt(f),
            Value::Pid(Some(pid)) => pid.fmt(f),
            Value::Precise(time) => write!(f, "{}.{:03}", time.as_secs(), time.subsec_millis()),
            Value::Seconds(time) => time.as_secs().fmt(f),
            Value::Yes => f.write_str("true"),
            Value::Rest(rest) => JsonOf(rest).fmt(f),
            Value::Pid(None) | Value::Unknown | Value::Absent => f.write_str("null"),
        }
    }
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
