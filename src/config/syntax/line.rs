//! The fields of one line, and what people write when they leave one out.

use std::net::IpAddr;

use super::entry::{Entry, Withhold};
use super::reader::Context;
use crate::config::attribute;
use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;
use crate::config::diagnostic::suggest::nearest;
use crate::config::model::Origin;
use crate::config::text::words::{Word, quote};

/// The fields in their order.
pub(super) const FIELDS: [&str; 6] = ["service", "type", "protocol", "wait", "user", "program"];
/// With fewer words, a line is hardly one.
const FEWEST: usize = 4;
/// The same as a reminder.
const FORM: &str = "a line is SERVICE TYPE PROTOCOL wait|nowait USER PROGRAM ARGUMENTS";
/// What the second field can be in any dialect.
const TYPES: [&str; 5] = ["stream", "dgram", "seqpacket", "raw", "rdm"];

/// The entry of a line, broken where a field is missing; None for a line of nothing.
pub(in crate::config) fn entry(
    words: &[Word],
    origin: Origin,
    context: &Context,
    report: &mut Report,
) -> Option<Entry> {
    let complaint = missing_before(words);
    let missing = words.len() < FIELDS.len() || complaint.is_some();
    if missing {
        report_missing(words, complaint, report);
    }
    // What is there is looked at all the same, where it seems to be an entry.
    if words.len() < FEWEST {
        return None;
    }
    let end = words.last().map(|word| Span { start: word.span.end, ..word.span.clone() })?;
    let mut words = words.to_vec();
    if let Some(index) = complaint {
        let user = index == 3 && words.get(3).is_some_and(|word| word.text.starts_with('/'));
        let count = if user { 2 } else { 1 };
        let missing = std::iter::repeat_n(Word::missing(end.clone()), count);
        words.splice(index.min(words.len())..index.min(words.len()), missing);
    }
    while words.len() < FIELDS.len() {
        words.push(Word::missing(end.clone()));
    }
    let [endpoint, socket_type, protocol, wait, user, program, arguments @ ..] = words.as_slice()
    else {
        return None;
    };
    Some(Entry {
        origin,
        id: None,
        name: None,
        endpoint: endpoint.clone(),
        socket_type: socket_type.clone(),
        protocol: protocol.clone(),
        wait: wait.clone(),
        user: user.clone(),
        program: program.clone(),
        arguments: arguments.to_vec(),
        settings: Vec::new(),
        defaults: context.defaults.clone(),
        default_address: context.address.clone(),
        broken: missing || !context.causes.is_empty(),
        why: None,
        because: context.causes.clone(),
        off: false,
        families: None,
        withheld: Withhold::No,
    })
}

/// The field before which something is missing: where a word stands that can
/// only be the next one.
fn missing_before(words: &[Word]) -> Option<usize> {
    let text = |index: usize| words.get(index).map_or("", |word| word.text.as_str());
    let is_type = |word: &str| TYPES.iter().any(|name| head(word) == *name);
    let is_protocol = |word: &str| {
        let word = head(word);
        word == "unix" || word.starts_with("tcp") || word.starts_with("udp")
    };
    let is_wait = |word: &str| matches!(head(word), "wait" | "nowait");
    if is_type(text(0)) && is_protocol(text(1)) {
        return Some(0);
    }
    if is_protocol(text(1)) && is_wait(text(2)) {
        return Some(1);
    }
    if is_wait(text(2)) && is_type(text(1)) {
        return Some(2);
    }
    if is_protocol(text(2)) && text(3).starts_with('/') {
        return Some(3);
    }
    let user = text(4);
    if user.starts_with('/') || (user == "internal" && words.len() == 5) {
        // Where the fourth field is no `wait` either, that is what is missing.
        let wait = is_protocol(text(2)) && !text(3).contains("wait") && !text(3).is_empty();
        return Some(if wait { 3 } else { 4 });
    }
    None
}

/// What stands before the first of `,.:/`.
fn head(word: &str) -> &str {
    word.split([',', '.', ':', '/']).next().unwrap_or(word)
}

fn report_missing(words: &[Word], before: Option<usize>, report: &mut Report) {
    let index = before.unwrap_or(words.len()).min(FIELDS.len() - 1);
    let name = FIELDS.get(index).copied().unwrap_or("program");
    let message = format!("the field `{name}` is missing");
    match (words.get(index), words.last()) {
        (Some(word), Some(_)) => {
            let usual = match index {
                1 => "stream",
                2 => "tcp",
                3 if word.text.starts_with('/') => "nowait -",
                3 => "nowait",
                _ => "-",
            };
            let help = if index == 0 {
                FORM.to_owned()
            } else {
                format!("something like `{}`; {FORM}", corrected(words, index, usual))
            };
            report.error(&word.span, format!("{message} before `{}`", word.text)).help(help);
        }
        (None, Some(last)) => {
            let end = Span { start: last.span.end, ..last.span.clone() };
            report.error(&end, message).help(FORM);
        }
        (_, None) => {}
    }
}

