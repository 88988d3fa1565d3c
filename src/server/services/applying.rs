//! From the old configuration to the new one, service by service.
//!
//! Each step takes one service over, whole and in one turn: its new sockets are opened,
//! those that stay are given to its new definition, those that nobody has any more are
//! closed. So each service changes at once, and a reload of many is spread over as many
//! turns as it takes, between which clients are served. For that while, some services
//! are new and others still old.
//!
//! Whoever connects finds a listener: a service opens before it closes, and what goes
//! closes last. A socket that moves from one service to another belongs to nobody
//! between their turns; clients wait in its backlog. A socket that cannot be opened
//! because of one that is about to be closed is opened as soon as that is closed;
//! whatever else is in its way is said at the end, and it is tried again later.

mod turns;

use std::collections::HashMap;

use super::certificates::{Certificates, NewCertificate};
use super::counting::{Changes, Turnover};
use crate::config::model::{Endpoint, LogFile, Names};
use crate::reload::{Overview, Step};
use crate::server::reactor::slab::Key;

/// A configuration on its way to be served.
pub(in crate::server) struct Applying {
    steps: std::vec::IntoIter<Step>,
    /// What was served, in the order of its file.
    old: Vec<Key>,
    /// The sockets that old services had before their steps, where others get some of them.
    had: HashMap<usize, Vec<Key>>,
    /// What will be served, so far.
    order: Vec<Key>,
    /// Sockets that could not be opened, by what may be in their way.
    unopened: HashMap<Endpoint, Vec<Key>>,
    stage: ApplyStage,
    /// Files for lines; others stay open until the services that had them are gone.
    log_files: Vec<LogFile>,
    names: Names,
    overview: Overview,
    /// It may have mended what programs have failed for.
    mends: bool,
    /// Those that were shown before; none where nobody has been shown any.
    certificates: Option<Certificates>,
    /// Sockets before, and services that go on with something different.
    before: (Turnover, usize),
    /// Whether anything is different.
    pub(in crate::server) changes: bool,
    turns: usize,
    /// The most that one turn has taken on.
    most: usize,
}

impl Applying {
    /// What it has all come to by now.
    pub(in crate::server) fn changes(&self, now: Turnover) -> Changes {
        let (before, updated) = self.before;
        now.since(before, updated)
    }
}

enum ApplyStage {
    Steps,
    /// Nobody waits for a child any more, since each of these is looked at next.
    Rested(Vec<Key>),
    /// Every socket is looked at, from the one at this place: one that is closed is
    /// tried again, one whose path is gone is opened anew; who rests for a limit, which may
    /// have changed, is served again.
    Sockets(usize),
    /// These certificates are shown now, which is to be said.
    Certificates(std::vec::IntoIter<NewCertificate>),
    /// What is known of all services together.
    Overview,
    Done,
}
