//! Who may start now: every limit there is, in one place without clock, log or sockets.
//!
//! The loop asks twice. [`Admission::before_accept`], before anything is taken from a
//! listener: may somebody come at all, or does it rest so that clients wait in the
//! backlog? [`Admission::admit`], with the peer's address: may this one come? Then there is a
//! [`Permit`], which [`Admission::release`] takes back when its child has ended, or
//! [`Admission::cancel`] if it never ran; both say which listeners may resume.
//!
//! # The order of the checks
//! 1. Who and when: `only_from` and `no_access`, `access_times`, `max_load`.
//! 2. The source's own limits: `per_source`, `source_rate`.
//! 3. The service's: the server's `max_children`, `instances`, `rate`, `cps`.
//!
//! So the surplus source pays first: only what passes all that concerns itself meets
//! the limits that it shares with others. Nothing is counted before everything has
//! been checked: who is refused uses up no token and no slot, of the service or of its
//! source. (Whoever trips `cps` is refused; the others wait until its rest is over.)
//!
//! # Fairness
//! A backlog is first in, first out, and nobody can see who waits in it. So at
//! `instances` a source with running children does not go behind one without; what
//! keeps it from starving others is `per_source`: it never holds more than that many
//! slots, and what it sends beyond is refused as soon as it reaches the head of the
//! backlog, without using up the slot that was free. Others wait behind its refusals,
//! at the speed of accept(2), and not behind its children.

pub(crate) mod access;
mod bucket;
mod checks;
mod clients;
mod episodes;
mod limits;
mod permit;
mod places;
mod questions;
mod returning;
mod sources;
mod verdict;

use std::time::{Duration, Instant};

use bucket::{Nanos, Pace, Timeline, nanos_of};
use checks::{check_source, check_who_and_when};
use episodes::Episodes;
use places::{ServiceCounts, ServicePlaces};
use sources::{SourceKey, Sources};

use crate::config::model::AtLimit;
use crate::net::address::Address;
pub(crate) use episodes::Notice;
pub(crate) use limits::Limits;
pub(crate) use permit::Permit;
pub(crate) use places::ServiceId;
pub(crate) use sources::{CAPACITY, Source};
pub(crate) use verdict::{Denial, Observed, Reason, Wake};

/// When a `wait` service that rests for [`Reason::Time`] or [`Reason::Load`] is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// All counters of the server. Every operation is O(1), but for O(log n) in
/// [`Admission::expire`].
#[derive(Debug)]
pub(crate) struct Admission {
    places: ServicePlaces,
    max_children: u32,
    running: u32,
    sources: Sources,
    episodes: Episodes,
    timeline: Timeline,
    /// A service has had its clients since that was asked last.
    spent: bool,
}

impl Admission {
    /// For a server with at most so many children at once.
    #[must_use]
    pub(crate) fn new(max_children: u32) -> Self {
        Self {
            places: ServicePlaces::default(),
            max_children,
            running: 0,
            sources: Sources::new(CAPACITY),
            episodes: Episodes::default(),
            timeline: Timeline::default(),
            spent: false,
        }
    }

    /// Takes a service in.
    pub(crate) fn add(&mut self, limits: Limits) -> ServiceId {
        self.places.add(limits)
    }

    /// Gives a service other limits. Counters stay; a bucket that is now smaller is as
    /// empty as it can be. Its listeners should be polled again, as more may be
    /// possible. True if it counts sources only now, and [`Admission::count_source`] is to be
    /// told who is there.
    pub(crate) fn update(&mut self, now: Instant, id: ServiceId, limits: Limits) -> bool {
        let now = self.timeline.nanos(now);
        let Some(service) = self.places.get_mut(id) else { return false };
        service.cps.clamp(limits.cps, now);
        if let Some(pace) = limits.rate {
            service.bucket.clamp(pace, now);
        }
        let counted = std::mem::replace(&mut service.limits, limits).by_source();
        let counts = !counted && service.limits.by_source() && service.running > 0;
        self.spent |= service.is_spent();
        counts
    }

    /// Counts somebody by source whom a service has admitted before it did that. His start is
    /// not: it was no use of a rate that there was not.
    pub(crate) fn count_source(&mut self, now: Instant, id: ServiceId, permit: &mut Permit) {
        if permit.key.service == id && !std::mem::replace(&mut permit.by_source, true) {
            let now = self.timeline.nanos(now);
            self.sources.start(permit.key, None, now);
        }
    }

