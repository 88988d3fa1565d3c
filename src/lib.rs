//! oxinetd, a superserver.

pub mod config;
