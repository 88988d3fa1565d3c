//! Who has come to us, among all who are children of ours.

use std::time::Duration;

use super::began;
use crate::server::Server;
use crate::server::programs::children::{own_children, own_children_up_to};

/// With more programs, or more who have come to us, nobody is looked for among them.
const MOST_CHILDREN: usize = 4096;

/// Children that are no programs and have not come to us: more than there are at once.
const HELPERS: usize = 128;

impl Server {
    /// How many processes have come to us; none if nobody can tell.
    pub(in crate::server) fn left_behind(&self) -> Option<usize> {
        let mut pids = own_children().ok().filter(|_| self.sessions.closing.adopts())?;
        self.sessions.table.without_programs(&mut pids);
        pids.retain(|pid| !self.is_ours(*pid));
        Some(pids.len())
    }

    /// Those of them that something may have begun that began then, the youngest first; none
    /// if nobody can tell.
    pub(in crate::server::programs) fn adopted_since(
        &mut self,
        since: Duration,
    ) -> Option<Vec<(Duration, i32)>> {
        let programs = self.sessions.table.programs();
        if programs > MOST_CHILDREN {
            return None;
        }
        let most = programs.saturating_add(MOST_CHILDREN).saturating_add(HELPERS);
        let mut others = self.sessions.closing.adopted.others_in(own_children_up_to(most)?);
        self.sessions.table.without_programs(&mut others);
        others.retain(|pid| !self.is_ours(*pid));
        self.sessions.closing.adopted.began.extend(others.into_iter().map(|pid| (pid, began(pid))));
        Some(self.sessions.closing.adopted.young(since))
    }
}
