//! What is wrong with a configuration, where, and what would be right.

pub(super) mod cause;
pub(super) mod gathering;
pub(super) mod reading;
pub(super) mod render;
pub(super) mod report;
pub(crate) mod suggest;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// What the words behind `oxinetd run` are called as a text.
pub(crate) const COMMAND_LINE: &str = "command line";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Legal or true elsewhere, but lacking here or probably not meant.
    Warning,
    /// What the file says cannot be meant.
    Error,
}

/// The text of one file, shared by all spans that point into it.
#[derive(Debug)]
pub struct SourceText {
    /// The file as the user named it.
    pub name: String,
    /// Its bytes, made text (bytes that are not UTF-8 are an error of their own).
    pub text: String,
    /// Where its lines begin, the first but; found when the first place in it is told.
    breaks: OnceCell<Vec<usize>>,
    /// The place that was told last.
    told: Cell<LinePlace>,
}

/// A place in a line: where that begins, the byte, and how many characters are before it.
#[derive(Debug, Clone, Copy, Default)]
struct LinePlace {
    line: usize,
    at: usize,
    before: usize,
}

impl SourceText {
    /// A file and its text.
    #[must_use]
    pub fn new(name: impl Into<String>, text: String) -> Self {
        Self { name: name.into(), text, breaks: OnceCell::new(), told: Cell::default() }
    }

    /// The number of the line of a byte, from 1, and where that begins.
    pub(super) fn line(&self, at: usize) -> (usize, usize) {
        let breaks = self.breaks.get_or_init(|| {
            self.text.match_indices('\n').map(|(end, _)| end.saturating_add(1)).collect()
        });
        let before = breaks.partition_point(|start| *start <= at);
        let start = before.checked_sub(1).and_then(|last| breaks.get(last));
        (before + 1, start.copied().unwrap_or(0))
    }

    /// How many characters are before a byte in the line that begins at `line`. Findings are
    /// told in order, so counting goes on where the last one was: a line may be long and
    /// have thousands.
    fn before(&self, line: usize, at: usize) -> usize {
        let told = self.told.get();
        let goes_on = told.line == line && told.at <= at;
        let LinePlace { at: from, before, .. } =
            if goes_on { told } else { LinePlace { line, at: line, before: 0 } };
        let passed = self.text.get(from..at).unwrap_or("");
        let passed = if before == 0 { passed.trim_start_matches('\u{feff}') } else { passed };
        let before = before + passed.chars().count();
        self.told.set(LinePlace { line, at, before });
        before
    }
}

impl PartialEq for SourceText {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.text == other.text
    }
}

impl Eq for SourceText {}

/// A range of bytes inside one file: `start <= end <= text.len()`, on character boundaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub source: Rc<SourceText>,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Where; None for a file that cannot be read or a command line.
    pub span: Option<Span>,
    /// What is wrong, in one line, without a full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// A second place that matters (the first of two equal entries), with its label.
    pub related: Option<(Span, String)>,
    /// Other places of which the very same is to be said.
    pub also: Vec<Span>,
    /// Whether it costs at most the entry that it is about, at a reload too: so it is in a
    /// file of xinetd, and wherever another server's place is taken.
    pub contained: bool,
    /// Whether it is about a file or something else of this machine that others may name, too,
    /// and not about what is written where it is named.
    pub of_the_machine: bool,
}

impl Span {
    /// Line and column of the first character, both from 1; columns count characters.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        let (line, start) = self.source.line(self.start);
        (line, self.source.before(start, self.start) + 1)
    }
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Diagnostic {
    /// Whether something is not served for it.
    #[must_use]
    pub fn costs_a_service(&self) -> bool {
        self.severity == Severity::Error || self.message.ends_with(NOT_SERVED)
    }
}

/// How findings end that say what becomes of a service.
pub(super) const NOT_SERVED: &str = ": not served";

/// How many errors and how many warnings there are.
#[must_use]
pub fn summary(diagnostics: &[Diagnostic]) -> (usize, usize) {
    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    (errors, diagnostics.len() - errors)
}

/// How many errors there are for which a reload is refused.
#[must_use]
pub fn refusing(diagnostics: &[Diagnostic]) -> usize {
    let refuses = |one: &&Diagnostic| one.severity == Severity::Error && !one.contained;
    diagnostics.iter().filter(refuses).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn places_are_what_counting_says(
            text in "[a\u{e9}\u{feff}\n]{0,40}",
            places in vec(0usize..60, 1..6),
        ) {
            let source = Rc::new(SourceText::new("any", text.clone()));
            for at in places {
                let whole = |at: &usize| text.is_char_boundary(*at);
                let at = (0..=at.min(text.len())).rev().find(whole).unwrap();
                let span = Span { source: Rc::clone(&source), start: at, end: at };
                let before: Vec<&str> = text[..at].split('\n').collect();
                let column = before.last().unwrap().trim_start_matches('\u{feff}').chars().count();
                prop_assert_eq!(span.position(), (before.len(), column + 1));
            }
        }
    }
}
