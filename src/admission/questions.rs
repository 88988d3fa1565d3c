//! What admission can be asked of somebody before he takes a place, and of who waits for one.

use std::time::Instant;

use super::Admission;
use super::checks::{check_source, check_who_and_when, may_connect};
use super::places::{ServiceCounts, ServiceId};
use super::sources::{Source, SourceKey};
use super::verdict::{Observed, Reason};
use crate::config::model::AtLimit;
use crate::net::address::Address;

impl Admission {
    /// Whether only the end of a child can let somebody in: anybody, or from this source.
    #[must_use]
    pub(crate) fn awaits_an_end(&self, id: ServiceId, source: Option<Source>) -> bool {
        let Some(service) = self.places.admitting(id) else { return false };
        let holds_its_share =
            |(source, most)| self.sources.record(SourceKey { service: id, source }).running >= most;
        service.is_full()
            || (!service.limits.builtin && self.running >= self.max_children)
            || source.zip(service.limits.per_source).is_some_and(holds_its_share)
    }

    /// Which limits bite, as the log has said: of a service, or of all together.
    pub(crate) fn biting(&self, id: Option<ServiceId>) -> impl Iterator<Item = &'static str> {
        self.episodes.under_way(id).map(Reason::as_str)
    }

    /// Whether somebody may come at all, before it is asked whether there is a place for him.
    /// Nothing is counted.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn may_come(
        &mut self,
        seen: &Observed,
        id: ServiceId,
        peer: Address,
    ) -> Result<(), Reason> {
        let now = self.timeline.nanos(seen.now);
        let service = self.places.admitting(id).ok_or(Reason::Gone)?;
        check_who_and_when(&service.limits, seen, peer)?;
        let key = SourceKey { service: id, source: peer.into() };
        check_source(&service.limits, &mut self.sources, now, key)
    }

    /// Why somebody who has been admitted, and is not served yet, would not be any more: by who he
    /// is, and by the time of day. Nothing is counted.
    #[must_use]
    pub(crate) fn keeps_out(
        &self,
        seen: &Observed,
        id: ServiceId,
        peer: Address,
    ) -> Option<Reason> {
        let service = self.places.admitting(id)?;
        check_who_and_when(&service.limits, seen, peer).err().filter(|it| *it != Reason::Load)
    }

    /// Whether datagrams for this service are looked at before they start its program.
    #[must_use]
    pub(crate) fn looks_at_senders(&self, id: ServiceId) -> bool {
        self.places.admitting(id).is_some_and(|service| service.limits.access.is_some())
    }

    /// Whether this peer may say on whose behalf it connects. Whoever may connect to a unix
    /// socket may, since its mode says who that is.
    #[must_use]
    pub(crate) fn may_speak_for_others(&self, id: ServiceId, peer: Address) -> bool {
        let senders = self.places.admitting(id).and_then(|service| service.limits.senders.as_ref());
        senders.is_some_and(|senders| match peer {
            Address::Inet(socket) => senders.allows(socket.ip()),
            Address::Unix { .. } => true,
            Address::Vsock(_) | Address::None => false,
        })
    }

    /// Whether somebody who comes while all places are taken waits for one.
    #[must_use]
    pub(crate) fn waits_for_a_place(&self, id: ServiceId, reason: Reason) -> bool {
        let waits = |service: &ServiceCounts| service.limits.at_limit == AtLimit::Wait;
        matches!(reason, Reason::Instances | Reason::MaxChildren)
            && self.places.admitting(id).is_some_and(waits)
    }

    /// Whether a datagram from this peer may start the program of a `wait` service.
    /// Nothing is counted but a refusal.
    pub(crate) fn admits_sender(&mut self, now: Instant, id: ServiceId, peer: Address) -> bool {
        let now = self.timeline.nanos(now);
        let Some(service) = self.places.admitting(id) else { return false };
        let admits = may_connect(&service.limits, peer);
        if !admits {
            self.episodes.refused((Some(id), Reason::Access), now);
        }
        admits
    }
}
