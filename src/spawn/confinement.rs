//! What a service's programs are confined to beyond user, limits and directory:
//! made ready at load; what cannot be, keeps every start from happening.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::group::{Group, Groups};
use super::{kernel, ruleset};
use crate::config::model::{ALL_CAPABILITIES, Attributes, GroupLimits, Service};
use crate::descriptor::raise;

/// Everything that confines, ready for use.
#[derive(Debug, Default)]
pub struct Confinement {
    pub(super) capabilities: Option<Capabilities>,
    pub(super) ruleset: Option<OwnedFd>,
    pub(super) group: Option<Rc<Group>>,
    pub(super) refusal: Option<Refusal>,
}

/// A set of capabilities as a child needs it.
#[derive(Debug)]
pub(super) struct Capabilities {
    /// The bits of those that are kept.
    pub(super) kept: u64,
    /// The numbers of those that the server has and the program may not.
    pub(super) dropped: Vec<u32>,
}

impl Capabilities {
    fn new(kept: u64, bounding: u64) -> Self {
        let gone = |number: &u32| bounding & !kept & (1 << number) != 0;
        Self { kept, dropped: (0..u64::BITS).filter(gone).collect() }
    }
}

/// Why no program of a service is started.
#[derive(Debug)]
pub struct Refusal {
    /// `landlock` or `cgroup`.
    pub stage: &'static str,
    /// What the system said at load.
    pub error: String,
    since: Instant,
}

impl Refusal {
    /// Whether it is time to try again: whoever is in the way of a group ends some day.
    #[must_use]
    pub fn may_be_over(&self) -> bool {
        self.stage == GROUP && self.since.elapsed() >= AGAIN
    }
}

/// The stage at which a group of processes is lacking.
const GROUP: &str = "cgroup";

/// How long a refusal is not tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Confinement {
    /// What `service` asks for. `before` is the group that the service has already.
    #[must_use]
    pub fn prepare(service: &Service, groups: &mut Groups, before: Option<Rc<Group>>) -> Self {
        let attributes = &service.attributes;
        let mut refusal = None;
        let mut refuse = |stage, error: io::Error| {
            refusal = Some(Refusal { stage, error: error.to_string(), since: Instant::now() });
        };
        let ruleset = ruleset::make(attributes).unwrap_or_else(|error| {
            refuse("landlock", error);
            None
        });
        let group = groups.prepare(service, attributes.group_limits, before);
        let group = group.unwrap_or_else(|error| {
            refuse(GROUP, error);
            None
        });
        let ruleset = ruleset.map(raise);
        Self { capabilities: capabilities(attributes), ruleset, group, refusal }
    }

    /// Nothing but a group of processes.
    #[must_use]
    pub fn in_group(group: Option<Rc<Group>>) -> Self {
        Self { group, ..Self::default() }
    }

    /// Whether it is to be said that programs which are in the group since before the start
    /// had no limits for a while.
    #[must_use]
    pub fn tell_gap(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.tell_gap())
    }

    /// Why no program will be started, if that is so.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }
}

fn capabilities(attributes: &Attributes) -> Option<Capabilities> {
    let kept = attributes.capabilities;
    (kept != ALL_CAPABILITIES).then(|| Capabilities::new(kept, kernel::bounding_set()))
}

/// Whether a service has a group of processes at all.
pub(super) fn is_limited(limits: GroupLimits) -> bool {
    limits != GroupLimits::default()
}

#[cfg(test)]
mod tests {
    use super::Capabilities;

    #[test]
    fn what_is_there_and_not_kept_is_dropped() {
        assert_eq!(Capabilities::new(0b0101, 0b1110).dropped, [1, 3]);
        assert!(Capabilities::new(0b1110, 0b0110).dropped.is_empty());
        assert_eq!(Capabilities::new(0, 1 << 63).dropped, [63]);
    }
}
