//! Answers that are made piece by piece: where the rest of one comes from.

use crate::server::peers::PeerId;
use crate::server::reactor::slab::Key;

/// Where the rest of an answer comes from.
#[derive(Debug, Default, Clone)]
pub(in crate::server) enum Producer {
    /// There is none.
    #[default]
    Nothing,
    /// The services of a status, from this one on.
    Services { keys: Vec<Key>, next: usize, after: &'static [u8] },
    /// The peers after this one.
    Peers { last: Option<PeerId>, first: bool },
    /// The samples of a family, from this service on.
    Metrics { keys: Vec<Key>, family: usize, next: usize },
}

impl Producer {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}
