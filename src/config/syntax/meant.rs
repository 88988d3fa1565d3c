//! Words where an attribute could stand that are none as they are written, and what somebody
//! meant: a sign is missing, a letter is wrong, another server calls it so, or it is an option of
//! `oxinetd run`. What was to narrow something must not be passed over.

use std::net::IpAddr;

use super::alignment::{is_short_field, is_type, is_wait};
use super::line::warn_of_comment;
use crate::config::attribute::value::{Operator, Value};
use crate::config::attribute::{self, Attribute, Draft, meant_by, spelt_otherwise};
use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;
use crate::config::diagnostic::suggest::nearest;
use crate::config::text::words::Word;

/// Options of `oxinetd run` that are said in a file, too.
const OF_RUN: [(&str, &str); 3] = [
    ("--pty", "write `pty = yes` for the attribute"),
    ("--telnet", "write `telnet = yes` for the attribute"),
    ("--udp", "datagrams are `dgram udp` in the line itself"),
];

/// What a line was meant to say.
struct Meant<'a> {
    /// The word that says it.
    first: &'a Word,
    /// What it is read as.
    message: String,
    /// What would be right, as far as the first word is concerned.
    help: String,
    /// Whether something would be open that was to be narrowed.
    narrows: bool,
}

/// Indented words that were probably not meant as arguments: an error where something would be
/// open that was to be narrowed.
pub(super) fn judge_argument_line(words: &[Word], place: &Span, report: &mut Report) {
    warn_of_comment(words, report);
    let text = |index: usize| words.get(index).map_or("", |word| word.text.as_str());
    if is_type(text(1)) && is_wait(text(3)) {
        report
            .warning(place, "this line is read as arguments of the entry above it")
            .help("take the blanks away at its start to make it an entry of its own");
        return;
    }
    let Some(Meant { first, message, help, narrows }) = by_line(words) else { return };
    let help = format!("{help}, or '{}' for the argument", first.text);
    if narrows {
        report.error(&first.span, message).help(help);
    } else {
        report.warning(&first.span, message).help(help);
    }
}

/// What to write where only attributes can stand.
pub(super) fn help_with_attribute(words: &[Word]) -> String {
    by_line(words).map_or_else(|| "write `name = value`".to_owned(), |meant| meant.help)
}

/// Arguments on the line of an entry that were probably meant as attributes, which stand below it:
/// an error where nobody writes an argument so, a warning where somebody might.
pub(super) fn judge_arguments(arguments: &[Word], report: &mut Report) {
    for (index, word) in arguments.iter().enumerate().filter(|(_, word)| !word.quoted) {
        let next = arguments.get(index + 1);
        let text = next.map(|next| next.text.as_str());
        let Some((name, is_signed)) = attribute::set_by_arguments(&word.text, text) else {
            continue;
        };
        let message = format!("`{name}` is an argument of the program here");
        let below = format!("attributes stand on indented lines below: `    {name} = …`");
        match next.filter(|_| is_signed) {
            Some(sign) => {
                let place = Span { end: sign.span.end, ..word.span.clone() };
                let help = format!("{below}; for arguments write '{}' {}", word.text, sign.text);
                report.error(&place, message).help(help);
            }
            None => {
                let help = format!("{below}; for the argument write '{}'", word.text);
                report.warning(&word.span, message).help(help);
            }
        }
    }
}

/// The name of the attribute that an unindented line was meant to set, without its sign.
pub(super) fn set_without_sign(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let first = words.next().filter(|word| is_name(word))?.trim_end_matches(':');
    let mut rest = words.take(3).peekable();
    let second = rest.peek().copied()?;
    if matches!(second.trim_end_matches(';'), "on" | "off") || rest.any(is_short_field) {
        return None;
    }
    let is_one = attribute::find(first).is_some()
        || spelt_otherwise(first).is_some()
        || is_address(second) && (meant_by(first).is_some() || attribute::narrows(first));
    is_one.then_some(first)
}

/// What the words of an indented line were meant to be.
fn by_line(words: &[Word]) -> Option<Meant<'_>> {
    let words = match words {
        [dash, rest @ ..] if !rest.is_empty() && matches!(dash.text.as_str(), "-" | "*") => rest,
        words => words,
    };
    let (first, rest) = words.split_first().filter(|(first, _)| !first.quoted)?;
    let by_name = || without_sign(first, rest).filter(|_| is_name(&first.text));
    of_run(first, rest).or_else(by_name)
}

