//! Connections to the built-in services: thousands at once, each a bounded amount
//! of work per turn, closed when nothing goes on for too long.

mod turns;

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::departing::{ClientLeft, FrontedClient};
use super::stream::Stream;
use crate::builtin::Conversation;
use crate::net::fronted::Fronted;
use crate::upgrade::moment;

/// Why most end.
pub(super) const DONE: &str = "done";

/// A connection to a built-in service.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct BuiltinStage {
    #[serde(rename = "machine")]
    pub(in crate::server) conversation: Conversation,
    #[serde(rename = "descriptor")]
    pub(in crate::server) stream: Stream,
    /// What stood before its data.
    pub(in crate::server) fronted: Option<Rc<Fronted>>,
    /// None of a client that no worker has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::server) front: Option<Box<FrontedClient>>,
    /// When something last went on.
    #[serde(with = "moment")]
    pub(in crate::server) active: Instant,
    /// How long it may be silent.
    pub(in crate::server) silence: Duration,
    /// Its service has said so.
    #[serde(default)]
    pub(in crate::server) limited: bool,
    /// When its timer is due.
    #[serde(skip, default = "Instant::now")]
    pub(in crate::server) due: Instant,
}

impl BuiltinStage {
    /// How its client has left it, if otherwise than it should.
    fn how_client_left(&self) -> ClientLeft {
        self.front.as_deref().and_then(FrontedClient::how)
    }
}
