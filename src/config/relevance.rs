//! Which attributes mean something for which kind of service: what defaults say of others
//! is not theirs.

use super::attribute::Scope;
use super::entry::Entry;
use super::model::{Action, Endpoint, Service, SocketType};

/// What of a service decides that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Whether no program runs.
    internal: bool,
    /// Whether clients have connections.
    stream: bool,
    /// Whether one program takes all clients.
    waits: bool,
    /// Whether they come to a unix socket.
    unix: bool,
}

impl Kind {
    /// By the words of an entry, as far as they are right.
    pub(super) fn of_entry(entry: &Entry) -> Self {
        let starts = |text: &str, word: &str| {
            text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        Self {
            internal: entry.program.text == "internal" && !entry.program.quoted,
            stream: !starts(&entry.socket_type.text, "dgram"),
            waits: starts(&entry.wait.text, "wait"),
            unix: starts(&entry.protocol.text, "unix"),
        }
    }

    /// The same of a service.
    pub(super) fn of_service(service: &Service) -> Self {
        Self {
            internal: !matches!(service.action, Action::Program(_)),
            stream: service.socket_type != SocketType::Dgram,
            waits: service.wait,
            unix: matches!(
                service.sockets.first().map(|socket| &socket.endpoint),
                Some(Endpoint::Unix(_) | Endpoint::Abstract(_))
            ),
        }
    }

    /// Whether an attribute of this scope does something.
    pub(super) fn matters(self, scope: Scope) -> bool {
        match scope {
            Scope::Nowait => !self.waits || self.internal,
            Scope::Program => !self.internal,
            Scope::Listening | Scope::Tcp => self.stream,
            Scope::Connection => self.stream && !self.waits,
            Scope::Moving => self.stream && !self.waits && (self.internal || !self.unix),
            Scope::Answers => self.internal && !self.stream && !self.unix,
            _ => true,
        }
    }
}
