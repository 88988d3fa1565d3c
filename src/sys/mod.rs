//! The ground floor: what the operating system offers, as values that own what they hold.
//! It knows nothing of services or clients.
//!
//! Raw system calls, and with them `unsafe`, are in the files that say so, each for one kind of
//! thing; everything above goes without.

pub(crate) mod accept;
pub(crate) mod calendar;
pub(crate) mod capabilities;
pub(crate) mod descriptor;
pub(crate) mod descriptor_tables;
pub(crate) mod detach;
pub(crate) mod fd;
pub(crate) mod file_attributes;
pub(crate) mod memory;
pub(crate) mod messages;
pub(crate) mod pid_file;
pub(crate) mod process;
pub(crate) mod signals;
pub(crate) mod socket_options;
pub(crate) mod tcp;
pub(crate) mod trusted_path;
pub(crate) mod zone;
