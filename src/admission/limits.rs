//! What limits one service: the part of its attributes that admission looks at.

use std::rc::Rc;

use super::access::AccessList;
use super::bucket::{Nanos, Pace, nanos_of};
use crate::config::model::{
    AccessAttributes, AccessTimes, AtLimit, Attributes, Cps, Limit, ProxyProtocol,
};

/// The limits of one service. A limit of 0 admits nobody; where 0 is written for "no
/// limit", whoever reads it makes None of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limits {
    /// Whether the program gets the listening socket itself. Then the peers are not
    /// known, what concerns sources does not apply, and over the rate it rests.
    pub(super) wait: bool,
    /// Served by ourselves: no child, so not one of the server's `max_children`.
    pub(super) builtin: bool,
    pub(super) instances: Limit,
    pub(super) at_limit: AtLimit,
    pub(super) rate: Option<Pace>,
    pub(super) per_source: Limit,
    pub(super) source_rate: Option<Pace>,
    /// So many are admitted, and no more.
    pub(super) clients: Limit,
    /// Connections per second; over it the listener rests.
    pub cps: Option<Cps>,
    /// Who may connect at all; None is everybody.
    pub access: Option<Rc<AccessList>>,
    /// Who may say on whose behalf he connects; None where nobody says so.
    pub senders: Option<Rc<AccessList>>,
    /// When; None is always.
    pub times: Option<Rc<AccessTimes>>,
    /// The load average above which everybody is refused.
    pub max_load: Option<f64>,
}

impl Limits {
    /// The limits that a service's attributes say.
    pub(crate) fn new(attributes: &Attributes, wait: bool) -> Self {
        let limits = &attributes.limits;
        Self {
            wait,
            builtin: false,
            instances: limits.instances,
            at_limit: limits.at_limit,
            rate: limits.rate.map(Pace::from),
            per_source: limits.per_source.filter(|_| !wait),
            source_rate: limits.source_rate.filter(|_| !wait).map(Pace::from),
            clients: limits.max_clients,
            cps: limits.cps,
            access: access(attributes),
            senders: senders(attributes),
            times: attributes.access.access_times.clone().map(Rc::new),
            max_load: limits.max_load,
        }
    }

    /// The same for a service that is served without a child, if `builtin`.
    #[must_use]
    pub(crate) fn for_builtin(self, builtin: bool) -> Self {
        Self { builtin, ..self }
    }

    /// Whether anything has to be known of each source.
    pub(super) fn by_source(&self) -> bool {
        self.per_source.is_some() || self.source_rate.is_some()
    }
}

/// Both lists as one; None where nothing is said.
fn access(attributes: &Attributes) -> Option<Rc<AccessList>> {
    let AccessAttributes { only_from, no_access, machines, .. } = &attributes.access;
    let (may, may_not) = machines;
    let restricts = only_from.is_some() || !no_access.is_empty() || !may_not.is_empty();
    restricts.then(|| {
        Rc::new(AccessList::new(only_from.as_deref(), no_access).with_machines(may, may_not))
    })
}

/// `proxy_from`, where it means something.
fn senders(attributes: &Attributes) -> Option<Rc<AccessList>> {
    let is_on = attributes.front.proxy_protocol != ProxyProtocol::No;
    is_on.then(|| Rc::new(AccessList::new(Some(&attributes.front.proxy_from), &[])))
}

const SECOND: Nanos = 1_000_000_000;

/// The `cps` of one service: connections in the second that began with the first.
#[derive(Debug, Default)]
pub(super) struct CpsState {
    window: Nanos,
    count: u32,
    rests_until: Nanos,
}

impl CpsState {
    /// When the listener's rest is over, if it rests.
    pub(super) fn rest(&self, now: Nanos) -> Option<Nanos> {
        Some(self.rests_until).filter(|until| *until > now)
    }

    /// Cuts a rest down to the longest that there is now, none without `cps`.
    pub(super) fn clamp(&mut self, cps: Option<Cps>, now: Nanos) {
        let longest = cps.map_or(0, |cps| nanos_of(cps.rest));
        self.rests_until = self.rests_until.min(now.saturating_add(longest));
    }

    /// Counts a connection; false if it is one too many, and then the rest begins.
    pub(super) fn count(&mut self, cps: Cps, now: Nanos) -> bool {
        if now.saturating_sub(self.window) >= SECOND {
            (self.window, self.count) = (now, 0);
        }
        if self.count >= cps.count {
            self.rests_until = now.saturating_add(nanos_of(cps.rest));
            return false;
        }
        self.count += 1;
        true
    }

    /// A connection counted before has come to nothing.
    pub(super) fn give_back(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// When somebody who was one too many can be counted: after the rest, and not
    /// before the second is over.
    pub(super) fn ready_at(&self) -> Nanos {
        self.rests_until.max(self.window.saturating_add(SECOND))
    }
}
