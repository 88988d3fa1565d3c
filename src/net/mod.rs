//! What the network offers: addresses, listeners and connections, datagrams, unix paths.

pub mod address;
pub mod datagram;
pub mod listener;
pub mod socket_address;
pub mod unix_path;
pub mod vsock;
