//! Terminals: who can have one, and what follows from it.

use super::endpoint::ServiceField;
use super::resolver::Resolver;
use crate::config::attribute::{Draft, Scope};
use crate::config::model::{Action, SocketType, StderrTo};
use crate::config::syntax::entry::{Entry, Setting};

/// Why a service can have no terminal.
fn obstacle(
    (socket_type, wait): (SocketType, bool),
    action: Option<&Action>,
    target: &ServiceField,
) -> Option<&'static str> {
    match (action, target) {
        (Some(Action::Relay(_)), _) => Some("a relay runs no program"),
        (Some(Action::Builtin(_)), _) => Some("a built-in service runs no program"),
        _ if socket_type != SocketType::Stream => Some("a terminal is for streams"),
        _ if wait => Some("with `wait`, the program takes the connections itself"),
        (_, ServiceField::Tcpmux(_)) => Some("tcpmux hands over the connection itself"),
        _ => None,
    }
}

impl Resolver<'_> {
    /// Settings of the entry itself that need a program with a connection of its own. What
    /// defaults say of others is not theirs.
    pub(super) fn check_terminal(
        &mut self,
        entry: &Entry,
        draft: &mut Draft,
        kind: (SocketType, bool),
        (action, target): (Option<&Action>, &ServiceField),
    ) {
        let Some(what) = obstacle(kind, action, target) else {
            return self.check_needless(entry, draft);
        };
        (draft.attributes.front.pty, draft.attributes.front.telnet) = (false, false);
        let terminal =
            |setting: &&Setting| setting.attribute.scope == Scope::Terminal && setting.is_right();
        for setting in entry.settings.iter().filter(terminal) {
            let message = format!("`{}` cannot be: {what}", setting.name.text);
            self.report.error(&setting.name.span, message).help("take it out");
        }
    }

    /// What says something of a terminal that is not there, or that one is not there.
    fn check_needless(&mut self, entry: &Entry, draft: &Draft) {
        let of_one = |setting: &&Setting| ["pty_size", "term"].contains(&setting.attribute.name);
        let front = &draft.attributes.front;
        if front.telnet && !front.pty {
            self.check_contradiction(entry);
        }
        if front.has_terminal() {
            return;
        }
        for setting in entry.settings.iter().filter(of_one).filter(|it| it.is_right()) {
            let message = format!("`{}` has no effect: there is no terminal", setting.name.text);
            self.report
                .warning(&setting.name.span, message)
                .help("write `pty = yes` or `telnet = yes`");
        }
    }

    /// `pty = no` beside `telnet`.
    fn check_contradiction(&mut self, entry: &Entry) {
        let said = entry.settings.iter().rfind(|setting| setting.attribute.name == "pty");
        if let Some(setting) = said.filter(|setting| setting.is_right()) {
            self.report
                .warning(
                    &setting.name.span,
                    "`pty = no` has no effect: with `telnet`, the program has a terminal",
                )
                .help("take it out, or say `telnet = no`");
        }
    }

    /// What is written to standard error is shown on a terminal, unless something else was said.
    pub(super) fn settle_terminal(draft: &mut Draft) {
        if draft.attributes.front.has_terminal() && !draft.is_stderr_said {
            draft.attributes.process.stderr = StderrTo::Socket;
        }
    }
}
