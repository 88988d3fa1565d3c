//! What is counted, for a service and for all.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use crate::control::statistics::{Statistics, exit_word};
use crate::log::events::End;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::sys::calendar::unix_time;

impl Server {
    /// Counts for a service, if it is still there, and for all.
    pub(in crate::server) fn count(&mut self, service: Key, change: impl Fn(&mut Statistics)) {
        change(&mut self.statistics);
        if let Some(state) = self.services.all.get_mut(service) {
            change(state.statistics.get_or_insert_default());
        }
    }

    /// Somebody who was admitted is not served.
    pub(in crate::server) fn count_failure(
        &mut self,
        service: Key,
        stage: &str,
        error: &dyn Display,
    ) {
        let (now, message) = (unix_time(), format!("{stage}: {error}"));
        self.count(service, |counters| counters.failed(now, message.clone()));
    }

    /// A program has ended.
    pub(in crate::server) fn count_end(&mut self, service: Key, end: End, time: Duration) {
        let how = match end {
            End::Status(status) => exit_word(status),
            End::Signal(name) => Cow::Borrowed(name),
            End::Unknown => Cow::Borrowed("unknown"),
        };
        self.count(service, |counters| counters.ended(how.clone(), time));
    }

    /// Bytes of a program's standard error that were thrown away.
    pub(in crate::server) fn count_dropped(&mut self, key: Key) {
        let Some(state) = self.programs.stderr.get_mut(key).filter(|state| state.dropped > 0)
        else {
            return;
        };
        let bytes = u64::try_from(std::mem::take(&mut state.dropped)).unwrap_or(u64::MAX);
        let service = state.service;
        self.count(service, |counters| {
            counters.stderr_dropped = counters.stderr_dropped.saturating_add(bytes);
        });
    }
}
