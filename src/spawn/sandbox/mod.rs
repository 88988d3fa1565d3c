//! What a service's programs are confined to beyond user, limits and directory:
//! made ready at load; what cannot be, keeps every start from happening.

pub(super) mod capabilities;
pub(crate) mod cgroup;
pub(super) mod landlock;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cgroup::{Cgroup, Cgroups};

use crate::config::model::Service;
use crate::sys::descriptor::raise;

/// Everything that confines, ready for use.
#[derive(Debug, Default)]
pub(crate) struct Confinement {
    pub(super) ruleset: Option<OwnedFd>,
    pub(super) group: Option<Rc<Cgroup>>,
    pub(super) refusal: Option<SandboxRefusal>,
}

/// Why no program of a service is started.
#[derive(Debug)]
pub(crate) struct SandboxRefusal {
    /// `landlock` or `cgroup`.
    pub stage: &'static str,
    /// What the system said at load.
    pub error: String,
    since: Instant,
}

impl SandboxRefusal {
    /// Whether it is time to try again: whoever is in the way of a group ends some day.
    pub(crate) fn may_be_over(&self) -> bool {
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
    pub(crate) fn prepare(
        service: &Service,
        groups: &mut Cgroups,
        before: Option<Rc<Cgroup>>,
    ) -> Self {
        let attributes = &service.attributes;
        let mut refusal = None;
        let mut refuse = |stage, error: io::Error| {
            refusal =
                Some(SandboxRefusal { stage, error: error.to_string(), since: Instant::now() });
        };
        let ruleset = landlock::make(attributes).unwrap_or_else(|error| {
            refuse("landlock", error);
            None
        });
        let group = groups.prepare(service, attributes.sandbox.group, before);
        let group = group.unwrap_or_else(|error| {
            refuse(GROUP, error);
            None
        });
        let ruleset = ruleset.map(raise);
        Self { ruleset, group, refusal }
    }

    /// Nothing but a group of processes.
    pub(crate) fn in_group(group: Option<Rc<Cgroup>>) -> Self {
        Self { group, ..Self::default() }
    }

    /// Whether it is to be said that programs which are in the group since before the start
    /// had no limits for a while.
    pub(crate) fn tell_gap(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.tell_gap())
    }

    /// Why no program will be started, if that is so.
    pub(crate) fn refusal(&self) -> Option<&SandboxRefusal> {
        self.refusal.as_ref()
    }
}
