//! What a file says, before anything is looked up: fields and settings as words
//! with their places. Both spellings of an entry end up here.

use std::rc::Rc;

use crate::config::attribute::relevance::ServiceKind;
use crate::config::attribute::value::{Operator, Value};
use crate::config::attribute::{self, Attribute, Draft};
use crate::config::diagnostic::Span;
use crate::config::diagnostic::cause::Cause;
use crate::config::diagnostic::report::Report;
use crate::config::model::Origin;
use crate::config::model::protocol::Families;
use crate::config::text::source::{File, is_blank};
use crate::config::text::words::{self, Word};
use crate::net::vsock::is_vsock;

/// One entry: the fields of a line and what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// File and line.
    pub(crate) origin: Origin,
    /// The id of an xinetd block.
    pub(crate) id: Option<Rc<str>>,
    /// The service name of an xinetd block that has another id.
    pub(crate) name: Option<Rc<str>>,
    /// The service field.
    pub(crate) endpoint: Word,
    /// The socket type.
    pub(crate) socket_type: Word,
    /// The protocol.
    pub(crate) protocol: Word,
    /// `wait` or `nowait` and limits.
    pub(crate) wait: Word,
    /// The user and what goes with it.
    pub(crate) user: Word,
    /// The program.
    pub(crate) program: Word,
    /// `argv[0]` and the arguments.
    pub(crate) arguments: Vec<Word>,
    /// What is said of this entry alone, in the order of the file.
    pub(crate) settings: Vec<Setting>,
    /// What `.defaults` say for it.
    pub(crate) defaults: Rc<[Setting]>,
    /// The address for endpoints that have none.
    pub(crate) default_address: Option<Word>,
    /// Whether something was wrong already: it is checked and then left out.
    pub(crate) broken: bool,
    /// What was wrong with itself.
    pub(crate) why: Option<Cause>,
    /// What is wrong and holds for others, too.
    pub(crate) because: Rc<[Rc<Cause>]>,
    /// Whether it is off in a file where what is wrong with such an entry does not
    /// matter: xinetd's.
    pub(crate) off: bool,
    /// Which families its protocol means, where the file is read as another server reads it.
    pub(in crate::config) families: Option<Families>,
    /// Whether it is not served, by a warning that was made when it was read.
    pub(crate) withheld: Withhold,
}

/// Whether an entry asks for what is not done, and is not served for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Withhold {
    /// It does not.
    No,
    /// It does, and is checked to the end like any other.
    Resolved,
    /// It does, and its fields are not what they are elsewhere: it may have no port.
    Unresolved,
}

/// `name = value`.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The line of the table.
    pub(crate) attribute: &'static Attribute,
    /// The name as written.
    pub(crate) name: Word,
    /// The operator.
    pub(crate) operator: Operator,
    /// The value.
    pub(crate) values: Vec<Word>,
    /// Where the value is, or would be.
    pub(crate) place: Span,
}

impl Entry {
    /// What kind of service it is, by its words as far as they are right.
    pub(in crate::config) fn kind(&self) -> ServiceKind {
        let starts = |text: &str, word: &str| {
            text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        ServiceKind {
            internal: self.program.text == "internal" && !self.program.quoted,
            stream: !starts(&self.socket_type.text, "dgram"),
            waits: starts(&self.wait.text, "wait"),
            ip: ["tcp", "udp"].iter().any(|family| starts(&self.protocol.text, family)),
            fronted: starts(&self.socket_type.text, "stream")
                && ["tcp", "unix"].iter().any(|family| starts(&self.protocol.text, family))
                && !starts(&self.endpoint.text, "tcpmux/")
                && !is_vsock(&self.endpoint.text),
        }
    }

    /// Whether it is a block of xinetd's, which has an id.
    pub(in crate::config) fn is_xinetds(&self) -> bool {
        self.id.is_some()
    }

    /// Whether a setting of its own has this name.
    pub(crate) fn says(&self, name: &str) -> bool {
        self.settings.iter().any(|setting| setting.attribute.name == name)
    }

    /// What the service is called besides its label.
    pub(crate) fn other_id(&self) -> Option<Rc<str>> {
        let written = self.settings.iter().rev().find(|setting| setting.attribute.name == "id");
        let word = written.and_then(|setting| setting.values.first());
        word.map(|word| Rc::from(word.text.as_str())).or_else(|| self.id.clone())
    }
}

impl Setting {
    /// A setting that a field of the line says in its own way; None for a name
    /// that is not in the table.
    pub(crate) fn implied(name: &str, value: &str, span: &Span) -> Option<Self> {
        Some(Self {
            attribute: attribute::find(name)?,
            name: Word::new(name, span.clone()),
            operator: Operator::Set,
            values: vec![Word::new(value, span.clone())],
            place: span.clone(),
        })
    }

