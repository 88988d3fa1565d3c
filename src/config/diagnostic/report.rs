//! Where findings are gathered while a configuration is read: nothing stops at the first.

use std::ops::Range;

use super::{Diagnostic, Severity, Span};

/// All findings so far, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Report {
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    /// Names of files in the order in which they were opened, for the final order.
    files: Vec<String>,
    /// Whether what is found costs at most the entry that it is about.
    contains: bool,
}

/// A finding just made, to which help and a second place can be added.
pub(crate) struct Finding<'a>(Option<&'a mut Diagnostic>);

impl Finding<'_> {
    /// What would be right.
    pub(crate) fn help(self, help: impl Into<String>) {
        self.maybe_help(Some(help.into()));
    }

    /// Help, if there is any.
    pub(crate) fn maybe_help(self, help: Option<String>) {
        if let (Some(diagnostic), Some(help)) = (self.0, help) {
            diagnostic.help = Some(help);
        }
    }

    /// It is about something of this machine, which others may name, too.
    pub(crate) fn of_the_machine(mut self) -> Self {
        if let Some(diagnostic) = self.0.as_deref_mut() {
            diagnostic.of_the_machine = true;
        }
        self
    }

    /// Other places of which the same is to be said.
    pub(crate) fn also(mut self, spans: Vec<Span>) -> Self {
        if let Some(diagnostic) = self.0.as_deref_mut() {
            diagnostic.also = spans;
        }
        self
    }

    /// A second place that matters.
    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        if let Some(diagnostic) = self.0.as_deref_mut() {
            diagnostic.related = Some((span, label.into()));
        }
        self
    }
}

impl Report {
    /// What cannot be meant, at a place.
    pub(crate) fn error(&mut self, span: &Span, message: impl Into<String>) -> Finding<'_> {
        self.add(Severity::Error, Some(span.clone()), message.into())
    }

    /// What cannot be served, without a place: it is about all of a file.
    pub(crate) fn error_without_place(&mut self, message: impl Into<String>) -> Finding<'_> {
        let contains = self.contain(false);
        self.add(Severity::Error, None, message.into());
        self.contains = contains;
        Finding(self.diagnostics.last_mut())
    }

    /// What lacks something here or is probably not meant, at a place.
    pub(crate) fn warning(&mut self, span: &Span, message: impl Into<String>) -> Finding<'_> {
        self.add(Severity::Warning, Some(span.clone()), message.into())
    }

    /// What is probably not meant, without a place.
    pub(crate) fn warning_without_place(&mut self, message: impl Into<String>) -> Finding<'_> {
        self.add(Severity::Warning, None, message.into())
    }

    /// How many errors there are: grown means that what was just read had one.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Whether what is found from now on costs at most the entry that it is about; what held
    /// before.
    pub(crate) fn contain(&mut self, contains: bool) -> bool {
        std::mem::replace(&mut self.contains, contains)
    }

    /// Whether what is found costs at most the entry that it is about.
    pub(crate) fn contains(&self) -> bool {
        self.contains
    }

    /// Where the findings that follow begin.
    pub(crate) fn mark(&self) -> usize {
        self.diagnostics.len()
    }

    /// The findings since a mark.
    pub(crate) fn since(&self, mark: usize) -> &[Diagnostic] {
        self.diagnostics.get(mark..).unwrap_or_default()
    }

    /// The findings between two marks.
    pub(crate) fn between(&self, marks: Range<usize>) -> &[Diagnostic] {
        self.diagnostics.get(marks).unwrap_or_default()
    }

    /// Makes warnings of all errors since a mark: they are about nothing that is served.
    pub(super) fn soften(&mut self, mark: usize) {
        self.soften_some(mark..self.mark());
    }

    /// The same, and forgets the warnings since then: nobody is hurt by what they say.
    pub(crate) fn hush(&mut self, mark: usize) {
        let mut at = 0;
        self.diagnostics.retain(|one| {
            at += 1;
            at <= mark || one.severity == Severity::Error
        });
        self.soften(mark);
    }

    /// The same for those between two marks.
    pub(crate) fn soften_some(&mut self, marks: Range<usize>) {
        let errors = self.diagnostics.get_mut(marks).into_iter().flatten();
        for diagnostic in errors.filter(|one| one.severity == Severity::Error) {
            diagnostic.severity = Severity::Warning;
            self.errors = self.errors.saturating_sub(1);
        }
    }

    /// A file was opened.
    pub(crate) fn opened(&mut self, file: &str) {
        self.files.push(file.to_owned());
    }

    /// All findings, by file (in the order of opening) and place.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        let files = self.files;
        let order = |diagnostic: &Diagnostic| match &diagnostic.span {
            Some(span) => {
                let file = files.iter().position(|name| *name == span.source.name);
                (1 + file.unwrap_or(files.len()), span.start)
            }
            None => (0, 0),
        };
        self.diagnostics.sort_by_cached_key(order);
        // What is said once for many entries is wrong once.
        let mut last: Vec<Diagnostic> = Vec::new();
        self.diagnostics.retain(|diagnostic| {
            if last.first().is_some_and(|first| order(first) != order(diagnostic)) {
                last.clear();
            }
            let known = last.contains(diagnostic);
            if !known {
                last.push(diagnostic.clone());
            }
            !known
        });
        self.diagnostics
    }

    fn add(&mut self, severity: Severity, span: Option<Span>, message: String) -> Finding<'_> {
        self.errors += usize::from(severity == Severity::Error);
        let contained = self.contains;
        self.diagnostics.push(Diagnostic {
            severity,
            span,
            message,
            help: None,
            related: None,
            also: Vec::new(),
            contained,
            of_the_machine: false,
        });
        Finding(self.diagnostics.last_mut())
    }
}
