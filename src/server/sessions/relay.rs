//! Relays: connections that are passed on to another server instead of a program.
//! Each has two sockets in the poll; whichever is announced, the relay has its turn.

mod turns;

use serde::{Deserialize, Serialize};

use super::departing::FrontedClient;
use super::dialling::Dial;
use super::idling::Stillness;
use crate::builtin::relay::{Relay, RelaySocket};

/// A relay, or one that is still to be connected.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct RelayStage {
    #[serde(rename = "machine")]
    pub(in crate::server) relay: Relay,
    pub(in crate::server) client: RelaySocket,
    /// None while no address is being tried.
    pub(in crate::server) target: Option<RelaySocket>,
    /// None once connected.
    pub(in crate::server) dial: Option<Box<Dial>>,
    /// Its client has ended and is asked now and then whether it is still there.
    #[serde(skip)]
    pub(in crate::server) probes: bool,
    /// None of a client that no worker has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::server) front: Option<Box<FrontedClient>>,
    /// None if it may be still for ever.
    pub(in crate::server) still: Option<Stillness>,
}
