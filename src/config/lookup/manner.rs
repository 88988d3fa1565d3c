//! How names are looked up: how long they are waited for, and what holds without an answer.

use std::time::Duration;

use crate::config::model::Names;

/// How long all names of a configuration have, together, before what needs none is served
/// without them.
pub const AT_START: Duration = Duration::from_secs(2);
/// How long they have where nobody waits for being served.
pub const AT_LEISURE: Duration = Duration::from_secs(10);

/// How names are looked up while a configuration is read.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// What they were before: it holds for those that cannot be looked up now.
    pub before: Names,
    /// It holds for all, which are not asked for again.
    pub trusts: bool,
    /// How long all of them may take together.
    pub time: Duration,
    /// Whoever reads serves already.
    pub serves: bool,
}

impl Manner {
    /// So long, and nothing is known.
    pub fn within(time: Duration) -> Self {
        Self { time, ..Self::default() }
    }
}
