//! The ground floor: what the operating system offers, as values that own what they hold. It knows nothing of services or clients.

pub mod calendar;
pub mod descriptor;
pub mod detach;
pub mod pid_file;
pub mod signals;
pub mod trusted_path;
pub mod zone;