/// The line with a word put in, as it would be written.
pub(in crate::config) fn corrected(words: &[Word], at: usize, word: &str) -> String {
    let mut line: Vec<String> = words
        .iter()
        .map(|word| if word.quoted { quote(&word.os) } else { word.text.clone() })
        .collect();
    line.insert(at.min(line.len()), word.to_owned());
    line.join(" ")
}

/// `# …` behind words is text here, and most people think otherwise.
pub(super) fn warn_of_comment(words: &[Word], report: &mut Report) {
    let Some(word) = words.iter().find(|word| word.text.starts_with('#') && !word.quoted) else {
        return;
    };
    report.warning(&word.span, "`#` inside a line is text, not the start of a comment").help(
        format!(
            "put a comment on a line of its own; if it is meant as text, write \"{}\"",
            word.text
        ),
    );
}

/// Indented words that were probably not meant as arguments: an error where something would be
/// open that was to be narrowed.
pub(super) fn judge_argument_line(words: &[Word], place: &Span, report: &mut Report) {
    warn_of_comment(words, report);
    let text = |index: usize| words.get(index).map_or("", |word| word.text.as_str());
    let waits = matches!(head(text(3)), "wait" | "nowait");
    if TYPES.contains(&head(text(1))) && waits {
        report
            .warning(place, "this line is read as arguments of the entry above it")
            .help("take the blanks away at its start to make it an entry of its own");
        return;
    }
    let Some((first, name, value)) = meant_as_attribute(words) else { return };
    let message = format!("`{}` without `=` is read as an argument", first.text);
    let value: Vec<&str> = value.iter().map(|word| word.text.as_str()).collect();
    let usual = match attribute::find(name).map_or("", |found| found.value) {
        "`yes` or `no`" => "yes",
        _ => "…",
    };
    let help = format!(
        "write `{name} = {}` for the attribute, or '{}' for the argument",
        if value.is_empty() { usual.to_owned() } else { value.join(" ") },
        first.text
    );
    if attribute::narrows(name) {
        report.error(&first.span, message).help(help);
    } else {
        report.warning(&first.span, message).help(help);
    }
}

/// Arguments on the line of an entry that were probably meant as attributes, which stand below it:
/// an error where nobody writes an argument so, a warning where somebody might.
pub(super) fn judge_arguments(arguments: &[Word], report: &mut Report) {
    for (index, word) in arguments.iter().enumerate().filter(|(_, word)| !word.quoted) {
        let next = arguments.get(index + 1).map(|next| next.text.as_str());
        let Some((name, is_signed)) = attribute::set_by_arguments(&word.text, next) else {
            continue;
        };
        let message = format!("`{name}` is an argument of the program here");
        let help = format!(
            "attributes stand on indented lines below: `    {name} = …`; for the argument write '{}'",
            word.text
        );
        if is_signed {
            report.error(&word.span, message).help(help);
        } else {
            report.warning(&word.span, message).help(help);
        }
    }
}

/// The first word of a line, the attribute that it seems to name, and the value behind it. A
/// wrong name counts where a sign of another language stands behind it, or where it has the
/// look of one.
fn meant_as_attribute(words: &[Word]) -> Option<(&Word, &str, &[Word])> {
    const SIGNS: [&str; 5] = ["=", "+=", "-=", ":", ":="];
    let mut words = words;
    if let [dash, rest @ ..] = words
        && !rest.is_empty()
        && matches!(dash.text.as_str(), "-" | "*")
    {
        words = rest;
    }
    let (first, mut value) = words.split_first().filter(|(first, _)| !first.quoted)?;
    let bare = first.text.trim_end_matches('=').trim_end_matches(':');
    let mut signed = bare.len() < first.text.len();
    if let [sign, rest @ ..] = value
        && SIGNS.contains(&sign.text.as_str())
    {
        (signed, value) = (true, rest);
    }
    if attribute::find(bare).is_some() {
        return Some((first, bare, value));
    }
    let alike = nearest(bare, attribute::names()).filter(|_| signed || bare.contains('_'));
    alike.filter(|_| bare.len() > 2).map(|name| (first, name, value))
}

/// What a word alone on its line was meant to be, where that would hold for all entries below it.
pub(super) fn meant_for_others(word: &Word) -> Option<&'static str> {
    let bare = word.text.trim_matches(['[', ']', '.', ':']);
    if ["defaults", "default", "global"].iter().any(|name| bare.eq_ignore_ascii_case(name)) {
        return Some("what holds for all entries below stands, indented, under a line `.defaults`");
    }
    let is_address = word.text == "*" || bare.parse::<IpAddr>().is_ok();
    is_address.then_some("with a colon at its end it is the address for the entries below")
}

/// Whether a comment is an entry that somebody does not want now.
pub(super) fn is_entry_taken_out(comment: &str) -> bool {
    let mut words = comment.trim_start_matches('#').split_ascii_whitespace().skip(1);
    let (kind, waits) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    TYPES.contains(&head(kind)) && matches!(head(waits), "wait" | "nowait")
}
