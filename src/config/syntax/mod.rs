//! The spellings of a configuration: each makes the same entries of its text.

pub(super) mod address;
mod alignment;
mod below;
pub(super) mod command_line;
pub(super) mod dialect;
pub(super) mod entry;
pub(super) mod foreign;
pub(super) mod include;
pub(super) mod inetd;
pub(super) mod line;
mod meant;
pub(super) mod netbsd;
pub(super) mod reader;
pub(super) mod typed;
pub(super) mod xinetd;
