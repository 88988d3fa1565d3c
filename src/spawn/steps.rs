//! What a child does to itself on its way to exec, as plain values: they can be read in
//! memory that is shared with the server, in a copy of it, and in a fresh process to which
//! they have been written down.

use std::ffi::CString;

use serde::{Deserialize, Serialize};

use super::sandbox::capabilities::Capabilities;

/// The steps of [`super::Stage`] in numbers and strings; what is none stays as it is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Steps {
    /// What is executed in the end.
    pub(super) path: CString,
    /// Standard input is a terminal, which is to be the session's.
    pub(super) terminal: bool,
    pub(super) limits: Vec<ResourceLimit>,
    pub(super) umask: Option<u32>,
    pub(super) priority: Option<i32>,
    pub(super) chroot: Option<CString>,
    pub(super) chdir: Option<CString>,
    pub(super) capabilities: Option<Capabilities>,
    pub(super) no_new_privs: bool,
    pub(super) groups: Option<Vec<u32>>,
    pub(super) gid: Option<u32>,
    pub(super) uid: Option<u32>,
}

/// A limit of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResourceLimit {
    /// The number of the resource.
    pub(super) resource: u32,
    pub(super) soft: u64,
    pub(super) hard: u64,
    /// As much of it as the server itself may have will do: what it was started with may have
    /// become less, and more descriptors than the kernel has can be asked for.
    pub(super) or_less: bool,
}

impl Steps {
    /// Whether they end as somebody else than they begin: from then on that user, and no
    /// more the server's, says who may look into the process.
    pub(super) fn change_user(&self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }
}