/// Whether a word begins as names do, and neither as an option nor as a directive.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// An option of `oxinetd run`, or one that is called like an attribute.
fn of_run<'a>(first: &'a Word, rest: &[Word]) -> Option<Meant<'a>> {
    let message = format!("`{}` is an argument of the program here", first.text);
    if let Some((_, help)) = OF_RUN.iter().find(|(name, _)| *name == first.text && rest.is_empty())
    {
        return Some(Meant { first, message, help: (*help).to_owned(), narrows: false });
    }
    if let Some(said) = first.text.strip_prefix("-o") {
        return dash_o(first, said, rest);
    }
    let (attribute, value) = attribute::by_option(&first.text)?;
    let words: Vec<&str> =
        value.into_iter().chain(rest.iter().map(|it| it.text.as_str())).collect();
    let is_tls = attribute.name == "tls";
    let narrows =
        attribute::is_ours_alone(attribute, words.first().copied()) || is_tls && words.len() == 2;
    let help = match words.as_slice() {
        ["self-signed"] if is_tls => {
            "a file names a certificate and its key: `tls = /etc/ssl/site.pem /etc/ssl/site.key`"
                .to_owned()
        }
        [] => format!("write `{} = …` for the attribute", attribute.name),
        words => {
            let value = words.join(" ");
            let value = if is_tls { value.replacen(',', " ", 1) } else { value };
            format!("write `{} = {value}` for the attribute", attribute.name)
        }
    };
    let takes_it = || match (value, rest) {
        (Some(value), []) => takes(attribute, &[Word::new(value, first.span.clone())]),
        (None, [_]) => takes(attribute, rest),
        _ => false,
    };
    (narrows || is_tls || takes_it()).then_some(Meant { first, message, help, narrows })
}

/// `-o NAME=VALUE`.
fn dash_o<'a>(first: &'a Word, said: &str, rest: &[Word]) -> Option<Meant<'a>> {
    let setting = match rest.first() {
        Some(next) if said.is_empty() => next.text.as_str(),
        _ => said,
    };
    let (name, value) = setting.split_once('=')?;
    let message = format!("`{}` is an argument of the program here", first.text);
    let (help, narrows) = match (name, attribute::find(name)) {
        (_, Some(known)) => (
            format!("write `{} = {value}` for the attribute", known.name),
            attribute::narrows(known.name),
        ),
        ("wait" | "user", _) => ("that is a field of the line itself".to_owned(), false),
        _ => return None,
    };
    Some(Meant { first, message, help, narrows })
}

/// The name of an attribute, more or less, and no `=`.
fn without_sign<'a>(first: &'a Word, rest: &[Word]) -> Option<Meant<'a>> {
    const SIGNS: [&str; 5] = ["=", "+=", "-=", ":", ":="];
    let bare = first.text.trim_end_matches('=').trim_end_matches(':');
    let (is_signed, value) = match rest {
        [sign, value @ ..] if SIGNS.contains(&sign.text.as_str()) => (true, value),
        value => (bare.len() < first.text.len(), value),
    };
    let name = named(bare, is_signed, value)?;
    let found = attribute::find(name)?;
    let value = match value {
        // `allow from 10.0.0.0/8`.
        [from, value @ ..] if from.text == "from" && !value.is_empty() => value,
        value => value,
    };
    let words: Vec<&str> = value.iter().map(|word| word.text.as_str()).collect();
    let usual = if found.value == "`yes` or `no`" { "yes" } else { "…" };
    let is_meant = attribute::find(bare).is_some() || takes(found, value);
    let shown = if words.is_empty() || !is_meant { usual.to_owned() } else { words.join(" ") };
    Some(Meant {
        first,
        message: format!("`{}` without `=` is read as an argument", first.text),
        help: format!("write `{name} = {shown}` for the attribute"),
        narrows: attribute::narrows(name),
    })
}

/// The attribute that a name is, or was meant to be. A wrong name counts where a sign of another
/// language stands behind it, where it has the look of one, or where what follows would be right.
fn named<'a>(bare: &'a str, is_signed: bool, value: &[Word]) -> Option<&'a str> {
    if attribute::find(bare).is_some() {
        return Some(bare);
    }
    let fits = |name: &'static str| {
        let is_who = value.first().is_some_and(|word| is_address(&word.text));
        is_who && attribute::narrows(name)
            || attribute::find(name).is_some_and(|found| !value.is_empty() && takes(found, value))
    };
    let alike = || {
        let near = nearest(bare, attribute::names()).filter(|_| bare.len() > 2)?;
        let has_its_look = is_signed || bare.contains('_');
        (has_its_look || bare.len() > 3 && fits(near)).then_some(near)
    };
    let of_others = || meant_by(bare).filter(|ours| is_signed || fits(ours));
    spelt_otherwise(bare).or_else(alike).or_else(of_others)
}

/// Whether words can be the value of an attribute.
fn takes(attribute: &Attribute, words: &[Word]) -> bool {
    let Some(first) = words.first() else { return false };
    let (operator, form) = (Operator::Set, attribute.value);
    let value = Value { operator, words, place: &first.span, form };
    attribute.set(&mut Draft::default(), &value).is_ok()
}

/// Whether a word says, in whatever language, who may connect.
fn is_address(word: &str) -> bool {
    const EVERYBODY: [&str; 7] = ["all", "any", "none", "local", "localhost", "everybody", "from"];
    let word = word.trim_end_matches([',', ';']);
    let address = word.split_once('/').map_or(word, |(address, _)| address);
    let has_digits = word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    address.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || has_digits && word.bytes().all(|byte| byte.is_ascii_digit() || b"./*-x".contains(&byte))
        || EVERYBODY.contains(&word.to_ascii_lowercase().as_str())
        || word.len() > 1 && word.starts_with('@')
        || !word.contains('/') && (word.starts_with('.') || word.matches('.').count() > 1)
}
