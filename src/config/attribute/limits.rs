//! When clients are served, and how many of them in a second.

use std::time::Duration;

use super::form::Form;
use super::quantity::{digits, is_unlimited};
use super::value::{Problem, Value};
use crate::config::model::{AccessTimes, Cps};
use crate::config::text::words::Word;

/// Rest of `cps` where none is said, as in xinetd.
const REST: Duration = Duration::from_secs(10);

const HELP: &str = "write `cps = 100 10`: over 100 connections a second, rest 10 seconds";

pub(super) const TIMES: Form<Option<AccessTimes>> = Form {
    read: |value, _| access_times(value).map(Some),
    show: |times| times.as_ref().map(ToString::to_string),
};

fn access_times(value: &Value<'_>) -> Result<AccessTimes, Problem> {
    let split = |word: &Word| word.text.starts_with('-') || word.text.ends_with('-');
    if value.words.len() > 1 && value.words.iter().any(split) {
        let help = "write `8:00-18:00`";
        return Err(Problem::new(value.place, "a span of times has no blanks in it", help));
    }
    for word in value.words {
        let help = "write spans of local time: `8:00-18:00 22:00-6:00`";
        AccessTimes::parse(&word.text)
            .map_err(|message| Problem::new(&word.span, message, help))?;
    }
    let texts: Vec<&str> = value.words.iter().map(|word| word.text.as_str()).collect();
    AccessTimes::parse(&texts.join(" ")).map_err(|message| {
        Problem::new(value.place, message, "write `0:00-24:00` for the whole day")
    })
}

/// `N`, `N SECONDS` or `unlimited`.
pub(super) const CPS: Form<Option<Cps>> = Form {
    read: |value, _| cps(value),
    show: |cps| cps.map(|Cps { count, rest }| format!("{count} {}", rest.as_secs())),
};

fn cps(value: &Value<'_>) -> Result<Option<Cps>, Problem> {
    let (count, rest) = match value.words {
        [word] if is_unlimited(&word.text) => return Ok(None),
        [count, rest] => (count, Some(rest)),
        [_, _, third, ..] => {
            return Err(Problem::new(&third.span, "two values are enough", HELP));
        }
        _ => (value.word()?, None),
    };
    let number = |word: &Word, most: u32| {
        digits(&word.text)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| {
                let message = format!("`{}` is not a number from 1 to {most}", word.text);
                Problem::new(&word.span, message, HELP)
            })
    };
    let count = number(count, u32::MAX)?;
    let rest = rest.map(|rest| number(rest, 86_400)).transpose()?;
    let rest = rest.map_or(REST, |seconds| Duration::from_secs(seconds.into()));
    Ok(Some(Cps { count, rest }))
}
