//! What the network offers: addresses, listeners and connections, datagrams, unix paths.

pub(crate) mod address;
pub(crate) mod askers;
pub(crate) mod datagram;
pub(crate) mod fronted;
pub(crate) mod listener;
pub(crate) mod own_address;
pub(crate) mod sock_diag;
pub(crate) mod socket_address;
pub(crate) mod unix_path;
pub(crate) mod vsock;
