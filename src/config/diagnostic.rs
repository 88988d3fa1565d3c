//! What is wrong with a configuration, where, and what would be right.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Legal or true elsewhere, but lacking here or probably not meant.
    Warning,
    /// What the file says cannot be meant.
    Error,
}

/// The text of one file, shared by all spans that point into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The file as the user named it.
    pub name: String,
    /// Its bytes, made text (bytes that are not UTF-8 are an error of their own).
    pub text: String,
}

/// A range of bytes inside one file: `start <= end <= text.len()`, on character boundaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub source: Rc<Source>,
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
}

impl Span {
    /// Line and column of the first character, both from 1; columns count characters.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or("").trim_start_matches('\u{feff}');
        (before.matches('\n').count() + 1, column.chars().count() + 1)
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

/// How many errors and how many warnings there are.
#[must_use]
pub fn summary(diagnostics: &[Diagnostic]) -> (usize, usize) {
    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    (errors, diagnostics.len() - errors)
}