    /// Removes a service: nobody is admitted any more, and when its last child has
    /// been released its place is free.
    pub(crate) fn retire(&mut self, id: ServiceId) {
        let Some(service) = self.places.get_mut(id) else { return };
        service.retired = true;
        self.episodes.close(id);
        self.places.free_if_done(id);
    }

    /// Whether to take anything from a listener of this service.
    ///
    /// # Errors
    /// [`Denial::Rest`]; [`Denial::Refuse`] only for a service that is gone.
    pub(crate) fn before_accept(&mut self, now: Instant, id: ServiceId) -> Result<(), Denial> {
        let now = self.timeline.nanos(now);
        let service = self.places.admitting(id).ok_or(Denial::Refuse(Reason::Gone))?;
        if service.is_spent() {
            // It is stopped soon, or somebody is cancelled.
            return Err(Denial::Rest(Reason::MaxClients, None));
        }
        if !service.limits.builtin && self.running >= self.max_children {
            self.episodes.rests((None, Reason::MaxChildren), None);
            return Err(Denial::Rest(Reason::MaxChildren, None));
        }
        let limits = &service.limits;
        let rests = limits.wait || limits.at_limit == AtLimit::Wait;
        let resting = if rests && service.is_full() {
            Some((Reason::Instances, None))
        } else if let Some(until) = service.cps.rest(now) {
            Some((Reason::Cps, Some(until)))
        } else {
            let rate = limits.rate.filter(|_| limits.wait);
            rate.filter(|pace| !service.bucket.is_ready(*pace, now))
                .map(|pace| (Reason::Rate, service.bucket.ready_at(pace, now)))
        };
        if resting.is_none_or(|(reason, _)| reason != Reason::Instances) {
            self.episodes.resumed((Some(id), Reason::Instances), now);
        }
        let Some((reason, until)) = resting else { return Ok(()) };
        self.episodes.rests((Some(id), reason), until);
        Err(Denial::Rest(reason, until.and_then(|until| self.timeline.instant(until))))
    }

    /// Lets this peer start, if it may. It is counted until its permit comes back. Whoever is
    /// not admitted may be looked at again: nothing is said of him before [`Admission::deny`].
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(
        &mut self,
        seen: &Observed,
        id: ServiceId,
        peer: Address,
    ) -> Result<Permit, Reason> {
        let now = self.timeline.nanos(seen.now);
        let key = SourceKey { service: id, source: peer.into() };
        self.check(seen, now, key, peer)?;
        let service = self.places.get_mut(id).ok_or(Reason::Gone)?;
        if let Some(pace) = service.limits.rate {
            service.bucket.take(pace, now);
        }
        let pace = service.limits.source_rate;
        Ok(self.count(now, key, pace))
    }

    /// Counts somebody who was admitted before we knew of this service, which is there. What
    /// has been used up of rates is not known.
    pub(crate) fn restore(&mut self, now: Instant, id: ServiceId, source: Source) -> Permit {
        let now = self.timeline.nanos(now);
        self.count(now, SourceKey { service: id, source }, None)
    }

    /// A child has ended.
    pub(crate) fn release(&mut self, now: Instant, permit: Permit) -> Wake {
        self.give_back(now, permit, false)
    }

    /// Somebody admitted could not be started: as [`Admission::release`], and the
    /// starts are not counted either.
    pub(crate) fn cancel(&mut self, now: Instant, permit: Permit) -> Wake {
        self.give_back(now, permit, true)
    }

    /// How many children of a service run.
    #[must_use]
    pub(crate) fn running(&self, id: ServiceId) -> u32 {
        self.places.get(id).map_or(0, |service| service.running)
    }

    /// How many children run.
    #[must_use]
    pub(crate) fn total_running(&self) -> u32 {
        self.running
    }

    /// How many may run.
    #[must_use]
    pub(crate) fn max_children(&self) -> u32 {
        self.max_children
    }

    /// Changes how many may run; who runs stays.
    pub(crate) fn set_max_children(&mut self, most: u32) {
        self.max_children = most;
    }

