//! Values of attributes: numbers, sizes, rates, yes and no, each with its own words
//! for what is wrong and what would be right.

use std::path::PathBuf;
use std::time::Duration;

use super::quantity::{digits, duration, is_unlimited, octal, size};
use crate::config::diagnostic::Span;
use crate::config::diagnostic::suggest::{listed, nearest};
use crate::config::model::{Limit, Paths, Rate};
use crate::config::text::words::Word;

/// What is wrong with a value.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Where.
    pub(crate) span: Span,
    /// What.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) help: Option<String>,
}

impl Problem {
    /// A problem with its remedy.
    pub(crate) fn new(span: &Span, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span: span.clone(), message: message.into(), help: Some(help.into()) }
    }
}

/// `=`, `+=` or `-=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// The value replaces what was said before.
    Set,
    /// It is added to it.
    Add,
    /// It is taken away from it.
    Remove,
}

impl Operator {
    /// As it is written.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Set => "=",
            Self::Add => "+=",
            Self::Remove => "-=",
        }
    }
}

/// What stands behind the operator of a setting.
pub(crate) struct Value<'a> {
    /// The operator.
    pub(crate) operator: Operator,
    /// The words.
    pub(crate) words: &'a [Word],
    /// Where the value is, or would be.
    pub(crate) place: &'a Span,
    /// What the table says a value looks like.
    pub(crate) form: &'a str,
}

