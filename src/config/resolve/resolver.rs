//! What resolving one entry after the other needs, and finds out on the way: the entries are
//! resolved by the files beside this one, each of which has an idea of its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::alike::Alike;
use super::causes::Causes;
use crate::config::attribute::Draft;
use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;
use crate::config::facts::Lookup;
use crate::config::model::Prefix;

/// Lists of addresses that have been read, by file: services often share one.
type Lists = HashMap<PathBuf, Rc<[Prefix]>>;

/// What resolving one entry after the other needs.
pub(super) struct Resolver<'a> {
    pub(super) lookup: &'a dyn Lookup,
    pub(super) report: &'a mut Report,
    /// `oxinetd run`: whoever runs it serves, from where it was started.
    pub(super) keeps_account: bool,
    /// What drafts start from.
    pub(super) base: Draft,
    /// Whether it was said that IPv6 is not there: once is enough.
    pub(super) said_no_ipv6: bool,
    /// Whether the entry at hand lacks something.
    pub(super) lacking: bool,
    /// Whether what it lacks does not matter: it is disabled.
    pub(super) quiet: bool,
    /// The files of addresses that have been read.
    pub(super) lists: Lists,
    /// What the service before had.
    pub(super) alike: Alike,
    /// What is the matter with names.
    pub(super) causes: Causes,
}

impl<'a> Resolver<'a> {
    /// One that has resolved nothing. `command_line`: what the draft of the one entry starts from.
    pub(super) fn new(
        lookup: &'a dyn Lookup,
        report: &'a mut Report,
        command_line: Option<Draft>,
    ) -> Self {
        let keeps_account = command_line.is_some();
        Self {
            lookup,
            report,
            keeps_account,
            base: command_line.unwrap_or_default(),
            said_no_ipv6: keeps_account,
            lacking: false,
            quiet: false,
            lists: Lists::new(),
            alike: Alike::default(),
            causes: Causes::default(),
        }
    }

    /// Something this machine lacks: a warning, and the entry is not served.
    pub(super) fn lacks(
        &mut self,
        span: &Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.lacking = true;
        if !self.quiet {
            let message = format!("{}: not served", message.into());
            self.report.warning(span, message).help(help);
        }
    }
}
