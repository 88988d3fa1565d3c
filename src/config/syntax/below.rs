//! Whether what holds for the lines below it has any below it.

use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;

/// What a file has said for lines that have not come yet.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// The last `.defaults`, while nothing stands below it.
    unheard: Option<Span>,
    /// Whether a service stands above it.
    has_services: bool,
}

impl Below {
    /// Something stands here that takes defaults: a service, one that was taken out, more files.
    pub(super) fn taken(&mut self) {
        (self.unheard, self.has_services) = (None, true);
    }

    pub(super) fn defaults(&mut self, place: Span) {
        self.unheard = Some(place);
    }

    /// At the end of a file. One that has nothing but defaults waits for its first service,
    /// unless another file has it read: then its defaults may be meant for that.
    pub(super) fn say(self, is_included: bool, report: &mut Report) {
        let Some(place) = self.unheard.filter(|_| self.has_services || is_included) else { return };
        let (message, help) = match self.has_services {
            true => (
                "these defaults have no effect: no service stands below them in this file",
                "put them above the services that they are for",
            ),
            false => (
                "these defaults have no effect: they hold in this file alone, which has no service",
                "say them in the files that they are for, or above the `.include` that reads those",
            ),
        };
        report.warning(&place, message).help(help);
    }
}
