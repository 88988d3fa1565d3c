//! Counters: each event is counted for its service and for the server, so that what a
//! removed service has done is not forgotten.

mod turns;

/// How many sockets of services have been opened and closed since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct Turnover {
    pub(in crate::server) opened: usize,
    pub(in crate::server) closed: usize,
}

/// What is different from what was, in sockets and services.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changes {
    /// Sockets that were open and still are.
    pub kept: usize,
    /// Sockets that have been opened.
    pub opened: usize,
    /// Sockets that have been closed.
    pub closed: usize,
    /// Services that go on with something different.
    pub updated: usize,
}

impl Turnover {
    pub(in crate::server) fn opens(&mut self) {
        self.opened = self.opened.saturating_add(1);
    }

    pub(in crate::server) fn closes(&mut self) {
        self.closed = self.closed.saturating_add(1);
    }

    /// What has happened since `before`.
    pub(in crate::server) fn since(self, before: Self, updated: usize) -> Changes {
        let closed = self.closed.saturating_sub(before.closed);
        let were_open = before.opened.saturating_sub(before.closed);
        Changes {
            kept: were_open.saturating_sub(closed),
            opened: self.opened.saturating_sub(before.opened),
            closed,
            updated,
        }
    }
}
