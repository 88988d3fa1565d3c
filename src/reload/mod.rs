//! Reading a configuration in a process of its own.
//!
//! Reading asks NSS, the resolver and the file system, all of which may take any time,
//! and it takes a processor for a while. So a copy of the server does it (fork(2)),
//! which knows the configuration that is served as well: it reads the file, compares
//! ([`plan::plan`]) and sends back through a pipe what there is to say and to
//! do, as [`Step`]s. What stays the same is not sent at all. The server's loop reads the
//! pipe as it reads any other descriptor, a bounded amount each turn.
//!
//! The first configuration is read that way, too: whatever the name services load, and
//! all that a parser leaves behind, is gone with the process.
//!
//! # Why a copy, and not
//! * *a thread*: the server starts programs by sharing its memory with them, which
//!   is sound only in a process without threads (see [`crate::sys::process::fork_to_run`]).
//! * *a program of its own*: it would not know what is served, and would have to be found
//!   and executed by a server that may have lost its rights, its root or its file.
//!
//! # What the copy must not do
//! It closes the server's descriptors first, so that it keeps no port, no connection and
//! no program's pipe open. It ends without running a destructor, and so unlinks nothing.
//! It dies with the server (PR_SET_PDEATHSIG).

pub(crate) mod plan;
pub(crate) mod steps;
pub(crate) mod wire;
mod worker;

pub(crate) use steps::{From, LoadedFinding, Loading, Overview, Serve, ServiceChange, Step};
pub(crate) use worker::{LIMIT, ReaderProgress, ReloadWorker, load_and_wait};
