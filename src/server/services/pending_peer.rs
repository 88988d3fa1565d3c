//! A socket on its way to the program of a peer: what it is to hold has been sent to it again.

use std::net::{SocketAddr, UdpSocket};

use serde::{Deserialize, Serialize};

use crate::admission::Permit;
use crate::net::datagram::Flow;
use crate::server::reactor::slab::Key;
use crate::server::upgrade::places::{OfSockets, Placed as _};
use crate::sys::handed;

/// A socket on its way to a peer's program.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct PendingPeer {
    #[serde(rename = "socket", with = "OfSockets")]
    pub(in crate::server) listener: Key,
    /// The service of that.
    #[serde(skip, default = "Key::none")]
    pub(in crate::server) owner: Key,
    #[serde(skip, default = "Permit::unrestored")]
    pub(in crate::server) permit: Permit,
    #[serde(rename = "descriptor", with = "handed")]
    pub(in crate::server) socket: UdpSocket,
    #[serde(flatten)]
    pub(in crate::server) flow: Flow,
    /// Our own address from which its datagrams were sent again.
    pub(in crate::server) sender: SocketAddr,
    /// How many it has to hold.
    pub(in crate::server) expected: usize,
    /// How often that was not so, or others' came in.
    pub(in crate::server) looks: u32,
}
