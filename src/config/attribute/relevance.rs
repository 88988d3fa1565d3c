//! Which attributes mean something for which kind of service: what defaults say of others
//! is not theirs.

use super::definition::Scope;
use crate::config::model::{Action, Endpoint, Service, SocketType};

/// What of a service decides that.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct ServiceKind {
    /// Whether no program runs.
    pub(in crate::config) internal: bool,
    /// Whether clients have connections.
    pub(in crate::config) stream: bool,
    /// Whether one program takes all clients.
    pub(in crate::config) waits: bool,
    /// Whether they come over IPv4 or IPv6.
    pub(in crate::config) ip: bool,
    /// Whether something may stand before their data.
    pub(in crate::config) fronted: bool,
}

impl ServiceKind {
    /// That of a service.
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
            Scope::Terminal => self.stream && !self.waits && !self.internal,
            Scope::Answers => self.internal && !self.stream && self.ip,
            Scope::Fronted => self.fronted && (self.internal || !self.waits),
            Scope::Relayed => self.internal && self.stream,
            _ => true,
        }
    }
}
