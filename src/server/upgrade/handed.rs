//! Whoever is handed over with something that he does not know himself.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// Somebody who is served, as he is handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HandedSession<C, S> {
    #[serde(rename = "served")]
    pub(super) client: C,
    #[serde(flatten)]
    pub(super) stage: S,
    /// The group of a program's processes.
    #[serde(default)]
    pub(super) group: Option<OsString>,
}

/// What is left of a program whose whole session is to end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HandedRemains<R> {
    /// It is not reaped yet.
    pub(super) pid: i32,
    #[serde(flatten)]
    pub(super) remains: R,
}
