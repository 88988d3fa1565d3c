//! What a service that is not served owes that to.

use super::report::Report;
use super::{COMMAND_LINE, Diagnostic, NOT_SERVED, Span};

/// Something wrong, for which an entry is not served.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(in crate::config) span: Span,
    pub(in crate::config) message: String,
}

impl Cause {
    /// The first finding since a mark for which something is not served.
    pub(in crate::config) fn since(report: &Report, mark: usize) -> Option<Self> {
        report.since(mark).iter().find(|one| one.costs_a_service()).and_then(Self::of)
    }

    /// What a finding says; none where it is about no place.
    pub(in crate::config) fn of(finding: &Diagnostic) -> Option<Self> {
        let span = finding.span.clone()?;
        Some(Self { span, message: finding.message.clone() })
    }

    /// A line below a directive that nobody knows.
    pub(in crate::config) fn unheard(span: Span) -> Self {
        Self { span, message: "it belongs to an unknown directive".to_owned() }
    }

    /// A word that is not understood, and may say who may connect.
    pub(in crate::config) fn unread(text: &str, span: &Span) -> Self {
        let message = format!("`{text}` is not understood");
        Self { span: span.clone(), message }
    }

    /// With its place, for whoever asks.
    pub(in crate::config) fn told(&self) -> String {
        let message = self.message.strip_suffix(NOT_SERVED).unwrap_or(&self.message);
        match self.span.source.name.as_str() {
            // Nobody counts its lines.
            COMMAND_LINE => format!("{COMMAND_LINE}: {message}"),
            name => format!("{name}:{}: {message}", self.span.position().0),
        }
    }
}
