//! oxinetd, a superserver.

pub mod address;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod journal;
pub mod listener;
pub mod log_sink;
pub mod peers;
pub mod signals;
pub mod spawn;
pub mod unix_path;
