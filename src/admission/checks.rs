//! The checks that come before anything that one peer shares with the others.

use super::bucket::Nanos;
use super::limits::Limits;
use super::sources::{SourceKey, Sources};
use super::verdict::{Observed, Reason};
use crate::net::address::Address;

/// The checks that concern only the peer, the time of day and the machine.
pub(super) fn check_who_and_when(
    limits: &Limits,
    seen: &Observed,
    peer: Address,
) -> Result<(), Reason> {
    if !may_connect(limits, peer) {
        return Err(Reason::Access);
    }
    if limits.times.as_ref().is_some_and(|times| !times.contains(seen.minute_of_day)) {
        return Err(Reason::Time);
    }
    if limits.max_load.is_some_and(|most| seen.load > most) {
        return Err(Reason::Load);
    }
    Ok(())
}

/// `only_from` and `no_access`.
pub(super) fn may_connect(limits: &Limits, peer: Address) -> bool {
    let Some(access) = &limits.access else { return true };
    match peer {
        Address::Inet(socket) => access.allows(socket.ip()),
        // A rule on addresses says nothing of users of this machine.
        Address::Unix { .. } => true,
        Address::Vsock(address) => access.allows_machine(address.cid),
        // Only who cannot be asked may go unasked.
        Address::None => limits.wait,
    }
}

/// The source's own limits. Being refused is a use of the source's record.
pub(super) fn check_source(
    limits: &Limits,
    sources: &mut Sources,
    now: Nanos,
    key: SourceKey,
) -> Result<(), Reason> {
    if !limits.by_source() {
        return Ok(());
    }
    let record = sources.record(key);
    let reason = if limits.per_source.is_some_and(|most| record.running >= most) {
        Reason::PerSource
    } else if limits.source_rate.is_some_and(|pace| !record.bucket.is_ready(pace, now)) {
        Reason::SourceRate
    } else if !sources.has_room_for(key) {
        Reason::Sources
    } else {
        return Ok(());
    };
    sources.refused(key, limits.source_rate, now);
    Err(reason)
}
