//! Counters: each event is counted for its service and for the server, so that what a
//! removed service has done is not forgotten.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use super::Server;
use super::answering::unix_time;
use super::slab::Key;
use super::state::Child;
use crate::journal::End;
use crate::spawn::Failure;
use crate::statistics::{LastError, Statistics, exit_word};

impl Server {
    /// Counts for a service, if it is still there, and for all.
    pub(super) fn count(&mut self, service: Key, change: impl Fn(&mut Statistics)) {
        change(&mut self.statistics);
        if let Some(state) = self.services.get_mut(service) {
            change(state.statistics.get_or_insert_default());
        }
    }

    /// Somebody who was admitted is not served.
    pub(super) fn count_failure(&mut self, service: Key, stage: &str, error: &dyn Display) {
        let (now, message) = (unix_time(), format!("{stage}: {error}"));
        self.count(service, |counters| counters.failed(now, message.clone()));
    }

    /// Something of a service does not work.
    pub(super) fn note_error(&mut self, service: Key, message: &str) {
        let (time, message) = (unix_time(), message.to_owned());
        let error = Some(LastError { time, message });
        self.count(service, |counters| counters.last_error.clone_from(&error));
    }

    /// A program has ended, or what should have become one.
    pub(super) fn count_end(
        &mut self,
        child: &Child,
        end: End,
        failure: Option<Failure>,
        time: Duration,
    ) {
        if let Some(Failure { stage, errno }) = failure {
            let error = std::io::Error::from_raw_os_error(errno);
            return self.count_failure(child.service, stage.as_str(), &error);
        }
        let how = match end {
            End::Status(status) => exit_word(status),
            End::Signal(name) => Cow::Borrowed(name),
            End::Unknown => Cow::Borrowed("unknown"),
        };
        self.count(child.service, |counters| counters.ended(how.clone(), time));
    }

    /// Bytes of a program's standard error that were thrown away.
    pub(super) fn count_dropped(&mut self, key: Key) {
        let Some(state) = self.stderr.get_mut(key).filter(|state| state.dropped > 0) else {
            return;
        };
        let bytes = u64::try_from(std::mem::take(&mut state.dropped)).unwrap_or(u64::MAX);
        let service = state.service;
        self.count(service, |counters| {
            counters.stderr_dropped = counters.stderr_dropped.saturating_add(bytes);
        });
    }
}
