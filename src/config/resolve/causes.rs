//! What has been found out of names, each once, and the services for which it matters.

use crate::config::diagnostic::Span;
use crate::config::model::Sought;

/// Something that was found out about a name, and the services for which it matters.
pub(super) struct NameCause {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) message: String,
    /// What that means for one service, and for several.
    pub(super) means: [&'static str; 2],
    pub(super) help: &'static str,
    pub(super) labels: Vec<String>,
}

/// What has been found out of names, each once.
#[derive(Default)]
pub(super) struct Causes {
    pub(super) all: Vec<NameCause>,
    /// Those that matter for the entry at hand.
    at_hand: Vec<usize>,
    /// What its sockets wait for.
    pub(super) awaited: Vec<(String, Sought, (bool, bool))>,
}

impl Causes {
    /// The next entry.
    pub(super) fn next(&mut self) {
        self.at_hand.clear();
        self.awaited.clear();
    }

    /// How many names the sockets of the entry at hand wait for.
    pub(super) fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// A cause that matters for the entry at hand; one that is known, once.
    pub(super) fn matters(&mut self, cause: NameCause) {
        let same = |one: &NameCause| one.name == cause.name && one.means == cause.means;
        let index = self.all.iter().position(same).unwrap_or_else(|| {
            self.all.push(cause);
            self.all.len().saturating_sub(1)
        });
        if !self.at_hand.contains(&index) {
            self.at_hand.push(index);
        }
    }

    /// The entry at hand is this service.
    pub(super) fn concern(&mut self, label: &str) {
        for index in std::mem::take(&mut self.at_hand) {
            let Some(cause) = self.all.get_mut(index) else { continue };
            if !cause.labels.iter().any(|known| known == label) {
                cause.labels.push(label.to_owned());
            }
        }
    }
}
