//! A reload in the turns of the loop: begun, gone on with, told of.

use std::rc::Rc;

use super::{PORTION, Phase, ReloadOutcome, watched};
use crate::config::diagnostic::Severity;
use crate::config::lookup::{AT_LEISURE, Manner};
use crate::control::answer;
use crate::log::events;
use crate::log::sink;
use crate::reload::{LIMIT, LoadedFinding, Loading, ReaderProgress, ReloadWorker};
use crate::server::Server;
use crate::server::control::connection::ControlStage;
use crate::server::control::render::answer_of;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::services::counting::Changes;
use crate::server::state::ServiceState;
use crate::sys::memory;

impl Server {
    /// Reads the configuration again: now, or after the reload that goes on, which may
    /// have read what has been changed since. The number of the reload that is meant.
    pub(in crate::server) fn reload(&mut self) -> u64 {
        self.facts.reserve.with(sink::reopen);
        let next = self.reloading.number.saturating_add(1);
        if matches!(self.reloading.phase, Phase::Idle) {
            self.reloading.number = next;
            self.begin_reload();
        } else {
            self.reloading.again = true;
        }
        next
    }

    /// The one beginning of every reload. To its end, [`Self::reload_over`], it takes as
    /// many turns as it needs.
    fn begin_reload(&mut self) {
        self.reload_begins();
        self.reloading.due = self.reactor.now + LIMIT;
        self.reactor.timers.set(self.reloading.due, Timer::Reload);
        let served = || {
            let states = self.services.order.iter().filter_map(|key| self.services.all.get(*key));
            states.map(|state| Rc::clone(&state.service)).collect()
        };
        let (read, before) = (&*self.reloading.load, self.services.naming.known().clone());
        let manner = Manner { before, trusts: false, time: AT_LEISURE, serves: true };
        let load = || read(manner.clone());
        let loader = self.facts.reserve.with(|| ReloadWorker::start(load, served));
        self.reloading.phase = match watched(loader, Owner::Loader, &self.reactor) {
            Ok(loader) => Phase::Reading { loader: Box::new(loader), ready: true },
            Err(error) => unread(&format!("no process can be made for it: {error}")),
        };
    }

    /// The one end of every reload, whatever has become of it.
    fn reload_over(&mut self, outcome: &ReloadOutcome) {
        self.reactor.timers.cancel(self.reloading.due, Timer::Reload);
        self.reloading.note(outcome);
        match outcome.result {
            Ok(Changes { kept, opened, closed, updated }) => {
                events::reloaded(kept, opened, closed, updated);
            }
            Err(errors) => {
                // As by one that succeeds.
                sink::open_again();
                events::reload_refused(errors);
            }
        }
        let reloaded = answer_of(outcome);
        let number = self.reloading.number;
        let waits = |stage| matches!(stage, ControlStage::AwaitsReload(wanted) if wanted <= number);
        self.answer_those(waits, &answer::line(&reloaded));
        self.reload_ended(&reloaded);
    }

    /// A turn's part of a reload.
    pub(in crate::server) fn go_on_reloading(&mut self) {
        let mut left = PORTION;
        while left > 0 && self.reloading.is_busy() {
            let phase = std::mem::take(&mut self.reloading.phase);
            self.reloading.phase = self.next_phase(phase, &mut left);
        }
        if matches!(self.reloading.phase, Phase::Idle) && std::mem::take(&mut self.reloading.again)
        {
            self.reload();
        }
    }

    fn next_phase(&mut self, phase: Phase, left: &mut usize) -> Phase {
        match phase {
            Phase::Idle => Phase::Idle,
            Phase::Reading { mut loader, .. } => {
                *left = 0;
                match loader.turn(&mut self.reactor.scratch) {
                    ReaderProgress::More => Phase::Reading { loader, ready: true },
                    ReaderProgress::Waiting => Phase::Reading { loader, ready: false },
                    ReaderProgress::Over(Ok(mut loading)) => {
                        self.correct_findings(&mut loading.findings);
                        Phase::Telling { loading, told: 0 }
                    }
                    ReaderProgress::Over(Err(why)) => unread(&why),
                }
            }
            Phase::Telling { loading, told } => self.log_findings(loading, told, left),
            Phase::Applying { mut applying, findings } => {
                if self.apply_some(&mut applying, left) {
                    return Phase::Applying { applying, findings };
                }
                if applying.changes {
                    memory::trim_memory();
                }
                memory::release_code();
                let result = Ok(applying.changes(self.reloading.turnover));
                self.reload_over(&ReloadOutcome { findings, result });
                Phase::Idle
            }
        }
    }

    /// Of those that go on as they were it is said together. What is not open does not go on:
    /// it is tried again.
    fn correct_findings(&self, findings: &mut Vec<LoadedFinding>) {
        let held: Vec<usize> = findings.iter().filter_map(|finding| finding.held).collect();
        let keys = held.into_iter().filter_map(|old| self.services.order.get(old));
        let states = keys.filter_map(|key| self.services.all.get(*key));
        let (closed, open): (Vec<&ServiceState>, Vec<&ServiceState>) =
            states.partition(|state| self.is_closed(state));
        findings.retain(|finding| finding.held.is_none());
        findings.extend(LoadedFinding::go_on(&labels(&open)));
        findings.extend(LoadedFinding::go_on_trying(&labels(&closed)));
    }

    fn log_findings(&mut self, loading: Box<Loading>, told: usize, left: &mut usize) -> Phase {
        let mut told = told;
        for finding in loading.findings.iter().skip(told).take(*left) {
            let is_error = finding.severity == Severity::Error;
            events::configuration(is_error, &finding.line);
            told = told.saturating_add(1);
            *left = left.saturating_sub(1);
        }
        if told < loading.findings.len() {
            return Phase::Telling { loading, told };
        }
        let mut loading = *loading;
        let findings = std::mem::take(&mut loading.findings);
        if loading.errors > 0 {
            self.reload_over(&ReloadOutcome { findings, result: Err(loading.errors) });
            return Phase::Idle;
        }
        Phase::Applying { applying: Box::new(self.begin_to_apply(loading)), findings }
    }
}

fn labels<'a>(states: &[&'a ServiceState]) -> Vec<&'a str> {
    states.iter().map(|state| &*state.label).collect()
}

/// The reading itself has failed: an error like one in the file.
fn unread(why: &str) -> Phase {
    let finding = LoadedFinding::error(&format!("the configuration could not be read: {why}"));
    let loading = Loading { findings: vec![finding], errors: 1, ..Loading::default() };
    Phase::Telling { loading: Box::new(loading), told: 0 }
}