    /// Writes the setting into a draft; what is wrong with its value is reported.
    pub(crate) fn apply(&self, draft: &mut Draft, report: &mut Report) {
        let mut wrong = self.attribute.set(draft, &self.value(&self.values)).err();
        let mut rest = self.values.as_slice();
        while let Some(problem) = wrong.take() {
            let place = |span: &Span| (span.start, span.end);
            let at = rest.iter().position(|word| place(&word.span) == place(&problem.span));
            let has_comma = rest
                .get(at.unwrap_or(0))
                .is_some_and(|word| word.text.contains(',') && !word.text.contains('{'));
            let help = match has_comma && self.is_of_many() {
                true => Some("write blanks between the values, no commas".to_owned()),
                false => problem.help,
            };
            report.error(&problem.span, problem.message).maybe_help(help);
            let Some(at) = at.filter(|_| self.is_of_many()) else { return };
            // Each word stands for itself: those after a wrong one may be wrong too.
            rest = rest.get(at + 1..).unwrap_or_default();
            if !rest.is_empty() {
                wrong = self.attribute.set(&mut Draft::default(), &self.value(rest)).err();
            }
        }
    }

    /// Whether its value can be what it says: of a wrong one no more is to be said.
    pub(in crate::config) fn is_right(&self) -> bool {
        self.attribute.set(&mut Draft::default(), &self.value(&self.values)).is_ok()
    }

    fn value<'a>(&'a self, words: &'a [Word]) -> Value<'a> {
        let (operator, place) = (self.operator, &self.place);
        Value { operator, words, place, form: self.attribute.value }
    }

    /// Whether the value is any number of words that do not depend on each other.
    fn is_of_many(&self) -> bool {
        self.attribute.list || self.attribute.name == "access_times"
    }
}

/// What an indented line turned out to be.
pub(crate) enum Indented {
    /// `name = value`.
    Setting(Setting),
    /// Meant as that, and wrong: reported.
    Wrong,
    /// Arguments.
    Words(Vec<Word>),
}

/// Reads `name = value`, or words.
pub(crate) fn indented(
    file: &File,
    range: std::ops::Range<usize>,
    report: &mut Report,
) -> Indented {
    let text = file.text(range.clone());
    let start = range.start + text.len() - text.trim_start_matches(is_blank).len();
    let text = file.text(start..range.end);
    let Some((name, operator, value)) = parts(text) else {
        return Indented::Words(words::split(file, range, report));
    };
    let word = Word::new(name, file.span(start..start + name.len()));
    let values = words::split(file, start + value..range.end, report);
    let place = match (values.first(), values.last()) {
        (Some(first), Some(last)) => file.span(first.span.start..last.span.end),
        _ => file.span(start + value..start + value),
    };
    let Some(attribute) = attribute::find(name) else {
        report
            .error(&word.span, format!("unknown attribute `{name}`"))
            .help(attribute::help_for_unknown(name));
        return Indented::Wrong;
    };
    if operator != Operator::Set && !attribute.list {
        let sign = operator.text();
        let at = start + value - sign.len();
        report
            .error(
                &file.span(at..at + sign.len()),
                format!("`{name}` has one value: `{sign}` has no meaning"),
            )
            .help(format!("write `{name} = …`"));
        return Indented::Wrong;
    }
    Indented::Setting(Setting { attribute, name: word, operator, values, place })
}

/// The name of the attribute that a line sets, or was to set.
pub(super) fn set_by(line: &str) -> Option<&str> {
    let (name, ..) = parts(line)?;
    (attribute::find(name).is_some() || attribute::narrows(name)).then_some(name)
}

/// The name, the operator, and where the value starts.
fn parts(text: &str) -> Option<(&str, Operator, usize)> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut end = text.find(|c| !letters(c))?;
    let mut name = text.get(..end)?;
    // `name-=value`: the sign belongs to the operator.
    if name.ends_with('-') && text.get(end..)?.starts_with('=') {
        end -= 1;
        name = text.get(..end)?;
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return None;
    }
    let rest = text.get(end..)?.trim_start_matches(is_blank);
    let (operator, rest) = [Operator::Add, Operator::Remove, Operator::Set]
        .into_iter()
        .find_map(|operator| Some((operator, rest.strip_prefix(operator.text())?)))?;
    Some((name, operator, text.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::{Operator, parts};

    #[test]
    fn settings_are_told_from_arguments() {
        for (text, expected) in [
            ("rate = 1", Some(("rate", Operator::Set, 6))),
            ("rate=1", Some(("rate", Operator::Set, 5))),
            ("env += A=b", Some(("env", Operator::Add, 6))),
            ("env-=A", Some(("env", Operator::Remove, 5))),
            ("env -= A", Some(("env", Operator::Remove, 6))),
            ("if=/dev/null", Some(("if", Operator::Set, 3))),
            ("-o name=value", None),
            ("--name=value", None),
            ("/path=x", None),
            ("instances 20", None),
            ("word", None),
            ("'a = b'", None),
            ("= 3", None),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }
}
