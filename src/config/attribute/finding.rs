//! How an attribute is found in the one table.

use super::definition::Attribute;
use super::table::TABLE;

/// The whole table, in the order of the manual page.
pub fn all() -> impl Iterator<Item = &'static Attribute> {
    TABLE.iter()
}

/// The names of all attributes, other names included.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|attribute| {
        std::iter::once(attribute.name).chain(attribute.aliases.iter().copied())
    })
}

/// The attribute of this name.
pub(crate) fn find(name: &str) -> Option<&'static Attribute> {
    TABLE.iter().find(|attribute| attribute.name == name || attribute.aliases.contains(&name))
}

/// Whether something would be wide open without this attribute.
pub(super) fn is_narrowing(name: &str) -> bool {
    find(name).is_some_and(|found| found.narrows)
}

#[cfg(test)]
mod tests {
    use super::{all, find, names};

    #[test]
    fn every_name_is_there_once_and_found() {
        let mut seen: Vec<&str> = names().collect();
        for name in &seen {
            assert!(find(name).is_some(), "{name}");
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert_eq!(find("bind").map(|found| found.name), Some("interface"));
    }

    #[test]
    fn every_line_of_the_table_is_filled_in() {
        for attribute in all() {
            for text in [attribute.value, attribute.default, attribute.help] {
                assert!(!text.is_empty(), "{}", attribute.name);
            }
        }
    }
}
