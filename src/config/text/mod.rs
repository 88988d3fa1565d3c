//! Bytes of a file as text whose words know their places.

pub(super) mod source;
pub(super) mod words;
