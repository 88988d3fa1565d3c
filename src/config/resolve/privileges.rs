//! What only root can do for a service: asked of another server, it is not served.

use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::diagnostic::Span;
use crate::config::model::{Action, Resource};
use crate::config::syntax::entry::Entry;

impl Resolver<'_> {
    /// Warns of attributes that this server has not the rights for.
    pub(super) fn check_privileges(
        &mut self,
        entry: &Entry,
        draft: &Draft,
        action: Option<&Action>,
    ) {
        if self.lookup.is_privileged() {
            self.check_descriptors(entry, draft);
            return;
        }
        self.check_limits(entry, draft, action);
        let own = self.lookup.own_account();
        let attributes = &draft.attributes;
        let program = !matches!(action, Some(Action::Builtin(_) | Action::Relay(_)));
        let foreign_group = |gid: u32| gid != own.gid && !self.lookup.own_groups().contains(&gid);
        for (name, lacks, what) in [
            ("chroot", program && attributes.process.chroot.is_some(), "change the root directory"),
            ("nice", program && attributes.process.nice < 0, "raise the priority of programs"),
            (
                "socket_user",
                attributes.socket.user.is_some_and(|uid| uid != own.uid),
                "give a socket to another user",
            ),
            (
                "socket_group",
                attributes.socket.group.is_some_and(foreign_group),
                "give a socket to a group it is not in",
            ),
        ] {
            if lacks {
                let help = "start the server as root, or take it out";
                self.lacks(&place(entry, name), format!("only root can {what}"), help);
            }
        }
    }

    /// More descriptors than the kernel lets anybody have are as many as the server may have.
    fn check_descriptors(&mut self, entry: &Entry, draft: &Draft) {
        let limits = &draft.attributes.process.rlimits;
        let Some((_, asked)) = limits.iter().find(|(it, _)| *it == Resource::Files) else { return };
        let Some(most) = self.lookup.most_descriptors() else { return };
        if asked.is_some_and(|asked| asked <= most) {
            return;
        }
        let help = format!("write a number up to {most} (fs.nr_open)");
        let message = "nobody can have so many descriptors: it is what the server itself may have";
        self.report.warning(&place(entry, "rlimit_files"), message).of_the_machine().help(help);
    }

    /// A limit sets both the soft and the hard one, and that goes down only.
    fn check_limits(&mut self, entry: &Entry, draft: &Draft, action: Option<&Action>) {
        if matches!(action, Some(Action::Builtin(_) | Action::Relay(_))) {
            return;
        }
        for (resource, limit) in &draft.attributes.process.rlimits {
            let Some(own) = self.lookup.hard_limit(*resource) else { continue };
            if limit.is_none_or(|limit| limit > own) {
                let what = format!("only root can raise a limit above the server's own, {own}");
                let help = "lower it, or start the server as root or with a higher limit";
                self.lacks(&place(entry, name(*resource)), what, help);
            }
        }
    }
}

/// What an attribute calls a resource.
fn name(resource: Resource) -> &'static str {
    match resource {
        Resource::As => "rlimit_as",
        Resource::Core => "rlimit_core",
        Resource::Cpu => "rlimit_cpu",
        Resource::Data => "rlimit_data",
        Resource::Files => "rlimit_files",
        Resource::Fsize => "rlimit_fsize",
        Resource::Nproc => "rlimit_nproc",
        Resource::Stack => "rlimit_stack",
    }
}

/// Where an attribute is said; the service field can say who owns a socket.
fn place(entry: &Entry, name: &str) -> Span {
    let mut settings = entry.settings.iter().rev().chain(entry.defaults.iter().rev());
    let found = settings.find(|setting| setting.attribute.name == name);
    found.map_or(&entry.endpoint.span, |setting| &setting.place).clone()
}
