//! Descriptors that neither clients nor programs can use up.
//!
//! Where a process may have few, those who hold connections (each as many as its limits let
//! it) could leave none to anybody else: no program would start, nobody could ask the server
//! what is wrong, and the file that mends it could not be read. So clients of built-in
//! services and relays leave a part to programs; and a few descriptors are kept back from
//! both, by a limit that is lifted for the moment in which one is needed.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Server;

/// Kept for whoever asks, and for a reload.
const KEPT: u64 = 16;

/// What the server has open for itself, and for children on their way.
const OWN: usize = 32;

/// Who may have so many does not run out of them: programs are [bounded](super::facts), and
/// take no more than half of these.
const PLENTY: u64 = 65_536;

/// One of so many parts is kept from clients whom the server serves itself, for programs; and
/// one from relays, for other clients.
const PARTS: usize = 8;

/// The limit on descriptors, and what is kept back of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserve {
    most: u64,
    kept: bool,
}

impl Reserve {
    /// Keeps some back, where `most` are few and not too few.
    pub(super) fn of(most: u64) -> Self {
        let few = (KEPT * 4..PLENTY).contains(&most);
        Self { most, kept: few && limit_to(most - KEPT).is_ok() }
    }

    /// Whether the limit of this process is another one now.
    pub(super) fn is_kept(self) -> bool {
        self.kept
    }

    /// Does what may need one of those that are kept.
    pub(super) fn with<T>(self, work: impl FnOnce() -> T) -> T {
        if !self.kept {
            return work();
        }
        // Cannot fail: between what it is and the hard limit.
        let _ = limit_to(self.most);
        let result = work();
        let _ = limit_to(self.most - KEPT);
        result
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

fn limit_to(soft: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
}

fn but_one_part(whole: usize) -> usize {
    whole.saturating_sub(whole / PARTS)
}

/// A client whom the server serves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// Of a built-in service.
    Conversation,
    /// Of a relay, with whatever that has connected to.
    Relay,
}

impl Server {
    /// How many clients may be here that no program has.
    pub(super) fn room_for_clients(&self) -> usize {
        self.facts.reserve.clients(self.listeners.len())
    }

    /// Whether there are so many of them that another one would take what programs need.
    pub(super) fn has_no_room_for(&self, held: Held) -> bool {
        let most = self.room_for_clients();
        let relays = self.relays.len().saturating_mul(2);
        let told = self.banners.len();
        let told = told.saturating_add(self.holding.len());
        let clients = self.conversations.len().saturating_add(relays).saturating_add(told);
        // A relay may lead to a service of this server, and would wait for ever for what
        // relays have taken.
        clients >= most || held == Held::Relay && relays >= but_one_part(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_a_part_and_are_never_none() {
        let of = |most| Reserve { most, kept: false };
        assert_eq!(of(1024).clients(8), 847);
        assert_eq!(of(1024).clients(1_000), 1);
        assert_eq!(of(16).clients(100), 1);
        assert!(of(u64::MAX).clients(10_000) > 1_000_000);
    }
}
