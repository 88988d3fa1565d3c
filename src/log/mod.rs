//! The log: the vocabulary of its lines, and where they go.

pub(crate) mod digits;
pub(crate) mod escape;
pub mod events;
pub(crate) mod label;
pub(crate) mod line;
pub(crate) mod signal;
pub(crate) mod sink;
pub(crate) mod target;
pub(crate) mod visible;
