//! oxinetd, a superserver.

pub mod builtin;
pub mod calendar;
pub mod config;
pub mod zone;
