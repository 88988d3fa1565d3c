//! Setters and printers of who may connect, how long, and what is said.

use std::collections::BTreeSet;
use std::time::Duration;

use super::quantity::{digits, is_unlimited, show_duration};
use super::value::{Operator, Problem, Value};
use super::{Draft, Shown};
use crate::config::diagnostic::suggest::{listed, nearest};
use crate::config::model::{
    AccessTimes, Attributes, Banner, Cps, LogOnFailure, LogOnSuccess, Prefix,
};
use crate::config::text::words::quote;
use crate::net::vsock;

/// Rest of `cps` where none is said, as in xinetd.
const REST: Duration = Duration::from_secs(10);

pub(super) fn set_only_from(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    draft.said.change_only_from(value)
}

pub(super) fn set_no_access(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    draft.said.change_no_access(value)
}

pub(super) fn only_from(shown: &Shown<'_>) -> Option<String> {
    let attributes = &shown.service.attributes;
    attributes.only_from.as_deref().map(|list| items(list, &attributes.machines.0))
}

pub(super) fn no_access(shown: &Shown<'_>) -> Option<String> {
    let (list, machines) =
        (&shown.service.attributes.no_access, &shown.service.attributes.machines.1);
    (!list.is_empty() || !machines.is_empty()).then(|| items(list, machines))
}

fn items(list: &[Prefix], machines: &BTreeSet<u32>) -> String {
    let machines = machines.iter().map(|cid| format!("{}{cid}", vsock::PREFIX));
    list.iter().map(ToString::to_string).chain(machines).collect::<Vec<_>>().join(" ")
}

pub(super) fn set_access_times(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    for word in value.words {
        let help = "write spans of local time: `8:00-18:00 22:00-6:00`";
        AccessTimes::parse(&word.text)
            .map_err(|message| Problem::new(&word.span, message, help))?;
    }
    let texts: Vec<&str> = value.words.iter().map(|word| word.text.as_str()).collect();
    let times = AccessTimes::parse(&texts.join(" ")).map_err(|message| {
        Problem::new(value.place, message, "write `0:00-24:00` for the whole day")
    })?;
    draft.attributes.access_times = Some(times);
    Ok(())
}

pub(super) fn access_times(shown: &Shown<'_>) -> Option<String> {
    shown.service.attributes.access_times.as_ref().map(ToString::to_string)
}

/// `N`, `N SECONDS` or `unlimited`.
pub(super) fn set_cps(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let (count, rest) = match value.words {
        [word] if is_unlimited(&word.text) => {
            draft.attributes.cps = None;
            return Ok(());
        }
        [count, rest] => (count, Some(rest)),
        [_, _, third, ..] => {
            let help = "write `cps = 100 10`: over 100 connections a second, rest 10 seconds";
            return Err(Problem::new(&third.span, "two values are enough", help));
        }
        _ => (value.word()?, None),
    };
    let number = |word: &crate::config::text::words::Word, most: u32| {
        digits(&word.text)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| {
                let message = format!("`{}` is not a number from 1 to {most}", word.text);
                let help = "write `cps = 100 10`: over 100 connections a second, rest 10 seconds";
                Problem::new(&word.span, message, help)
            })
    };
    let count = number(count, u32::MAX)?;
    let rest = rest.map(|rest| number(rest, 86_400)).transpose()?;
    let rest = rest.map_or(REST, |seconds| Duration::from_secs(seconds.into()));
    draft.attributes.cps = Some(Cps { count, rest });
    Ok(())
}

pub(super) fn cps(shown: &Shown<'_>) -> Option<String> {
    let Cps { count, rest } = shown.service.attributes.cps?;
    Some(format!("{count} {}", rest.as_secs()))
}

pub(super) fn max_load(shown: &Shown<'_>) -> Option<String> {
    shown.service.attributes.max_load.map(|load| load.to_string())
}

pub(super) fn set_timeout(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    draft.attributes.timeout = some_time(value, "no program can run for no time")?;
    Ok(())
}

pub(super) fn set_idle_timeout(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    draft.attributes.idle_timeout = some_time(value, "every connection is idle for no time")?;
    Ok(())
}

/// A time that is longer than none, or `unlimited`.
fn some_time(value: &Value<'_>, none: &str) -> Result<Option<Duration>, Problem> {
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

pub(super) fn timeout(shown: &Shown<'_>) -> Option<String> {
    shown.service.attributes.timeout.map(show_duration)
}

pub(super) fn idle_timeout(shown: &Shown<'_>) -> Option<String> {
    shown.service.attributes.idle_timeout.map(show_duration)
}

pub(super) fn kill_after(shown: &Shown<'_>) -> Option<String> {
    let after = shown.service.attributes.kill_after;
    (after != Attributes::default().kill_after).then(|| show_duration(after))
}

pub(super) fn banner(shown: &Shown<'_>, get: fn(&Attributes) -> Option<&Banner>) -> Option<String> {
    get(&shown.service.attributes).map(|banner| quote(banner.path.as_os_str()))
}

/// Names of things to log, each with the flag that it is.
type Flags<'a, const N: usize> = [(&'static str, &'a mut bool); N];

/// `=` sets exactly the flags that are named, `+=` sets, `-=` clears.
fn set_flags<const N: usize>(mut flags: Flags<'_, N>, value: &Value<'_>) -> Result<(), Problem> {
    for word in value.words {
        if flags.iter().all(|(name, _)| *name != word.text) {
            let names = || flags.iter().map(|(name, _)| *name);
            let help = match nearest(&word.text.to_ascii_uppercase(), names()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("there are {}", listed(names())),
            };
            return Err(Problem::new(&word.span, format!("unknown value `{}`", word.text), help));
        }
    }
    for (name, flag) in &mut flags {
        let named = value.words.iter().any(|word| word.text == *name);
        match value.operator {
            Operator::Set => **flag = named,
            Operator::Add => **flag |= named,
            Operator::Remove => **flag &= !named,
        }
    }
    Ok(())
}

fn shown_flags<const N: usize>(flags: [(&str, bool); N]) -> Option<String> {
    let said: Vec<&str> =
        flags.into_iter().filter(|(_, said)| *said).map(|(name, _)| name).collect();
    (said.len() < N).then(|| said.join(" "))
}

pub(super) fn set_log_on_success(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let LogOnSuccess { pid, host, exit, duration } = &mut draft.attributes.log_on_success;
    set_flags([("PID", pid), ("HOST", host), ("EXIT", exit), ("DURATION", duration)], value)
}

pub(super) fn log_on_success(shown: &Shown<'_>) -> Option<String> {
    let LogOnSuccess { pid, host, exit, duration } = shown.service.attributes.log_on_success;
    shown_flags([("PID", pid), ("HOST", host), ("EXIT", exit), ("DURATION", duration)])
}

pub(super) fn set_log_on_failure(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let LogOnFailure { host, attempt } = &mut draft.attributes.log_on_failure;
    set_flags([("HOST", host), ("ATTEMPT", attempt)], value)
}

pub(super) fn log_on_failure(shown: &Shown<'_>) -> Option<String> {
    let LogOnFailure { host, attempt } = shown.service.attributes.log_on_failure;
    shown_flags([("HOST", host), ("ATTEMPT", attempt)])
}
