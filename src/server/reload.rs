//! A reload as the loop sees it: another process reads ([`crate::reload`]), then what
//! it has found is told and done, a bounded part each turn.
//!
//! Reading → telling → applying. One error anywhere in the file, or a reader that fails,
//! and nothing is applied. A signal that comes meanwhile is followed by one more reload.

mod turns;

use std::io;
use std::time::Instant;

use super::reactor::Reactor;
use super::reactor::token::Owner;
use super::services::applying::Applying;
use super::services::counting::{Changes, Turnover};
use crate::config::Loaded;
use crate::config::diagnostic::Severity;
use crate::config::lookup::Manner;
use crate::control::statistics::LastError;
use crate::reload::LIMIT;
use crate::reload::{LoadedFinding, Loading, ReloadWorker};
use crate::sys::calendar::unix_time;

/// Services, sockets or lines that one turn of the loop takes on: a millisecond.
pub(super) const PORTION: usize = 32;

/// What a reload came to.
#[derive(Debug)]
pub(crate) struct ReloadOutcome {
    /// All there was to say about the configuration.
    pub findings: Vec<LoadedFinding>,
    /// What is different now; or how many errors there were, and nothing is.
    pub result: Result<Changes, usize>,
}

/// Where a reload is.
pub(super) struct Reloading {
    /// Reads the configuration; called in a process of its own.
    load: Box<dyn Fn(Manner) -> Loaded>,
    phase: Phase,
    /// It has been asked for again since it began.
    again: bool,
    /// How many have begun.
    number: u64,
    /// By when it must have been read.
    due: Instant,
    /// When what is served was taken over, in seconds since 1970.
    pub(super) applied: u64,
    /// Why the last reload was refused, if it was.
    pub(super) refused: Option<LastError>,
    /// What the sockets of services have come to, reload or not.
    pub(super) turnover: Turnover,
}

#[derive(Default)]
enum Phase {
    #[default]
    Idle,
    Reading {
        loader: Box<ReloadWorker>,
        /// One of its descriptors has been announced, or there was more.
        ready: bool,
    },
    /// The log is told what was found, of which so much has been.
    Telling {
        loading: Box<Loading>,
        told: usize,
    },
    Applying {
        applying: Box<Applying>,
        findings: Vec<LoadedFinding>,
    },
}

impl Reloading {
    pub(super) fn new(load: Box<dyn Fn(Manner) -> Loaded>, now: Instant) -> Self {
        Self {
            load,
            phase: Phase::Idle,
            again: false,
            number: 0,
            due: now,
            applied: unix_time(),
            refused: None,
            turnover: Turnover::default(),
        }
    }

    /// One has come to its end: it holds, or this is why not.
    fn note(&mut self, outcome: &ReloadOutcome) {
        let is_error = |finding: &&LoadedFinding| finding.severity == Severity::Error;
        match outcome.result {
            Ok(_) => (self.applied, self.refused) = (unix_time(), None),
            Err(errors) => {
                let first = outcome.findings.iter().find(is_error);
                let more = match errors.saturating_sub(1) {
                    0 => String::new(),
                    more => format!("; and {more} more"),
                };
                let message = first.map(|it| it.line.clone()).unwrap_or_default() + &more;
                self.refused = Some(LastError { time: unix_time(), message });
            }
        }
    }

    /// The server stops: nothing is applied any more, and whoever reads is ended.
    pub(super) fn stop(&mut self) {
        (self.phase, self.again) = (Phase::Idle, false);
    }

    /// Whether none goes on.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle) && !self.again
    }

    /// Whether it goes on without waiting for anything.
    pub(super) fn is_busy(&self) -> bool {
        match self.phase {
            Phase::Idle => false,
            Phase::Reading { ready, .. } => ready,
            Phase::Telling { .. } | Phase::Applying { .. } => true,
        }
    }

    /// A descriptor of the process that reads has been announced.
    pub(super) fn announced(&mut self) {
        if let Phase::Reading { ready, .. } = &mut self.phase {
            *ready = true;
        }
    }

    /// The process that reads, while there is one.
    pub(super) fn loader(&mut self) -> Option<&mut ReloadWorker> {
        match &mut self.phase {
            Phase::Reading { loader, .. } => Some(loader),
            _ => None,
        }
    }

    /// Whether this is the process that reads a configuration.
    pub(super) fn has_loader(&self, pid: i32) -> bool {
        matches!(&self.phase, Phase::Reading { loader, .. } if loader.pid() == pid)
    }

    /// It has read for too long.
    pub(in crate::server) fn overdue(&mut self) {
        if let Some(loader) = self.loader() {
            loader.give_up(format!("it took longer than {} seconds", LIMIT.as_secs()));
        }
        self.announced();
    }
}

/// A process that reads for us, if it could be started: what it has to say is announced.
pub(super) fn watched(
    worker: io::Result<ReloadWorker>,
    owner: Owner,
    reactor: &Reactor,
) -> io::Result<ReloadWorker> {
    let worker = worker?;
    worker.descriptors().into_iter().flatten().try_for_each(|it| reactor.watch(&it, owner))?;
    Ok(worker)
}
