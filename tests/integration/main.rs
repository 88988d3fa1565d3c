//! Everything a user can do, done as the user would: the real binary, a real
//! configuration, a real client, the real program.

mod config_properties;
mod dialects;
mod golden;
