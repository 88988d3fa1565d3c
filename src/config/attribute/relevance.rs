//! Which attributes mean something for which kind of service: what defaults say of others
//! is not theirs.

use super::Scope;
use crate::config::model::{Action, Endpoint, Service, SocketType};
use crate::config::syntax::entry::Entry;
use crate::net::vsock::is_vsock;

/// What of a service decides that.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct ServiceKind {
    /// Whether no program runs.
    internal: bool,
    /// Whether clients have connections.
    stream: bool,
    /// Whether one program takes all clients.
    waits: bool,
    /// Whether they come over IPv4 or IPv6.
    ip: bool,
    /// Whether something may stand before their data.
    fronted: bool,
}

impl ServiceKind {
    /// By the words of an entry, as far as they are right.
    pub(in crate::config) fn of_entry(entry: &Entry) -> Self {
        let starts = |text: &str, word: &str| {
            text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        Self {
            internal: entry.program.text == "internal" && !entry.program.quoted,
            stream: !starts(&entry.socket_type.text, "dgram"),
            waits: starts(&entry.wait.text, "wait"),
            ip: ["tcp", "udp"].iter().any(|family| starts(&entry.protocol.text, family)),
            fronted: starts(&entry.socket_type.text, "stream")
                && ["tcp", "unix"].iter().any(|family| starts(&entry.protocol.text, family))
                && !starts(&entry.endpoint.text, "tcpmux/")
                && !is_vsock(&entry.endpoint.text),
        }
    }

    /// The same of a service.
    pub(in crate::config) fn of_service(service: &Service) -> Self {
        Self {
            internal: !matches!(service.action, Action::Program(_)),
            stream: service.socket_type != SocketType::Dgram,
            waits: service.wait,
            // Without a socket it is an entry of tcpmux, or waits for a name.
            ip: service.sockets.first().is_none_or(|it| matches!(it.endpoint, Endpoint::Inet(_))),
            fronted: service.socket_type == SocketType::Stream
                && service.tcpmux.is_none()
                && !service.sockets.iter().any(|it| matches!(it.endpoint, Endpoint::Vsock(_))),
        }
    }

    /// Whether an attribute of this scope does something.
    pub(in crate::config) fn matters(self, scope: Scope) -> bool {
        match scope {
            Scope::Nowait => !self.waits || self.internal,
            Scope::Program => !self.internal,
            Scope::Listening => self.stream,
            Scope::Tcp => self.stream && self.ip,
            Scope::Connection => self.stream && !self.waits,
            Scope::Moving => self.stream && !self.waits && (self.internal || self.ip),
            Scope::Answers => self.internal && !self.stream && self.ip,
            Scope::Fronted => self.fronted && (self.internal || !self.waits),
            Scope::Relayed => self.internal && self.stream,
            _ => true,
        }
    }
}
