//! The capabilities of capabilities(7) by name and number.

use super::form::Form;
use super::value::{Operator, Problem, Value};
use crate::config::diagnostic::suggest::nearest;
use crate::config::model::ALL_CAPABILITIES;
use crate::config::text::words::Word;

/// Their names without `CAP_`, in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// All that have a name here. A kernel may have newer ones: those are kept by
/// [`ALL_CAPABILITIES`] only.
const NAMED: u64 = (1 << NAMES.len()) - 1;

/// Names, or `all` or `none` alone.
pub(super) const CAPABILITIES: Form<u64> = Form {
    read: |value, before| capabilities(value, *before),
    show: |kept| {
        let names: Vec<String> = names(*kept).collect();
        Some(if names.is_empty() { "none".to_owned() } else { names.join(" ") })
    },
};

fn capabilities(value: &Value<'_>, before: u64) -> Result<u64, Problem> {
    let is_set = value.operator == Operator::Set;
    let only = value.words.first().filter(|_| value.words.len() == 1 && is_set);
    match only.map(|word| word.text.to_ascii_lowercase()).as_deref() {
        Some("all") => return Ok(ALL_CAPABILITIES),
        Some("none") => return Ok(0),
        _ => {}
    }
    let written = written(value)?;
    Ok(match value.operator {
        Operator::Set => written,
        // `all` has those already that have no name.
        Operator::Add if before == ALL_CAPABILITIES => ALL_CAPABILITIES,
        Operator::Add => named(before) | written,
        Operator::Remove => named(before) & !written,
    })
}

/// Names, at least one, as a set of bits.
fn written(value: &Value<'_>) -> Result<u64, Problem> {
    if value.words.is_empty() {
        return Err(Problem::new(value.place, "the value is missing", value.help()));
    }
    value
        .words
        .iter()
        .try_fold(0, |set, word| Ok(set | bit(&word.text).ok_or_else(|| unknown(word))?))
}

/// What is wrong with a word that is no name.
fn unknown(word: &Word) -> Problem {
    if matches!(word.text.to_ascii_lowercase().as_str(), "all" | "none") {
        let message = format!("`{}` stands alone", word.text);
        return Problem::new(&word.span, message, "write `=` and that one word, or names only");
    }
    let names: Vec<String> = names(u64::MAX).collect();
    let upper = word.text.to_ascii_uppercase();
    let whole = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    let help = match meant(&whole, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "capabilities(7) has their names; `none` is no capability".to_owned(),
    };
    Problem::new(&word.span, format!("there is no capability `{}`", word.text), help)
}

/// The one that was meant, of whose name the end may be missing: `CAP_NET_BND`.
fn meant<'a>(written: &str, names: &'a [String]) -> Option<&'a str> {
    let parts = written.split('_').count();
    let beginning = |name: &'a String| {
        let end = name.match_indices('_').nth(parts.saturating_sub(1)).map(|(at, _)| at);
        name.get(..end.unwrap_or(name.len())).unwrap_or(name)
    };
    let near = nearest(written, names.iter().map(beginning))?;
    names.iter().find(|name| beginning(name) == near).map(String::as_str)
}

/// The bit of a name, with or without `CAP_`, in any case.
fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).map(|number| 1 << number)
}

/// A set without what has no name.
fn named(set: u64) -> u64 {
    set & NAMED
}

/// The names of a set, with `CAP_`.
fn names(set: u64) -> impl Iterator<Item = String> {
    let kept = move |(number, _): &(usize, &&str)| set & (1 << number) != 0;
    NAMES.iter().enumerate().filter(kept).map(|(_, name)| format!("CAP_{name}"))
}

#[cfg(test)]
mod tests {
    use super::{NAMED, bit, named, names};

    #[test]
    fn names_have_the_numbers_of_the_kernel() {
        for (name, number) in
            [("CAP_CHOWN", 0), ("net_bind_service", 10), ("Cap_Sys_Admin", 21), ("bpf", 39)]
        {
            assert_eq!(bit(name), Some(1 << number), "{name}");
        }
        assert_eq!(bit("CAP_"), None);
        assert_eq!(bit("CAP_EVERYTHING"), None);
    }

    #[test]
    fn a_set_is_its_names() {
        let back = names(NAMED).filter_map(|name| bit(&name)).fold(0, |set, bit| set | bit);
        assert_eq!(back, NAMED);
        assert_eq!(named(u64::MAX), NAMED);
        assert_eq!(names(0).count(), 0);
    }
}
