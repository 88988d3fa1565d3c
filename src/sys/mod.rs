//! The ground floor: what the operating system offers, as values that own what they hold.
//! It knows nothing of services or clients.
//!
//! Raw system calls, and with them `unsafe`, are in the files that say so, each for one kind of
//! thing; everything above goes without.

pub(crate) mod accept;
#[forbid(unsafe_code)]
pub(crate) mod calendar;
pub(crate) mod capabilities;
#[forbid(unsafe_code)]
pub(crate) mod cgroup;
#[forbid(unsafe_code)]
pub(crate) mod descriptor;
pub(crate) mod descriptor_tables;
#[forbid(unsafe_code)]
pub(crate) mod detach;
pub(crate) mod fd;
pub(crate) mod file_attributes;
#[forbid(unsafe_code)]
pub(crate) mod handed;
pub(crate) mod inherited;
pub(crate) mod interrupt;
pub(crate) mod memory;
pub(crate) mod messages;
#[forbid(unsafe_code)]
pub(crate) mod pid_file;
#[forbid(unsafe_code)]
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod rights;
#[forbid(unsafe_code)]
pub(crate) mod sealed_memory;
pub(crate) mod signals;
pub(crate) mod socket_options;
pub(crate) mod tcp;
pub(crate) mod terminal;
#[forbid(unsafe_code)]
pub(crate) mod trusted_path;
#[forbid(unsafe_code)]
pub(crate) mod zone;
