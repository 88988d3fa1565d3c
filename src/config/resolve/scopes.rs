//! Settings of an entry that do nothing for a service of its kind, or cannot be there.

use super::endpoint::ServiceField;
use super::resolver::Resolver;
use crate::config::attribute::Scope;
use crate::config::model::{Action, SocketType};
use crate::config::syntax::entry::{Entry, Setting};

impl Resolver<'_> {
    /// Settings of the entry itself that do nothing for such a service.
    pub(super) fn check_scopes(
        &mut self,
        entry: &Entry,
        socket_type: SocketType,
        wait: bool,
        action: Option<&Action>,
        target: &ServiceField,
    ) {
        let inet = matches!(target, ServiceField::Inet { .. });
        let tcpmux = matches!(target, ServiceField::Tcpmux(_));
        let vsock = matches!(target, ServiceField::Vsock(..));
        let relay = matches!(action, Some(Action::Relay(_)));
        let builtin = relay || matches!(action, Some(Action::Builtin(_)));
        // A file of xinetd is full of what does nothing, which nobody there has ever heard of.
        let settings = if entry.id.is_some() { &[] } else { entry.settings.as_slice() };
        for setting in settings {
            let (has_effect, what) = match setting.attribute.scope {
                Scope::Every => (true, ""),
                Scope::Program if relay => (false, "a relay runs no program"),
                Scope::Program => (!builtin, "a built-in service runs no program"),
                Scope::Nowait => (!wait || builtin, "with `wait`, one program takes all clients"),
                Scope::Source => {
                    (inet || vsock || tcpmux, "clients of a unix socket have no address")
                }
                Scope::Connection if tcpmux => (false, "tcpmux has greeted the client already"),
                Scope::Connection => (
                    socket_type == SocketType::Stream && !wait,
                    "the server talks to clients on streams only, and with `nowait`",
                ),
                Scope::Connected if relay => (false, "a relay runs no program"),
                Scope::Connected if builtin => (false, "a built-in service runs no program"),
                Scope::Connected => (
                    socket_type != SocketType::Dgram && !wait,
                    "only programs of `nowait` services on streams have a connection",
                ),
                Scope::Listening => (
                    socket_type != SocketType::Dgram && !tcpmux,
                    "no clients queue for this socket",
                ),
                Scope::Socket if vsock => (false, "a virtual socket has buffers of its own"),
                Scope::Socket => (!tcpmux, "an entry of tcpmux has no socket of its own"),
                Scope::Inet => (inet, "this is no socket of IPv4 or IPv6"),
                Scope::Tcp => (
                    (inet || tcpmux) && socket_type == SocketType::Stream,
                    "this is no service over TCP",
                ),
                Scope::UnixPath => (
                    matches!(target, ServiceField::Unix { .. }),
                    "this is no unix socket in the file system",
                ),
                // Whoever relies on these is told that it cannot be: below, and in `front`.
                Scope::Moving | Scope::Fronted | Scope::Terminal => (true, ""),
                Scope::Relayed => (relay, "there is no `redirect`"),
                Scope::Answers => (
                    inet && socket_type == SocketType::Dgram && builtin,
                    "this is no built-in service that answers datagrams over UDP",
                ),
            };
            if !has_effect && setting.is_right() {
                self.report
                    .warning(
                        &setting.name.span,
                        format!("`{}` has no effect: {what}", setting.name.text),
                    )
                    .help("take it out");
            }
        }
    }

    /// Settings of the entry itself that need connections which are seen to move.
    pub(super) fn check_moving(
        &mut self,
        entry: &Entry,
        socket_type: SocketType,
        (wait, builtin): (bool, bool),
        target: &ServiceField,
    ) {
        let what = match target {
            _ if socket_type == SocketType::Dgram => "datagrams are no connection",
            _ if wait => "with `wait`, the program takes the connections itself",
            ServiceField::Inet { .. } | ServiceField::Tcpmux(_) => return,
            _ if builtin => return,
            _ => "only over TCP it is known what moves between a client and a program",
        };
        let moving =
            |setting: &&Setting| setting.attribute.scope == Scope::Moving && setting.is_right();
        for setting in entry.settings.iter().filter(moving) {
            let message = format!("`{}` cannot be: {what}", setting.name.text);
            self.report.error(&setting.name.span, message).help("take it out");
        }
    }
}