    /// Which limits have begun and ended to bite since the last call.
    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        self.episodes.notices()
    }

    /// When [`Admission::expire`] wants to be called.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timeline.instant(self.episodes.next_deadline()?)
    }

    /// Ends the episodes of limits that have not bitten for a while.
    pub(crate) fn expire(&mut self, now: Instant) {
        let now = self.timeline.nanos(now);
        self.episodes.expire(now);
    }

    /// All checks, in the order that the head of this file gives. Only `cps` changes
    /// something, so it comes last.
    fn check(
        &mut self,
        seen: &Observed,
        now: Nanos,
        key: SourceKey,
        peer: Address,
    ) -> Result<(), Reason> {
        let service = self.places.admitting(key.service).ok_or(Reason::Gone)?;
        if service.is_spent() {
            return Err(Reason::MaxClients);
        }
        check_who_and_when(&service.limits, seen, peer)?;
        check_source(&service.limits, &mut self.sources, now, key)?;
        if !service.limits.builtin && self.running >= self.max_children {
            return Err(Reason::MaxChildren);
        }
        if service.is_full() {
            return Err(Reason::Instances);
        }
        if service.limits.rate.is_some_and(|pace| !service.bucket.is_ready(pace, now)) {
            return Err(Reason::Rate);
        }
        let service = self.places.get_mut(key.service).ok_or(Reason::Gone)?;
        match service.limits.cps {
            Some(cps) if !service.cps.count(cps, now) => Err(Reason::Cps),
            _ => Ok(()),
        }
    }

    /// What becomes of somebody who is not admitted, for this reason. A `wait` service's program
    /// has no connection that could be closed: it is told to rest instead.
    pub(crate) fn deny(&mut self, now: Instant, id: ServiceId, reason: Reason) -> Denial {
        if reason == Reason::Gone {
            return Denial::Refuse(reason);
        }
        let now = self.timeline.nanos(now);
        let whose = (Some(id).filter(|_| reason != Reason::MaxChildren), reason);
        let waits = |service: &&ServiceCounts| service.limits.wait && !service.limits.builtin;
        let Some(service) = self.places.get(id).filter(waits) else {
            self.episodes.refused(whose, now);
            return Denial::Refuse(reason);
        };
        let until = match reason {
            Reason::MaxChildren | Reason::Instances | Reason::MaxClients => None,
            Reason::Rate => service.limits.rate.and_then(|pace| service.bucket.ready_at(pace, now)),
            Reason::Cps => Some(service.cps.ready_at()),
            _ => Some(now.saturating_add(nanos_of(LOOK_AGAIN))),
        };
        self.episodes.rests(whose, until);
        Denial::Rest(reason, until.and_then(|until| self.timeline.instant(until)))
    }

    fn count(&mut self, now: Nanos, key: SourceKey, pace: Option<Pace>) -> Permit {
        let Some(service) = self.places.get_mut(key.service) else {
            debug_assert!(false, "there is no service to be counted by");
            return Permit::new(key, false);
        };
        service.running = service.running.saturating_add(1);
        service.clients = service.clients.saturating_add(1);
        let (child, by_source) = (!service.limits.builtin, service.limits.by_source());
        let spent = service.is_spent();
        self.running = self.running.saturating_add(u32::from(child));
        self.spent |= spent;
        if by_source {
            self.sources.start(key, pace, now);
        }
        Permit::new(key, by_source)
    }

    fn give_back(&mut self, now: Instant, mut permit: Permit, refund: bool) -> Wake {
        let now = self.timeline.nanos(now);
        let (key, by_source) = (permit.key, permit.by_source);
        permit.close();
        let id = key.service;
        let Some(service) = self.places.get_mut(id) else {
            debug_assert!(false, "a service is there while somebody has its permit");
            return Wake::Nobody;
        };
        service.running = service.running.saturating_sub(1);
        if refund {
            service.clients = service.clients.saturating_sub(1);
            service.cps.give_back();
            if let Some(pace) = service.limits.rate {
                service.bucket.give_back(pace);
            }
        }
        let pace = service.limits.source_rate.filter(|_| refund);
        let room = !service.is_full() && !service.retired;
        let child = !service.limits.builtin;
        if by_source {
            self.sources.end(key, pace, now);
        }
        self.running = self.running.saturating_sub(u32::from(child));
        if room {
            self.episodes.resumed((Some(id), Reason::Instances), now);
        }
        self.places.free_if_done(id);
        if child && self.running.checked_add(1) == Some(self.max_children) {
            self.episodes.resumed((None, Reason::MaxChildren), now);
            Wake::All
        } else if room {
            Wake::Service(id)
        } else {
            Wake::Nobody
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod traffic_tests;
