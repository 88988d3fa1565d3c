//! `env` and `passenv`: the two attributes that are lists.

use super::Draft;
use super::value::{Operator, Problem, Value};

/// `env`: names are unique, the last value counts; `-=` takes names.
pub(super) fn set_env(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let mut env = match value.operator {
        Operator::Set => Vec::new(),
        Operator::Add | Operator::Remove => draft.attributes.env.clone(),
    };
    for word in value.words {
        let name = word.text.split_once('=').map(|(name, _)| name);
        if value.operator == Operator::Remove {
            let name = name.unwrap_or(&word.text);
            env.retain(|(known, _)| known != name);
            continue;
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let message = format!("`{}` is not `NAME=VALUE`", word.text);
            let help = "a value with blanks is quoted: NAME='a b'; `passenv` passes a variable on";
            return Err(Problem::new(&word.span, message, help));
        };
        let text = word.tail(name.len() + 1);
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), text));
    }
    draft.attributes.env = env;
    Ok(())
}

/// `passenv`: a set of names.
pub(super) fn set_passenv(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let mut names = match value.operator {
        Operator::Set => Vec::new(),
        Operator::Add | Operator::Remove => draft.attributes.passenv.clone(),
    };
    for word in value.words {
        if word.text.is_empty() || word.text.contains('=') {
            let message = format!("`{}` is not the name of a variable", word.text);
            let help = "`passenv` takes names; `env` takes `NAME=VALUE`";
            return Err(Problem::new(&word.span, message, help));
        }
        names.retain(|known| *known != word.text);
        if value.operator != Operator::Remove {
            names.push(word.text.clone());
        }
    }
    draft.attributes.passenv = names;
    Ok(())
}
