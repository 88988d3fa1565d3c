//! How the values of one type are written: read from words, and shown again. A line of the table
//! names a field of the model and the form that it has.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::definition::Shown;
use super::quantity::{is_unlimited, show_duration, show_size};
use super::value::{Problem, Value};
use crate::config::model::{Attributes, Limit, Paths, Rate};
use crate::config::text::words::quote;

/// A way to write values.
pub(super) struct Form<T> {
    /// The value that words mean, where it was another one before.
    pub(super) read: fn(&Value<'_>, &T) -> Result<T, Problem>,
    /// As it is written; none where that cannot be.
    pub(super) show: fn(&T) -> Option<String>,
}

impl<T: PartialEq> Form<T> {
    /// The value of a field, where it is not the default.
    pub(super) fn print(&self, shown: &Shown<'_>, field: fn(&Attributes) -> &T) -> Option<String> {
        let value = field(&shown.service.attributes);
        if value == field(&shown.defaults) { None } else { (self.show)(value) }
    }
}

/// A number of something, or `unlimited`.
fn or_unlimited<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> Option<String> {
    Some(value.map_or("unlimited".to_owned(), show))
}

/// What there is nothing to be said of where it is none.
fn quoted(path: &Option<PathBuf>) -> Option<String> {
    path.as_ref().map(|path| quote(path.as_os_str()))
}

/// Words with blanks between them.
fn joined(words: impl Iterator<Item = String>) -> Option<String> {
    Some(words.collect::<Vec<_>>().join(" "))
}

pub(super) const YES_NO: Form<bool> = Form {
    read: |value, _| value.yes_no(),
    show: |yes| Some(if *yes { "yes" } else { "no" }.to_owned()),
};

pub(super) const LIMIT: Form<Limit> = Form {
    read: |value, _| value.limit(),
    show: |limit| or_unlimited(*limit, |limit| limit.to_string()),
};

pub(super) const PERCENT: Form<Limit> = Form {
    read: |value, _| value.percent(),
    show: |limit| or_unlimited(*limit, |limit| format!("{limit}%")),
};

pub(super) const LOAD: Form<Option<f64>> = Form {
    read: |value, _| value.load(),
    show: |load| or_unlimited(*load, |load| load.to_string()),
};

pub(super) const SIZE: Form<Option<u64>> =
    Form { read: |value, _| value.resource(), show: |size| or_unlimited(*size, show_size) };

pub(super) const BUFFER: Form<Option<u32>> = Form {
    read: |value, _| value.bytes().map(Some),
    show: |size| size.map(|size| show_size(size.into())),
};

pub(super) const BACKLOG: Form<Option<u32>> = Form {
    read: |value, _| value.number(1, 0x7fff_ffff).map(Some),
    show: |number| number.map(|number| number.to_string()),
};

pub(super) const NICENESS: Form<i32> =
    Form { read: |value, _| value.niceness(), show: |number| Some(number.to_string()) };

pub(super) const UMASK: Form<Option<u32>> = Form {
    read: |value, _| value.octal().map(Some),
    show: |mask| mask.map(|mask| format!("{mask:03o}")),
};

pub(super) const MODE: Form<u32> =
    Form { read: |value, _| value.octal(), show: |mode| Some(format!("{mode:04o}")) };

pub(super) const RATE: Form<Option<Rate>> = Form {
    read: |value, _| value.rate(),
    show: |rate| {
        or_unlimited(*rate, |Rate { count, per }| {
            let unit = if per == Duration::from_secs(1) { "second" } else { "minute" };
            format!("{count}/{unit}")
        })
    },
};

pub(super) const DURATION: Form<Duration> =
    Form { read: |value, _| value.duration(), show: |span| Some(show_duration(*span)) };

pub(super) const PATIENCE: Form<Duration> = Form {
    read: |value, _| {
        let help = "write something like `3s`";
        let none = |time: &Duration| !time.is_zero();
        let wrong = || Problem::new(value.place, "nothing comes in no time", help);
        Some(value.duration()?).filter(none).ok_or_else(wrong)
    },
    show: |span| Some(show_duration(*span)),
};

pub(super) const RUNTIME: Form<Option<Duration>> = Form {
    read: |value, _| time_limit(value, "no program can run for no time"),
    show: |time| or_unlimited(*time, show_duration),
};

pub(super) const SILENCE: Form<Option<Duration>> = Form {
    read: |value, _| time_limit(value, "every connection is idle for no time"),
    show: |time| or_unlimited(*time, show_duration),
};

/// A time that is longer than none, or `unlimited`.
fn time_limit(value: &Value<'_>, none: &str) -> Result<Option<Duration>, Problem> {
    if matches!(value.words, [word] if is_unlimited(&word.text)) {
        return Ok(None);
    }
    let time = value.duration()?;
    if time.is_zero() {
        let help = "write `unlimited` for no limit, or `disable = yes` for no service";
        return Err(Problem::new(value.place, none, help));
    }
    Ok(Some(time))
}

pub(super) const PATH: Form<Option<PathBuf>> =
    Form { read: |value, _| value.path().map(Some), show: quoted };

/// Paths, after a `?` if need be.
pub(super) const PATHS: Form<Paths> = Form {
    read: |value, before| value.paths(before),
    show: |paths| {
        let mark = paths.optional.then(|| "?".to_owned());
        joined(mark.into_iter().chain(paths.list.iter().map(|path| quote(path.as_os_str()))))
    },
};

pub(super) const ENV: Form<Vec<(String, OsString)>> = Form {
    read: |value, before| value.env(before),
    show: |env| {
        joined(env.iter().map(|(name, value)| {
            let mut word = OsString::from(name);
            word.push("=");
            word.push(value);
            quote(&word)
        }))
    },
};

pub(super) const PASSENV: Form<Vec<String>> = Form {
    read: |value, before| value.names_of_variables(before),
    show: |names| joined(names.iter().map(|name| quote(name.as_ref()))),
};
