//! What is logged of clients: sets of names.

use super::form::Form;
use super::value::{Operator, Problem, Value};
use crate::config::diagnostic::suggest;
use crate::config::model::{LogOnFailure, LogOnSuccess};

pub(super) const ON_SUCCESS: Form<LogOnSuccess> = Form {
    read: |value, before| {
        let mut new = *before;
        let LogOnSuccess { pid, host, exit, duration } = &mut new;
        set([("PID", pid), ("HOST", host), ("EXIT", exit), ("DURATION", duration)], value)?;
        Ok(new)
    },
    show: |LogOnSuccess { pid, host, exit, duration }| {
        show([("PID", pid), ("HOST", host), ("EXIT", exit), ("DURATION", duration)])
    },
};

pub(super) const ON_FAILURE: Form<LogOnFailure> = Form {
    read: |value, before| {
        let mut new = *before;
        let LogOnFailure { host, attempt } = &mut new;
        set([("HOST", host), ("ATTEMPT", attempt)], value)?;
        Ok(new)
    },
    show: |LogOnFailure { host, attempt }| show([("HOST", host), ("ATTEMPT", attempt)]),
};

/// `=` sets exactly the flags that are named, `+=` sets, `-=` clears.
fn set<const N: usize>(
    mut flags: [(&'static str, &mut bool); N],
    value: &Value<'_>,
) -> Result<(), Problem> {
    for word in value.words {
        if flags.iter().all(|(name, _)| *name != word.text) {
            let help = suggest::one_of(&word.text, flags.iter().map(|(name, _)| *name));
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

fn show<const N: usize>(flags: [(&str, &bool); N]) -> Option<String> {
    let written = flags.into_iter().filter(|(_, written)| **written).map(|(name, _)| name);
    Some(written.collect::<Vec<_>>().join(" "))
}
