//! Descriptors that neither clients nor programs can use up.
//!
//! Where a process may have few, those who hold connections (each as many as its limits let
//! it) could leave none to anybody else: no program would start, nobody could ask the server
//! what is wrong, and the file that mends it could not be read. So clients of built-in
//! services and relays leave a part to programs; and a few descriptors are kept back from
//! both, by a limit that is lifted for the moment in which one is needed. Sockets of services
//! are so many that there is always something to serve with: which ones follows from the file
//! and the limit alone, whatever has been open before. Those that come last in the file are
//! left out, but for those that the service manager holds: they are open anyway, and clients
//! would wait there for ever.

mod turns;

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Kept for whoever asks, for a reload and for an upgrade: fewer where there are very few.
const KEPT: u64 = 16;

const LEAST_KEPT: u64 = 6;

const VERY_FEW: u64 = 64;

/// What the server has open for itself beside the sockets of services and those at which it is
/// asked.
const OWN_AT_MOST: u64 = 14;

/// However many that may be, sockets of services leave so many to a client and a program.
const LEAST_LEFT: u64 = 3;

/// Left by the sockets of services to those who come there, an eighth within these: two
/// programs at once, or some thirty.
const LEAST_SERVING: u64 = 5;

const SERVING: u64 = 64;

/// Whoever asks over HTTP may have one of so many, within these.
const ASKERS: u64 = 32;

const LEAST_ASKERS: usize = 4;

const MOST_ASKERS: usize = 32;

/// What the server has open for itself, and for children on their way.
const OWN: usize = 32;

/// Who may have so many does not run out of them: programs are
/// [bounded](crate::server::host_info), and take no more than three quarters of these.
const PLENTY: u64 = 65_536;

/// One of so many parts is kept from clients whom the server serves itself, for programs; and
/// one from relays, for other clients.
const PARTS: usize = 8;

/// The limit on descriptors, and what is kept back of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Reserve {
    most: u64,
    /// None are where there are plenty.
    kept: u64,
}

impl Reserve {
    /// Keeps some back, where `most` are few.
    pub(in crate::server) fn of(most: u64) -> Self {
        let kept = match most {
            ..VERY_FEW => LEAST_KEPT,
            VERY_FEW..PLENTY => KEPT,
            PLENTY.. => 0,
        };
        let is_kept = kept > 0 && limit_to(most.saturating_sub(kept)).is_ok();
        Self { most, kept: if is_kept { kept } else { 0 } }
    }

    /// Whether the limit of this process is another one now.
    pub(in crate::server) fn is_kept(self) -> bool {
        self.kept > 0
    }

    /// The limit.
    pub(in crate::server) fn most(self) -> u64 {
        self.most
    }

    /// Does what may need one of those that are kept.
    pub(in crate::server) fn with<T>(self, work: impl FnOnce() -> T) -> T {
        self.under(self.most, work)
    }

    /// Makes something that stays open, as a reload or an upgrade has brought it: it leaves half
    /// of those that are kept.
    pub(in crate::server) fn with_half<T>(self, work: impl FnOnce() -> T) -> T {
        self.under(self.most.saturating_sub(self.kept / 2), work)
    }

    /// Opens a socket of a service, which leaves some to those who come there.
    pub(super) fn leaving_some<T>(self, open: impl FnOnce() -> T) -> T {
        let left = self.kept.saturating_add(LEAST_LEFT);
        self.under(self.most.saturating_sub(left), open)
    }

    /// How many sockets services may have, beside so many at which the server is asked.
    fn sockets(self, control_listeners: usize) -> usize {
        if !self.is_kept() {
            return usize::MAX;
        }
        let control_listeners = u64::try_from(control_listeners).unwrap_or(u64::MAX);
        let others = self.kept.saturating_add(self.serving()).saturating_add(OWN_AT_MOST);
        let left = self.most.saturating_sub(others).saturating_sub(control_listeners);
        usize::try_from(left).unwrap_or(usize::MAX).max(1)
    }

    fn under<T>(self, limit: u64, work: impl FnOnce() -> T) -> T {
        if !self.is_kept() {
            return work();
        }
        // Neither can fail: they are no higher than the hard limit.
        let _ = limit_to(limit);
        let result = work();
        let _ = limit_to(self.most.saturating_sub(self.kept));
        result
    }

    /// How many are for those who are served.
    pub(in crate::server) fn serving(self) -> u64 {
        (self.most / 8).clamp(LEAST_SERVING, SERVING)
    }

    /// Programs for which so many that are in use for good leave room. Each has two when it
    /// runs, or three if a copy of its connection is kept, and takes one more when it begins.
    pub(in crate::server) fn programs(self, in_use: usize, keeps: bool) -> u64 {
        let in_use = u64::try_from(in_use).unwrap_or(u64::MAX);
        let left = self.most.saturating_sub(self.kept).saturating_sub(in_use);
        left.saturating_sub(1) / (2 + u64::from(keeps))
    }

    /// How many there may be at once of those who ask over HTTP, of each kind.
    pub(in crate::server) fn askers(self) -> usize {
        usize::try_from(self.most / ASKERS).unwrap_or(usize::MAX).clamp(LEAST_ASKERS, MOST_ASKERS)
    }

    /// How many clients of the server itself there may be, each with a descriptor, beside
    /// so many that are in use for good.
    fn clients(self, in_use: usize) -> usize {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        let kept = usize::try_from(KEPT).unwrap_or_default();
        let left = most.saturating_sub(kept).saturating_sub(OWN);
        but_one_part(left.saturating_sub(in_use)).max(1)
    }
}

/// Whether this process may have no more descriptors.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMFILE)
}

fn limit_to(soft: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
}

pub(super) fn but_one_part(whole: usize) -> usize {
    whole.saturating_sub(whole / PARTS)
}

/// What there is room for.
#[derive(Debug)]
pub(in crate::server) struct DescriptorRoom {
    /// Somebody has said how many programs there may be.
    is_said: bool,
    /// Sockets that are left out, as the log was last told.
    left_out: usize,
    /// How many programs there may be, as the log was last told.
    told: Option<u32>,
    /// How many sockets services have or should have.
    places: usize,
}

impl DescriptorRoom {
    pub(in crate::server) fn new(max_children: Option<u32>) -> Self {
        let is_said = max_children.is_some();
        Self { is_said, left_out: 0, told: None, places: 0 }
    }

    /// The place of one more socket, behind all others.
    pub(super) fn next_place(&mut self) -> usize {
        let place = self.places;
        self.places = place.saturating_add(1);
        place
    }
}

/// A client whom the server serves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum ServedClient {
    /// Of a built-in service.
    Conversation,
    /// Of tcpmux, who has not said yet what he wants.
    Nameless,
    /// Of a relay, with whatever that has connected to.
    Relay,
}

impl ServedClient {
    /// How many are held for him.
    pub(in crate::server) fn descriptors(self) -> usize {
        if self == Self::Relay { 2 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_a_part_and_are_never_none() {
        let of = |most| Reserve { most, kept: 0 };
        assert_eq!(of(1024).clients(8), 847);
        assert_eq!(of(1024).clients(1_000), 1);
        assert_eq!(of(16).clients(100), 1);
        assert!(of(u64::MAX).clients(10_000) > 1_000_000);
    }

    #[test]
    fn sockets_are_as_many_as_the_limit_says() {
        let of = |most, kept| Reserve { most, kept }.sockets(1);
        assert_eq!((of(32, 6), of(24, 6), of(1024, 16)), (6, 1, 929));
        assert_eq!(of(65_536, 0), usize::MAX);
    }
}
