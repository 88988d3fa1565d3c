//! Texts, times and numbers as people read them.

use std::fmt::Write as _;
use std::time::Duration;

use crate::log::visible::is_shown;

/// Nothing that drives a terminal, or makes the text look like another: one line.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if is_shown(character) { character } else { '?' }).collect()
}

/// The same of a text that may have several lines; no other than the first begins a line.
pub fn printable_lines(text: &str) -> String {
    text.trim_end().lines().map(printable).collect::<Vec<_>>().join("\n  ")
}

/// JSON as it is written for people, whose strings may hold anything but ASCII controls.
pub fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if is_shown(character) || character == '\n' {
            out.push(character);
        } else {
            // All else but strings is ASCII, so this is in one.
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units).iter();
            units.for_each(|unit| _ = write!(out, "\\u{unit:04x}"));
        }
    }
    out
}

/// `45s`, `3m 20s`, `2h 5m`, `3d 4h`.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// `1 program`, `2 programs`.
pub fn counted(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
