//! `keepalive`: whether, and at which times, a silent peer is asked if it is still there.

use std::fmt::Display;

use super::form::Form;
use super::quantity::{digits, duration};
use super::value::{Problem, Value};
use crate::config::model::{Keepalive, KeepaliveTimes};
use crate::config::text::words::Word;

/// The longest times, and the most questions, that the system takes (tcp(7)).
const LONGEST: u16 = 32_767;
const MOST: u8 = 127;

const HELP: &str = "write `60s 10s 6`: asked after 60 seconds of silence, then every 10, and \
    given up after 6 questions without an answer";

pub(super) const KEEPALIVE: Form<Keepalive> = Form {
    read: |value, _| keepalive(value),
    show: |keepalive| {
        Some(match keepalive {
            Keepalive::No => "no".to_owned(),
            Keepalive::Yes => "yes".to_owned(),
            Keepalive::Times(KeepaliveTimes { idle, interval, count }) => {
                format!("{idle}s {interval}s {count}")
            }
        })
    },
};

fn keepalive(value: &Value<'_>) -> Result<Keepalive, Problem> {
    Ok(match value.words {
        [idle, interval, count] => Keepalive::Times(KeepaliveTimes {
            idle: seconds(idle)?,
            interval: seconds(interval)?,
            count: questions(count)?,
        }),
        [_, _, _, fourth, ..] => {
            return Err(Problem::new(&fourth.span, "three values are enough", HELP));
        }
        [first, ..] if duration(&first.text).is_some() => {
            return Err(Problem::new(value.place, "three values are needed", HELP));
        }
        _ if value.yes_no().map_err(or_times)? => Keepalive::Yes,
        _ => Keepalive::No,
    })
}

/// What is neither `yes` nor `no` may have been meant as times.
fn or_times(problem: Problem) -> Problem {
    let first = problem.help.unwrap_or_default();
    let join = if first.ends_with('?') { " Or" } else { "; or" };
    Problem { help: Some(format!("{first}{join} {HELP}")), ..problem }
}

/// A whole number of seconds, however it is written.
fn seconds(word: &Word) -> Result<u16, Problem> {
    let wrong =
        |what: &dyn Display| Problem::new(&word.span, format!("`{}` {what}", word.text), HELP);
    let span = duration(&word.text).ok_or_else(|| wrong(&"is not a duration"))?;
    if span.subsec_nanos() != 0 {
        return Err(wrong(&"is not a number of whole seconds"));
    }
    let seconds = u16::try_from(span.as_secs()).ok().filter(|it| (1..=LONGEST).contains(it));
    seconds.ok_or_else(|| wrong(&format_args!("is out of range: 1s to {LONGEST}s")))
}

fn questions(word: &Word) -> Result<u8, Problem> {
    let count = digits(&word.text).and_then(|count| u8::try_from(count).ok());
    count.filter(|it| (1..=MOST).contains(it)).ok_or_else(|| {
        let message = format!("`{}` is not a number from 1 to {MOST}", word.text);
        Problem::new(&word.span, message, HELP)
    })
}
