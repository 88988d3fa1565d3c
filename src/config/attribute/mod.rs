//! Attributes, and how one is found in the one table.

use super::diagnostic::suggest::nearest;

mod capability;
mod definition;
mod environment;
mod form;
mod keepalive;
mod limits;
pub(super) mod lists;
mod log_type;
mod logged;
mod print;
pub(super) mod quantity;
pub(super) mod redirect;
pub(super) mod relevance;
mod row;
mod table;
mod terminal;
mod tls;
pub(super) mod value;

pub use definition::{Attribute, Scope};
pub(crate) use definition::{Draft, Shown};
pub(crate) use table::TABLE;

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
fn is_narrowing(name: &str) -> bool {
    find(name).is_some_and(|found| found.narrows)
}

/// The attribute, one without which something would be wide open, that two arguments, or the first
/// of them, would set below an entry; and whether the second is its sign.
pub(crate) fn set_by_arguments<'a>(word: &'a str, next: Option<&str>) -> Option<(&'a str, bool)> {
    const SIGNS: [&str; 3] = ["=", "+=", "-="];
    let is_signed = next.is_some_and(|next| SIGNS.contains(&next));
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    (is_narrowing(name) && (is_signed || !value.is_empty())).then_some((name, is_signed))
}

/// Whether a line that is wrong seems to narrow something.
pub(crate) fn narrows(line: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut words = line.split(|c| !is_letter(c)).filter(|word| !word.is_empty());
    words.any(|word| is_narrowing(word) || nearest(word, names()).is_some_and(is_narrowing))
}

/// What to say to somebody who wrote a name that no attribute has.
pub(crate) fn help_for_unknown(name: &str) -> String {
    let field = match name {
        "server" | "server_args" => "the program and its arguments are",
        "socket_type" | "protocol" | "wait" | "user" => "that is",
        "port" | "type" => "the service is",
        "ssl"
        | "cert"
        | "key"
        | "certificate"
        | "tls_cert"
        | "tls_key"
        | "tls_certificate"
        | "ssl_cert"
        | "ssl_key"
        | "ssl_certificate"
        | "ssl_certificate_key" => {
            return "TLS is one attribute: `tls = /etc/ssl/site.pem /etc/ssl/site.key`".to_owned();
        }
        _ => {
            // What is so short is like everything: an argument, rather.
            return match nearest(name, names()).filter(|_| name.len() > 2) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "oxinetd.conf(5) lists all attributes; an argument with `=` is written in quotes: '{name}=…'"
                ),
            };
        }
    };
    format!(
        "{field} said in the line itself: SERVICE TYPE PROTOCOL wait|nowait USER PROGRAM ARGUMENTS"
    )
}

#[cfg(test)]
mod tests {
    use super::{all, find, help_for_unknown, names};

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

    #[test]
    fn unknown_names_are_helped() {
        assert!(help_for_unknown("instnaces").contains("`instances`"));
        assert!(help_for_unknown("server").contains("the line itself"));
        assert!(help_for_unknown("if").contains("quotes"));
        assert!(help_for_unknown("tls_cert").contains("`tls = "));
    }
}
