//! oxinetd, a superserver.

pub mod address;
pub mod admission;
pub mod config;
pub mod peers;
pub mod reload;
