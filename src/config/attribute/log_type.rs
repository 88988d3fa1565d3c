//! `log_type`: the server's log, or a file with limits on its size, as in xinetd.

use std::path::PathBuf;
use std::rc::Rc;

use super::form::Form;
use super::quantity::{show_size, size};
use super::value::{Problem, Value};
use crate::config::diagnostic::suggest;
use crate::config::model::LogFile;
use crate::config::text::words::{Word, quote};

/// Where lines go.
const KINDS: [&str; 2] = ["SYSLOG", "FILE"];
/// Those of syslog(3).
const FACILITIES: [&str; 20] = [
    "daemon", "auth", "authpriv", "cron", "ftp", "kern", "lpr", "mail", "news", "syslog", "user",
    "uucp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// Those of syslog(3).
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// What HARD is above SOFT where it is not said: a hundredth, within these (xinetd's).
const LEAST_EXTRA: u64 = 5 << 10;
const MOST_EXTRA: u64 = 20 << 10;

pub(super) const LOG_TYPE: Form<Option<Rc<LogFile>>> = Form {
    read: |value, _| log_type(value),
    show: |file| {
        file.as_deref().map(|LogFile { path, soft, hard }| {
            let sizes = [soft, hard].into_iter().flatten();
            let sizes: String = sizes.map(|size| format!(" {}", show_size(*size))).collect();
            format!("FILE {}{sizes}", quote(path.as_os_str()))
        })
    },
};

fn log_type(value: &Value<'_>) -> Result<Option<Rc<LogFile>>, Problem> {
    let Some((kind, rest)) = value.words.split_first() else {
        return Err(Problem::new(value.place, "the value is missing", help(value)));
    };
    if one_of(kind, "value", &KINDS)? == "FILE" {
        return Ok(Some(Rc::new(file(rest, value)?)));
    }
    check_syslog(rest, value).map(|()| None)
}

fn help(value: &Value<'_>) -> String {
    format!("a value is {}", value.form)
}

fn one_of(word: &Word, what: &str, names: &[&'static str]) -> Result<&'static str, Problem> {
    if let Some(name) = names.iter().find(|name| **name == word.text) {
        return Ok(name);
    }
    let help = suggest::one_of(&word.text, names.iter().copied());
    Err(Problem::new(&word.span, format!("unknown {what} `{}`", word.text), help))
}

/// Both words are read so that a mistake shows; the server's log is one either way.
fn check_syslog(words: &[Word], value: &Value<'_>) -> Result<(), Problem> {
    let (facility, level) = match words {
        [facility] => (facility, None),
        [facility, level] => (facility, Some(level)),
        [] => return Err(Problem::new(value.place, "the facility is missing", help(value))),
        [_, _, third, ..] => return Err(too_many(third, value)),
    };
    one_of(facility, "facility", &FACILITIES)?;
    level.map_or(Ok(""), |level| one_of(level, "level", &LEVELS)).map(|_| ())
}

fn too_many(word: &Word, value: &Value<'_>) -> Problem {
    Problem::new(&word.span, "here the value should end", help(value))
}

fn file(words: &[Word], value: &Value<'_>) -> Result<LogFile, Problem> {
    let (path, soft, hard) = match words {
        [path] => (path, None, None),
        [path, soft] => (path, Some(soft), None),
        [path, soft, hard] => (path, Some(soft), Some(hard)),
        [] => return Err(Problem::new(value.place, "the path is missing", help(value))),
        [_, _, _, fourth, ..] => return Err(too_many(fourth, value)),
    };
    let absolute = PathBuf::from(&path.os);
    if !absolute.is_absolute() {
        let message = format!("`{}` is not an absolute path", path.text);
        return Err(Problem::new(&path.span, message, "a path starts with `/`"));
    }
    let soft = soft.map(bytes).transpose()?;
    let written = hard.map(|word| Ok((word, bytes(word)?))).transpose()?;
    if let Some((word, _)) = written.filter(|(_, hard)| Some(*hard) < soft) {
        let message = format!("`{}` is less than the limit before it", word.text);
        let help = "the first size has a warning, from the second on nothing is written";
        return Err(Problem::new(&word.span, message, help));
    }
    let hard = written.map(|(_, hard)| hard).or_else(|| soft.map(hard_for));
    Ok(LogFile { path: absolute, soft, hard })
}

fn bytes(word: &Word) -> Result<u64, Problem> {
    size(&word.text).filter(|size| *size > 0).ok_or_else(|| {
        let message = format!("`{}` is not a size of a file", word.text);
        Problem::new(&word.span, message, "write `500k` or `10M`, or nothing for no limit")
    })
}

/// HARD where only SOFT is said.
fn hard_for(soft: u64) -> u64 {
    soft.saturating_add((soft / 100).clamp(LEAST_EXTRA, MOST_EXTRA))
}

#[cfg(test)]
mod tests {
    use super::hard_for;

    #[test]
    fn the_hard_limit_is_a_little_more() {
        for (soft, hard) in [
            (1, 1 + 5 * 1024),
            (500 * 1024, 505 * 1024),
            (1_000_000, 1_010_000),
            (100 << 20, (100 << 20) + 20 * 1024),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(hard_for(soft), hard, "{soft}");
        }
    }
}
