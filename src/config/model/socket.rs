//! What tells one socket from another: its type, its address and its device.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::path_bytes;
use crate::net::vsock::VsockAddress;

/// The type of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SocketType {
    /// A byte stream: TCP or unix.
    Stream,
    /// Datagrams: UDP or unix.
    Dgram,
    /// Sequenced packets: unix and virtual sockets only.
    SeqPacket,
}

/// One socket to open. Two entries may not have an equal one: equality is the
/// identity by which a reload recognises a socket that it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SocketSpec {
    /// Stream, datagram or sequenced packets.
    pub socket_type: SocketType,
    /// Where it is bound.
    pub endpoint: Endpoint,
    /// The network device it is bound to (SO_BINDTODEVICE), if any.
    pub device: Option<String>,
}

/// An address to bind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Endpoint {
    /// An IPv4 or IPv6 address with its port; port 0 (any free one) only from the command line.
    Inet(#[serde(with = "crate::net::socket_address::one")] SocketAddr),
    /// A unix socket in the file system: an absolute path.
    Unix(#[serde(with = "path_bytes::one")] PathBuf),
    /// A unix socket in Linux's abstract name space, without the leading NUL.
    Abstract(Vec<u8>),
    /// A virtual socket; port 0 (any free one) only from the command line.
    Vsock(VsockAddress),
}
