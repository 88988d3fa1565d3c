//! oxinetd, a superserver.

pub mod config;
pub mod lookup;
