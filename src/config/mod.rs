//! The configuration language: text → entries with spans → validated model.
//!
//! Pure: everything it wants to know of the machine it asks through [`Lookup`],
//! so that every rule can be tested without root, DNS or a file system.

pub mod diagnostic;
pub mod model;
