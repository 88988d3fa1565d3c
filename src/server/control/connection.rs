//! Connections of those who ask about the server: the control socket and the endpoints
//! for metrics and for the page. Few at a time, each a bounded amount of work per turn and a bounded
//! amount of memory. A request has its time, however it drips in; one that is answered and takes
//! nothing for too long is closed. A newcomer takes the place of somebody of whose source there are
//! most ([`crowding`](super::crowding)).

mod turns;

use std::fs::File;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::producer::Producer;
use crate::control::host::OwnNames;
use crate::control::socket::{ControlKind, may_control};
use crate::net::address::Address;
use crate::net::listener::Listener;
use crate::server::reactor::slab::Key;
use crate::server::reactor::slab::Slab;
use crate::sys::handed;
use crate::upgrade::hex;

/// A socket at which the server is asked.
#[derive(Debug)]
pub(in crate::server) struct ControlListener {
    pub(in crate::server) listener: Listener,
    pub(in crate::server) kind: ControlKind,
}

/// Somebody who asks.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct ControlConnection {
    #[serde(rename = "descriptor", with = "handed")]
    pub(in crate::server) stream: File,
    #[serde(rename = "controls")]
    pub(in crate::server) kind: ControlKind,
    pub(in crate::server) peer: Address,
    pub(in crate::server) stage: ControlStage,
    /// What has been read of the request.
    #[serde(with = "hex")]
    pub(in crate::server) request: Vec<u8>,
    /// What is to be sent, and how much of it has been.
    #[serde(rename = "unsent", with = "hex")]
    pub(in crate::server) out: Vec<u8>,
    #[serde(skip)]
    pub(in crate::server) sent: usize,
    /// Where more of the answer comes from.
    #[serde(skip)]
    pub(in crate::server) producer: Producer,
    /// When it came, and how many had come then.
    #[serde(skip, default = "Instant::now")]
    pub(in crate::server) since: Instant,
    #[serde(skip)]
    pub(in crate::server) number: u64,
    /// When something of the answer was last taken.
    #[serde(skip, default = "Instant::now")]
    pub(in crate::server) active: Instant,
}

/// How far somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) enum ControlStage {
    /// The request is being read.
    Asking,
    /// The answer comes when the reload of this number is over.
    AwaitsReload(u64),
    /// The answer comes from the program that goes on in our place.
    AwaitsUpgrade,
    /// The answer is being sent.
    Told,
    /// The same, but the connection ends with the server.
    Stays,
}

/// Everything about those who ask.
#[derive(Debug)]
pub(in crate::server) struct ControlSockets {
    pub(in crate::server) listeners: Slab<ControlListener>,
    pub(in crate::server) connections: Slab<ControlConnection>,
    /// What browsers may call us.
    pub(in crate::server) own_names: OwnNames,
    /// How many have asked.
    came: u64,
}

impl ControlSockets {
    pub(in crate::server) fn new() -> Self {
        let own_names = OwnNames::default();
        Self { listeners: Slab::new(), connections: Slab::new(), own_names, came: 0 }
    }

    /// How many of the sockets are asked over HTTP.
    pub(in crate::server) fn http_listeners(&self) -> usize {
        self.listeners.iter().filter(|(_, it)| it.kind != ControlKind::Control).count()
    }

    /// Whether a relay of ours has connected, for somebody who could not.
    fn is_ourselves(&self, key: Key) -> bool {
        let peer = self.connections.get(key).map(|connection| connection.peer);
        matches!(peer, Some(Address::Unix { pid, .. }) if pid == std::process::id())
    }

    /// Whether the mode of the socket's file has kept everybody else out.
    fn may_ask(&self, key: Key) -> bool {
        let peer = self.connections.get(key).map(|connection| connection.peer);
        matches!(peer, Some(Address::Unix { uid, .. }) if may_control(uid))
    }

    pub(super) fn produce_for(&mut self, key: Key, producer: Producer) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.producer = producer;
        }
    }
}
