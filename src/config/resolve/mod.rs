//! Entries become services, every name a number, every combination checked: `service` says in
//! which order, and each of the others has a part of it.

mod access;
mod account;
mod alike;
mod causes;
mod certificates;
mod configuration;
mod duplicates;
mod endpoint;
mod executable;
mod fields;
mod front;
mod incomplete;
mod naming;
mod outcome;
mod overruled;
mod privileges;
mod program;
mod reach;
mod relay;
mod relay_loops;
mod resolver;
mod sandbox;
mod scopes;
mod service;
mod shell;
mod sockets;
mod terminal;
mod tls;
mod transport;
mod unavailable;
mod unix_socket;
mod virtual_socket;

pub(super) use configuration::resolve;
