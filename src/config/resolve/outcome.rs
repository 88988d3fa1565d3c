//! What became of an entry.

use crate::config::model::{Service, SocketSpec, Withheld};

/// What became of an entry.
#[derive(Debug)]
pub(super) enum EntryOutcome {
    /// It can be served.
    Service(Service),
    /// It says `disable = yes`.
    Disabled(Service),
    /// This machine lacks something for it.
    Withheld(Withheld),
    /// It says `disable = yes`, and is wrong or lacks something.
    Off,
    /// An error, reported.
    Nothing,
}

impl EntryOutcome {
    /// The sockets of what is to be served, as far as they are known.
    pub(super) fn sockets(&self) -> &[SocketSpec] {
        match self {
            Self::Service(service) => &service.sockets,
            Self::Withheld(withheld) => &withheld.sockets,
            Self::Disabled(_) | Self::Off | Self::Nothing => &[],
        }
    }

    /// The same, to be changed.
    pub(super) fn sockets_mut(&mut self) -> Option<&mut Vec<SocketSpec>> {
        match self {
            Self::Service(service) => Some(&mut service.sockets),
            Self::Withheld(withheld) => Some(&mut withheld.sockets),
            Self::Disabled(_) | Self::Off | Self::Nothing => None,
        }
    }
}
