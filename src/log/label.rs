//! What lines are about, and which log they go to: the target of their records says it.

use std::ops::Deref;
use std::rc::Rc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The target of lines that have none of their own; `RUST_LOG` selects by its beginning.
pub(crate) const SERVER: &str = "oxinetd::journal";

/// A service, as its lines call it, and where those that tell of its clients go. One
/// pointer, since every running program has one.
#[derive(Debug, Clone)]
pub struct Label(Rc<Parts>);

#[derive(Debug)]
struct Parts {
    name: Rc<str>,
    /// None: the server's log.
    target: Option<Rc<str>>,
}

impl Label {
    /// A service by its name; `file` is the number of its own file, if it has one.
    pub fn new(name: &str, file: Option<u64>) -> Self {
        let target = file.map(|number| Rc::from(format!("{SERVER}/{number}")));
        Self(Rc::new(Parts { name: Rc::from(name), target }))
    }

    /// The name, to be kept.
    pub fn name(&self) -> Rc<str> {
        Rc::clone(&self.0.name)
    }

    /// The target of its records.
    pub(crate) fn target(&self) -> &str {
        self.0.target.as_deref().unwrap_or(SERVER)
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.name
    }
}

/// Its name: the next program has files of its own.
impl Serialize for Label {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.name.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|name| Self::new(&name, None))
    }
}

/// The number of the file that a record of this target goes to, if it has one.
pub fn file_of(target: &str) -> Option<u64> {
    target.strip_prefix(SERVER)?.strip_prefix('/')?.parse().ok()
}

/// Whether a record of this target is a line of the vocabulary.
pub fn is_ours(target: &str) -> bool {
    target.strip_prefix(SERVER).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_leads_to_its_file() {
        let label = Label::new("echo/tcp", Some(7));
        assert_eq!((&*label, file_of(label.target())), ("echo/tcp", Some(7)));
        assert_eq!(file_of(Label::new("echo/tcp", None).target()), None);
        assert_eq!(file_of("oxinetd::journal_of_another/7"), None);
        assert!(is_ours(label.target()) && is_ours(SERVER));
        assert!(!is_ours("oxinetd::journal_of_another") && !is_ours("mio::poll"));
    }
}
