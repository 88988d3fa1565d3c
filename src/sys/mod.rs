//! The ground floor: what the operating system offers, as values that own what they hold. It knows nothing of services or clients.

pub(crate) mod calendar;
pub(crate) mod descriptor;
pub(crate) mod detach;
pub(crate) mod pid_file;
pub(crate) mod signals;
pub(crate) mod trusted_path;
pub(crate) mod zone;
