//! What admission gives to somebody who may come, and gets back when he has gone.

use super::places::ServiceId;
use super::sources::{Source, SourceKey};

/// The place that somebody has in all counts. There is no second one of it: it goes back to
/// [`Admission::release`](super::Admission::release) or
/// [`Admission::cancel`](super::Admission::cancel), once.
#[derive(Debug)]
#[must_use = "it is counted until it is given back"]
pub(crate) struct Permit {
    pub(super) key: SourceKey,
    /// Its source is counted, too: not if its service did not do that when it was given.
    pub(super) by_source: bool,
    is_open: bool,
}

impl Permit {
    pub(super) fn new(key: SourceKey, by_source: bool) -> Self {
        Self { key, by_source, is_open: true }
    }

    /// Of somebody of whom has been read what he had: what he gets is
    /// [restored](super::Admission::restore) for him, and this is none.
    pub(crate) fn unrestored() -> Self {
        let service = ServiceId { index: u32::MAX, generation: u32::MAX };
        let key = SourceKey { service, source: Source::Local(u32::MAX) };
        Self { key, by_source: false, is_open: false }
    }

    /// The number by which whoever has it is counted.
    pub(crate) fn service(&self) -> ServiceId {
        self.key.service
    }

    /// It has come back, or nobody counts any more, since the server ends.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        debug_assert!(
            !self.is_open || std::thread::panicking(),
            "lost, and counted for ever: {:?}",
            self.key
        );
    }
}
