//! Those who ask about the server, and what they tell it to do.

pub(super) mod connection;
pub(super) mod execute;
pub(super) mod render;