impl Value<'_> {
    /// What a value looks like, to somebody who wrote another one.
    pub(super) fn help(&self) -> String {
        format!("a value is {}", self.form)
    }

    /// The only word.
    pub(crate) fn word(&self) -> Result<&Word, Problem> {
        match self.words {
            [word] => Ok(word),
            [] => Err(Problem::new(self.place, "the value is missing", self.help())),
            [_, second, ..] => Err(Problem::new(&second.span, "one value is enough", self.help())),
        }
    }

    fn wrong(&self, word: &Word, what: &str) -> Problem {
        Problem::new(&word.span, format!("`{}` is not {what}", word.text), self.help())
    }

    /// A whole number within bounds.
    pub(crate) fn number(&self, least: u32, most: u32) -> Result<u32, Problem> {
        let word = self.word()?;
        match digits(&word.text) {
            Some(number) if (u64::from(least)..=u64::from(most)).contains(&number) => {
                u32::try_from(number).map_err(|_| self.wrong(word, "a number"))
            }
            Some(_) => Err(Problem::new(
                &word.span,
                format!("`{}` is out of range", word.text),
                format!("a value is a number from {least} to {most}"),
            )),
            None => Err(self.wrong(word, "a number")),
        }
    }

    /// A number from 1, or `unlimited`.
    pub(crate) fn limit(&self) -> Result<Limit, Problem> {
        let word = self.word()?;
        if is_unlimited(&word.text) {
            return Ok(None);
        }
        if word.text == "0" {
            return Err(Problem::new(
                &word.span,
                "0 would serve nobody",
                "write `unlimited` for no limit, or `disable = yes` for no service",
            ));
        }
        self.number(1, u32::MAX).map(Some)
    }

    /// `N/second`, `N/minute` or `unlimited`.
    pub(crate) fn rate(&self) -> Result<Option<Rate>, Problem> {
        let word = self.word()?;
        if is_unlimited(&word.text) {
            return Ok(None);
        }
        let Some((count, unit)) = word.text.split_once('/') else {
            let help = match digits(&word.text) {
                Some(count) => format!("write `{count}/second` or `{count}/minute`"),
                None => self.help(),
            };
            let message = format!("`{}` is not a rate", word.text);
            return Err(Problem::new(&word.span, message, help));
        };
        let per = match unit {
            "second" => Duration::from_secs(1),
            "minute" => Duration::from_secs(60),
            _ => {
                let span = word.part(count.len() + 1..word.text.len());
                let message = format!("`{unit}` is not a unit of time here");
                return Err(Problem::new(&span, message, self.help()));
            }
        };
        match digits(count).and_then(|count| u32::try_from(count).ok()) {
            Some(0) => Err(Problem::new(
                &word.span,
                "a rate of 0 would serve nobody",
                "write `unlimited` for no limit, or `disable = yes` for no service",
            )),
            Some(count) => Ok(Some(Rate { count, per })),
            None => Err(self.wrong(word, "a rate")),
        }
    }

    /// `yes` or `no`.
    pub(crate) fn yes_no(&self) -> Result<bool, Problem> {
        self.choice(&[("yes", true), ("no", false)])
    }

    /// One of some names.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Problem> {
        let word = self.word()?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word.text) {
            return Ok(*choice);
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let same = match word.text.to_ascii_lowercase().as_str() {
            "on" | "true" | "1" | "enable" | "enabled" => Some("yes"),
            "off" | "false" | "0" | "disable" | "disabled" => Some("no"),
            _ => None,
        };
        let same = same.or((word.text == "yes").then_some("yes"));
        let has = |wanted: &str| names().any(|name| name == wanted);
        // Who wants it at all wants it of everybody.
        let same = same
            .filter(|it| has(it))
            .or((same == Some("yes") && has("require")).then_some("require"));
        let help = match same.or_else(|| nearest(&word.text, names())) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("there are {}", listed(names())),
        };
        Err(Problem::new(&word.span, format!("unknown value `{}`", word.text), help))
    }

    /// File mode bits in octal.
    pub(crate) fn octal(&self) -> Result<u32, Problem> {
        let word = self.word()?;
        octal(&word.text).ok_or_else(|| self.wrong(word, "an octal mode"))
    }

    /// -20 to 19.
    pub(crate) fn niceness(&self) -> Result<i32, Problem> {
        let word = self.word()?;
        match word.text.parse::<i32>() {
            Ok(number) if (-20..=19).contains(&number) => Ok(number),
            _ => Err(self.wrong(word, "a niceness")),
        }
    }

    /// Bytes with a unit, as far as a socket option goes.
    pub(crate) fn bytes(&self) -> Result<u32, Problem> {
        let word = self.word()?;
        let size = size(&word.text).ok_or_else(|| self.wrong(word, "a size"))?;
        match u32::try_from(size) {
            Ok(bytes) if (1..=0x7fff_ffff).contains(&bytes) => Ok(bytes),
            _ => Err(Problem::new(
                &word.span,
                format!("`{}` is out of range", word.text),
                "a socket buffer has 1 byte to 2 GiB",
            )),
        }
    }

    /// A number with a unit, or `unlimited`.
    pub(crate) fn resource(&self) -> Result<Option<u64>, Problem> {
        let word = self.word()?;
        if is_unlimited(&word.text) {
            return Ok(None);
        }
        match size(&word.text) {
            // The kernel's own sign for "unlimited".
            Some(u64::MAX) | None => Err(self.wrong(word, "a limit")),
            Some(size) => Ok(Some(size)),
        }
    }

    /// A number of seconds that has no unit, or `unlimited`.
    pub(crate) fn seconds(&self) -> Result<Option<u64>, Problem> {
        let word = self.word()?;
        if is_unlimited(&word.text) {
            return Ok(None);
        }
        let plain = digits(&word.text).filter(|seconds| *seconds != u64::MAX);
        plain.map(Some).ok_or_else(|| {
            let help = match duration(&word.text) {
                Some(span) => format!("write `{}`, without a unit", span.as_secs()),
                None => self.help(),
            };
            let message = format!("`{}` is not a number of seconds", word.text);
            Problem::new(&word.span, message, help)
        })
    }

    /// What a list starts from: nothing for `=`.
    pub(super) fn beginning<T: Clone>(&self, before: &[T]) -> Vec<T> {
        if self.operator == Operator::Set { Vec::new() } else { before.to_vec() }
    }

    /// `50%`, or `unlimited`.
    pub(crate) fn percent(&self) -> Result<Limit, Problem> {
        let word = self.word()?;
        if is_unlimited(&word.text) {
            return Ok(None);
        }
        let number = word.text.strip_suffix('%').and_then(digits);
        match number.map(u32::try_from) {
            Some(Ok(percent @ 1..=100_000)) => Ok(Some(percent)),
            Some(_) => {
                let message = format!("`{}` is out of range", word.text);
                Err(Problem::new(&word.span, message, "a value is from `1%` to `100000%`"))
            }
            None => Err(self.wrong(word, "a part of a processor")),
        }
    }

    /// Absolute paths, a `?` before the first, and what was said before.
    pub(super) fn paths(&self, before: &Paths) -> Result<Paths, Problem> {
        let is_new = self.operator == Operator::Set;
        let mut new = if is_new { Paths::default() } else { before.clone() };
        for (index, word) in self.words.iter().enumerate() {
            let marked = (index == 0).then(|| word.text.strip_prefix('?')).flatten();
            new.optional |= marked.is_some();
            let path = match marked {
                Some("") => continue,
                Some(_) => PathBuf::from(word.tail(1)),
                None => PathBuf::from(&word.os),
            };
            if !path.is_absolute() {
                let message = format!("`{}` is not an absolute path", word.text);
                return Err(Problem::new(&word.span, message, "a path starts with `/`"));
            }
            new.list.retain(|known| *known != path);
            if self.operator != Operator::Remove {
                new.list.push(path);
            }
        }
        new.optional &= !new.list.is_empty();
        Ok(new)
    }

    /// A number with a unit of time.
    pub(crate) fn duration(&self) -> Result<Duration, Problem> {
        let word = self.word()?;
        if let Some(span) = duration(&word.text) {
            return Ok(span);
        }
        let help = match digits(&word.text) {
            Some(number) => format!("a unit is missing: `{number}s`, `{number}m`, `{number}h`"),
            None => "write something like `500ms`, `30s`, `5m`, `2h` or `1d`; ten years at most"
                .to_owned(),
        };
        Err(Problem::new(&word.span, format!("`{}` is not a duration", word.text), help))
    }

    /// A load average above 0, or `unlimited`.
    pub(crate) fn load(&self) -> Result<Option<f64>, Problem> {
        let word = self.word()?;
        if is_unlimited(&word.text) {
            return Ok(None);
        }
        let plain = word.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match word.text.parse::<f64>() {
            Ok(load) if plain && load.is_finite() && load > 0.0 => Ok(Some(load)),
            _ => Err(self.wrong(word, "a load average")),
        }
    }

    /// An absolute path.
    pub(crate) fn path(&self) -> Result<PathBuf, Problem> {
        let word = self.word()?;
        let path = PathBuf::from(&word.os);
        if path.is_absolute() {
            return Ok(path);
        }
        let message = format!("`{}` is not an absolute path", word.text);
        Err(Problem::new(&word.span, message, "a path starts with `/`"))
    }
}
