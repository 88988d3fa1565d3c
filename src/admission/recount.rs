//! A service that a reload has count sources while it serves some: they have to be counted
//! as well, or the end of one of them would be taken for that of another of its source.

use std::time::Instant;

use super::sources::SourceKey;
use super::{Admission, ServiceId, Source, held};

impl Admission {
    /// Whether a service counts whom it serves by source.
    #[must_use]
    pub(crate) fn counts_sources(&self, id: ServiceId) -> bool {
        held(&self.places, id).is_some_and(|service| service.limits.by_source())
    }

    /// Counts somebody by source who was admitted before that was done. His start is not: it
    /// was no use of a rate that there was not.
    pub(crate) fn count_by_source(&mut self, now: Instant, id: ServiceId, source: Source) {
        let now = self.timeline.nanos(now);
        self.sources.start(SourceKey { service: id, source }, None, now);
    }
}
