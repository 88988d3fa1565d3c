//! An entry becomes a service: every name a number, every combination checked.

use std::path::PathBuf;

use super::endpoint::ServiceField;
use super::fields::is_rpc;
use super::outcome::EntryOutcome;
use super::resolver::Resolver;
use super::transport::Shape;
use crate::config::attribute::Draft;
use crate::config::attribute::value::Operator;
use crate::config::model::protocol::Protocol;
use crate::config::model::{
    Account, Action, Endpoint, Program, RelayTarget, Service, SocketType, TcpmuxName, Withheld,
};
use crate::config::syntax::entry::{Entry, Setting, Withhold};

impl Resolver<'_> {
    /// Checks one entry to the end, whatever is wrong with it on the way.
    pub(super) fn resolve(&mut self, entry: &Entry) -> EntryOutcome {
        let before = self.report.errors();
        if is_rpc(&entry.protocol) {
            self.report
                .warning(&entry.protocol.span, "Sun RPC registration is not done: not served")
                .help("give the service a port of its own, `tcp` or `udp`");
            return self.known_by_name(entry);
        }
        if entry.withheld == Withhold::Unresolved {
            return self.known_by_name(entry);
        }
        self.lacking = entry.withheld == Withhold::Resolved;
        let (shape, draft) = self.shape(entry);
        let disabled = draft.disable;
        let Some(shape) = shape else {
            self.judge_alone(entry, draft);
            self.causes.concern(&entry.label());
            // Right, but for a name that this machine does not know.
            let lacks = !entry.broken && !disabled && self.report.errors() == before;
            return if lacks {
                EntryOutcome::Withheld(by_name(entry))
            } else {
                self.broken(entry, disabled)
            };
        };
        let service = self.service(entry, shape, draft);
        if entry.broken || self.report.errors() > before {
            return self.broken(entry, disabled);
        }
        match (service, disabled) {
            (None, _) => EntryOutcome::Nothing,
            (Some((service, true)), true) => EntryOutcome::Disabled(service),
            (Some((service, true)), false) => EntryOutcome::Service(service),
            (Some((_, false)), true) => EntryOutcome::Off,
            (Some((service, false)), false) => EntryOutcome::Withheld(Withheld {
                label: service.label,
                id: service.id,
                name: service.name,
                sockets: service.sockets,
                tcpmux: service.tcpmux,
                why: String::new(),
            }),
        }
    }

    /// An entry of which only the name is known; what its settings say is checked.
    fn known_by_name(&mut self, entry: &Entry) -> EntryOutcome {
        let before = self.report.errors();
        let disabled = self.draft(entry, &[]).disable;
        if entry.broken || self.report.errors() > before {
            return self.broken(entry, disabled);
        }
        if disabled { EntryOutcome::Off } else { EntryOutcome::Withheld(by_name(entry)) }
    }

    /// An entry with an error. Where the rest of the file goes on, what runs of it does too.
    fn broken(&self, entry: &Entry, disabled: bool) -> EntryOutcome {
        match disabled {
            true => EntryOutcome::Off,
            false if self.report.contains() => EntryOutcome::Withheld(by_name(entry)),
            false => EntryOutcome::Nothing,
        }
    }

    /// Everything that settings say, the more particular ones last.
    pub(super) fn draft(&mut self, entry: &Entry, implied: &[Setting]) -> Draft {
        let mut draft = self.base.clone();
        let kind = entry.kind();
        let matters = |setting: &&Setting| kind.matters(setting.attribute.scope);
        let defaults = entry.defaults.iter().filter(matters);
        for setting in defaults.chain(implied).chain(&entry.settings) {
            setting.apply(&mut draft, self.report);
        }
        let own: Vec<&Setting> = implied.iter().chain(&entry.settings).collect();
        for (index, setting) in own.iter().enumerate() {
            let earlier = own.iter().take(index);
            let same = |other: &&&Setting| {
                let replaces = !setting.attribute.list || setting.operator == Operator::Set;
                replaces && other.attribute.name == setting.attribute.name
            };
            if let Some(first) = earlier.clone().find(same) {
                self.report
                    .warning(
                        &setting.name.span,
                        format!("`{}` is said twice: this one counts", setting.name.text),
                    )
                    .related(first.name.span.clone(), "said here before")
                    .help(match setting.attribute.list {
                        true => "write `+=` for more; else take one of them away",
                        false => "take one of them away",
                    });
            }
        }
        draft
    }

    /// The service, and whether it can be served; None after errors only.
    fn service(
        &mut self,
        entry: &Entry,
        shape: Shape,
        mut draft: Draft,
    ) -> Option<(Service, bool)> {
        let Shape { socket_type, protocol, wait, target } = shape;
        let sockets = self.sockets(entry, &target, &draft, (socket_type, protocol));
        let action = self.action(entry, &target, &draft, (socket_type, protocol));
        if let Some(action) = &action {
            self.check_loop(entry, &sockets, action);
        }
        let account = match &action {
            // Whose it is that connects is asked for the rights to do so.
            Some(Action::Relay(RelayTarget::Unix(target)))
                if !entry.user.is_missing() && !matches!(target, Endpoint::Vsock(_)) =>
            {
                let account = self.account(entry, &draft);
                self.check_reachable(entry, account.as_ref(), target);
                account
            }
            Some(Action::Builtin(_) | Action::Relay(_)) => Some(self.own_account()),
            _ if entry.program.text == "internal" => None,
            _ => self.account(entry, &draft),
        };
        self.check_surroundings(entry, &mut draft, action.as_ref());
        self.check_reach(entry, &draft, action.as_ref(), account.as_ref());
        let wait = self.check_wait(entry, (socket_type, protocol), wait, action.as_ref(), &target);
        self.check_scopes(entry, socket_type, wait, action.as_ref(), &target);
        let builtin = matches!(action, Some(Action::Builtin(_) | Action::Relay(_)));
        self.check_moving(entry, socket_type, (wait && !builtin, builtin), &target);
        let kind = (socket_type, wait && !builtin);
        self.check_terminal(entry, &mut draft, kind, (action.as_ref(), &target));
        Self::settle_terminal(&mut draft);
        self.check_front(entry, &draft.attributes, kind, &target);
        if wait
            && socket_type == SocketType::Stream
            && matches!(target, ServiceField::Inet { .. } | ServiceField::Vsock(..))
        {
            self.warn_of_unseen_sources(entry);
        }
        let complete = action.is_some() && account.is_some() && !self.lacking;
        if draft.attributes.process.inherit_environment
            && account.as_ref().is_some_and(|it| it.switch)
        {
            draft.attributes.process.inherit_environment = false;
        }
        let label = label(&target, protocol);
        if entry.broken {
            // Nobody waits for what is not served whatever comes.
            self.causes.next();
        }
        let awaited = self.awaited_by(&label, &target);
        let service = Service {
            label,
            id: entry.other_id(),
            name: entry.name.clone(),
            origin: entry.origin.clone(),
            socket_type,
            sockets,
            awaited,
            tcpmux: tcpmux(&target),
            wait,
            action: action.unwrap_or_else(nothing),
            account: self.alike.account.share(account.unwrap_or_else(Account::default)),
            attributes: self.alike.attributes.share(draft.attributes),
        };
        Some((service, complete))
    }

    /// What attributes name on this machine: paths, accounts, files.
    pub(super) fn check_surroundings(
        &mut self,
        entry: &Entry,
        draft: &mut Draft,
        action: Option<&Action>,
    ) {
        self.check_paths(entry, draft, action);
        self.check_directory(entry, &draft.attributes, action);
        self.check_group(entry, &draft.attributes, action);
        self.socket_owner(draft);
        self.read_what_is_said(entry, draft);
        self.check_machines(entry, &draft.attributes);
        self.check_privileges(entry, draft, action);
    }

    pub(super) fn socket_owner(&mut self, draft: &mut Draft) {
        if let Some(word) = draft.socket_user.take() {
            draft.attributes.socket.user = self.user_number(&word);
        }
        if let Some(word) = draft.socket_group.take() {
            draft.attributes.socket.group = self.group(&word);
        }
    }

    /// What `wait` cannot mean; built-in services have no choice.
    fn check_wait(
        &mut self,
        entry: &Entry,
        (socket_type, protocol): (SocketType, Protocol),
        wait: bool,
        action: Option<&Action>,
        target: &ServiceField,
    ) -> bool {
        let datagrams = socket_type == SocketType::Dgram;
        if matches!(action, Some(Action::Relay(_))) {
            if wait {
                self.report
                    .error(&entry.wait.span, "a relay takes each connection itself")
                    .help("write `nowait`, or take `redirect` out");
            }
            return false;
        }
        if let Some(Action::Builtin(_)) = action {
            if wait != datagrams {
                let right = if datagrams { "wait" } else { "nowait" };
                let what = if datagrams { "datagrams" } else { "connections" };
                self.report
                    .warning(
                        &entry.wait.span,
                        format!("built-in services answer {what} themselves: `{right}` is meant"),
                    )
                    .help(format!("write `{right}`"));
            }
            return datagrams;
        }
        if matches!(target, ServiceField::Tcpmux(_)) && wait {
            self.report
                .error(
                    &entry.wait.span,
                    "entries of tcpmux get a connection, not a socket to wait on",
                )
                .help("write `nowait`");
        }
        if datagrams && protocol == Protocol::Unix && !wait {
            self.report
                .error(&entry.wait.span, "a unix datagram has no peer to connect to")
                .help("write `wait`: the program gets the socket itself");
        }
        wait
    }
}

/// An entry of which no more can be said than what it is called.
fn by_name(entry: &Entry) -> Withheld {
    let (label, id, name) = (entry.label(), entry.other_id(), entry.name.clone());
    Withheld { label, id, name, sockets: Vec::new(), tcpmux: None, why: String::new() }
}

/// What stands in for the action of a service that is not served.
fn nothing() -> Action {
    Action::Program(Program { path: PathBuf::new(), argv: Vec::new() })
}

fn tcpmux(target: &ServiceField) -> Option<TcpmuxName> {
    match target {
        ServiceField::Tcpmux(name) => Some(name.clone()),
        _ => None,
    }
}

/// How the log calls a service.
fn label(target: &ServiceField, protocol: Protocol) -> String {
    match target {
        ServiceField::Inet { service, .. } => format!("{service}/{}", protocol.name()),
        ServiceField::Unix { path, .. } => path.to_string_lossy().into_owned(),
        ServiceField::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
        ServiceField::Vsock(_, text) => text.clone(),
        ServiceField::Tcpmux(name) => format!("tcpmux/{}", name.name),
    }
}
