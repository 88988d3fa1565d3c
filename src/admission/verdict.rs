//! The questions that admission is asked and the answers it gives.

use std::time::Instant;

use super::places::ServiceId;

/// Why somebody may not start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// `only_from` or `no_access`.
    Access,
    /// `access_times`.
    Time,
    /// `max_load`.
    Load,
    /// `per_source`.
    PerSource,
    /// `source_rate`.
    SourceRate,
    /// [`CAPACITY`](super::CAPACITY) sources have running children: no further one can be counted.
    Sources,
    /// One source has as many clients of the server itself as there may be, where descriptors
    /// are few.
    Share,
    /// The server's own limit.
    MaxChildren,
    /// `instances`.
    Instances,
    /// `rate`.
    Rate,
    /// `cps`.
    Cps,
    /// `max_clients`.
    MaxClients,
    /// `proxy_protocol`: no header, none in time, or from somebody who may not send one.
    Proxy,
    /// `tls`: the handshake was not one, or not in time.
    Tls,
    /// He has gone before his program had its terminal.
    Terminal,
    /// `banner`: he has not read it in time, or has gone before.
    Banner,
    /// The service was removed meanwhile.
    Gone,
}

impl Reason {
    /// Every reason there is.
    pub(super) const ALL: [Self; 17] = [
        Self::Access,
        Self::Time,
        Self::Load,
        Self::PerSource,
        Self::SourceRate,
        Self::Sources,
        Self::Share,
        Self::MaxChildren,
        Self::Instances,
        Self::Rate,
        Self::Cps,
        Self::MaxClients,
        Self::Proxy,
        Self::Tls,
        Self::Terminal,
        Self::Banner,
        Self::Gone,
    ];

    /// Whether the end of a program may be all that is needed.
    #[must_use]
    pub(crate) fn ends_with_a_program(self) -> bool {
        matches!(self, Self::PerSource | Self::MaxChildren | Self::Instances)
    }

    /// The word in logs: the attribute's name where there is one.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Time => "access_times",
            Self::Load => "max_load",
            Self::PerSource => "per_source",
            Self::SourceRate => "source_rate",
            Self::Sources => "sources",
            Self::Share => "share",
            Self::MaxChildren => "max_children",
            Self::Instances => "instances",
            Self::Rate => "rate",
            Self::Cps => "cps",
            Self::MaxClients => "max_clients",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Terminal => "terminal",
            Self::Banner => "banner",
            Self::Gone => "gone",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to "may it start?" where it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Close it.
    Refuse(Reason),
    /// Not now: stop polling the listener until the moment, or, without one, until a
    /// [`Wake`] names the service.
    Rest(Reason, Option<Instant>),
}

/// Which resting listeners may resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Nobody for whom something changed.
    Nobody,
    /// Those of one service.
    Service(ServiceId),
    /// All that rest for [`Reason::MaxChildren`], and this service's.
    All,
}

/// What there is to know of the world when somebody comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Observed {
    /// The monotonic clock.
    pub now: Instant,
    /// Local time of day, 0 to 1439.
    pub minute_of_day: u16,
    /// Load average of the last minute.
    pub load: f64,
}
