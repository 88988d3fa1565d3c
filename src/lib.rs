//! oxinetd, a superserver.

pub mod address;
pub mod admission;
pub mod builtin;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod journal;
pub mod listener;
pub mod log_sink;
pub mod peers;
pub mod reload;
pub mod server;
pub mod signals;
pub mod spawn;
pub mod unix_path;
pub mod zone;
