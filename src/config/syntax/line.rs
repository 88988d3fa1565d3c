//! The fields of one line, and what people write when they leave one out.

use std::net::{IpAddr, Ipv6Addr};

use super::alignment::{FIELDS, Misplaced, is_type, is_wait, misplaced};
use super::entry::{Entry, Withhold};
use super::reader::Context;
use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;
use crate::config::diagnostic::suggest::listed;
use crate::config::facts::Lookup;
use crate::config::model::Origin;
use crate::config::text::words::{Word, quote};

/// So many words of a line say which of them are fields.
const LOOKED_AT: usize = 2 * FIELDS.len();
/// So many words of a line are shown as they should be.
const SHOWN: usize = 30;
/// With fewer words, a line is hardly one.
const FEWEST: usize = 4;
/// The same as a reminder.
const FORM: &str = "a line is SERVICE TYPE PROTOCOL wait|nowait USER PROGRAM ARGUMENTS";

/// The entry of a line, broken where its fields are not all there, or not in their order; None for
/// a line of nothing.
pub(in crate::config) fn entry(
    words: &[Word],
    origin: Origin,
    context: &Context,
    (lookup, report): (&dyn Lookup, &mut Report),
) -> Option<Entry> {
    let texts: Vec<&str> = words.iter().take(LOOKED_AT).map(|word| word.text.as_str()).collect();
    let misplaced = misplaced(&texts, &|name| lookup.user(name).is_some());
    if let Some(misplaced) = &misplaced {
        report_misplaced(words, misplaced, report);
    }
    // What is there is looked at all the same, where it seems to be an entry.
    if words.len() < FEWEST {
        return None;
    }
    let words = put_right(words, misplaced.as_ref());
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
        broken: misplaced.is_some() || !context.causes.is_empty(),
        why: None,
        because: context.causes.clone(),
        off: false,
        families: None,
        withheld: Withhold::No,
    })
}

/// The words where they should be, with something that is nothing for each field that is missing.
fn put_right(words: &[Word], misplaced: Option<&Misplaced>) -> Vec<Word> {
    let mut words = words.to_vec();
    let end = words.last().map(|word| Span { start: word.span.end, ..word.span.clone() });
    match (misplaced, end) {
        (Some(Misplaced::Missing(fields)), Some(end)) => {
            for field in fields {
                words.insert((*field).min(words.len()), Word::missing(end.clone()));
            }
        }
        (Some(Misplaced::Swapped(one, other)), _) => words.swap(*one, *other),
        (Some(Misplaced::Apart), _) => drop(words.remove(0)),
        _ => {}
    }
    words
}

fn report_misplaced(words: &[Word], misplaced: &Misplaced, report: &mut Report) {
    match misplaced {
        Misplaced::Missing(fields) => report_missing(words, fields, report),
        Misplaced::Apart => report_apart(words, report),
        Misplaced::Swapped(one, other) => {
            let (Some(first), Some(second)) = (words.get(*one), words.get(*other)) else { return };
            let message = format!("`{}` and `{}` have changed places", first.text, second.text);
            let right = written(&put_right(words, Some(misplaced)));
            report
                .error(&first.span, message)
                .related(second.span.clone(), "the other one is here")
                .help(format!("write `{}`; {FORM}", right.join(" ")));
        }
    }
}

fn report_apart(words: &[Word], report: &mut Report) {
    let [first, second, rest @ ..] = words else { return };
    let place = Span { end: second.span.end, ..first.span.clone() };
    let address = first.text.trim_end_matches([':', ',']);
    if address.bytes().all(|byte| byte.is_ascii_digit()) {
        let help = format!("write a line for each, or a range: `{address}-{}`", second.text);
        report.error(&place, "a line has one port").help(help);
        return;
    }
    let brackets = if address.parse::<Ipv6Addr>().is_ok() { ["[", "]"] } else { ["", ""] };
    let [open, close] = brackets;
    let rest = written(rest).join(" ");
    let help = format!("write `{open}{address}{close}:{} {rest}`", second.text);
    report.error(&place, "an address and its port are one word").help(help);
}

fn report_missing(words: &[Word], fields: &[usize], report: &mut Report) {
    let Some(first) = fields.first().copied() else { return };
    let names: Vec<&str> = fields
        .iter()
        .enumerate()
        .take_while(|(index, field)| **field == first + index)
        .filter_map(|(_, field)| FIELDS.get(*field).copied())
        .collect();
    match (words.get(first), words.last()) {
        (Some(word), _) => {
            let message = match names.as_slice() {
                [name] => format!("the field `{name}` is missing before `{}`", word.text),
                names => {
                    let names = listed(names.iter().copied());
                    format!("the fields {names} are missing before `{}`", word.text)
                }
            };
            let help = match first {
                0 => FORM.to_owned(),
                _ => format!("something like `{}`; {FORM}", completed(words, fields)),
            };
            report.error(&word.span, message).help(help);
        }
        (None, Some(last)) => {
            let end = Span { start: last.span.end, ..last.span.clone() };
            let name = names.first().copied().unwrap_or_default();
            report.error(&end, format!("the field `{name}` is missing")).help(FORM);
        }
        (None, None) => {}
    }
}

/// The line with what would be usual in the fields that are missing.
fn completed(words: &[Word], fields: &[usize]) -> String {
    let datagrams = words.iter().take(FIELDS.len()).any(|word| {
        let text = word.text.as_str();
        text.starts_with("udp") || text.starts_with("dgram")
    });
    let [connections, messages] = [
        ["", "stream", "tcp", "nowait", "-", "PROGRAM"],
        ["", "dgram", "udp", "wait", "-", "PROGRAM"],
    ];
    let usual = if datagrams { messages } else { connections };
    let mut line = written(words);
    for field in fields {
        let word = usual.get(*field).copied().unwrap_or_default();
        line.insert((*field).min(line.len()), word.to_owned());
    }
    line.join(" ")
}

/// Words as they are written, as many as one looks at.
fn written(words: &[Word]) -> Vec<String> {
    let as_written = |word: &Word| if word.quoted { quote(&word.os) } else { word.text.clone() };
    let rest = (words.len() > SHOWN).then(|| "…".to_owned());
    words.iter().take(SHOWN).map(as_written).chain(rest).collect()
}

/// The line with a word put in, as it would be written.
pub(in crate::config) fn corrected(words: &[Word], at: usize, word: &str) -> String {
    let mut line = written(words);
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

/// What a word alone on its line was meant to be, where that would hold for all entries below it.
pub(super) fn meant_for_others(word: &Word) -> Option<&'static str> {
    let bare = word.text.trim_matches(['[', ']', '.', ':']);
    if ["defaults", "default", "global"].iter().any(|name| bare.eq_ignore_ascii_case(name)) {
        return Some("what holds for all entries below stands, indented, under a line `.defaults`");
    }
    let is_address = word.text == "*" || bare.parse::<IpAddr>().is_ok();
    is_address.then_some("with a colon at its end it is the address for the entries below")
}

/// Whether a line, but for the blanks before it, is an entry.
pub(super) fn is_entry(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (kind, waits) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    is_type(kind) && is_wait(waits) && words.nth(1).is_some()
}

/// Whether a comment is an entry that somebody does not want now.
pub(super) fn is_entry_taken_out(comment: &str) -> bool {
    let mut words = comment.trim_start_matches('#').split_ascii_whitespace().skip(1);
    let (kind, waits) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    is_type(kind) && is_wait(waits)
}
