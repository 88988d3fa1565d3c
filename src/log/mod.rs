//! The log: the vocabulary of its lines, and where they go.

pub mod digits;
pub(crate) mod escape;
pub mod events;
pub(crate) mod label;
pub(crate) mod line;
pub(crate) mod signal;
pub mod sink;
pub mod target;
pub mod visible;
