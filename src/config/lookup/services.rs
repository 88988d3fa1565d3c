//! The services database: /etc/services.

use std::path::Path;

use super::files;
use crate::config::facts::ServiceFacts;
use crate::sys::trusted_path::open_to_read;

/// The largest one.
const MOST: u64 = 64 << 20;

/// All of its lines that are right.
#[derive(Debug, Default)]
pub(super) struct ServiceNames(Vec<KnownService>);

/// `NAME PORT/PROTOCOL ALIAS… # comment`.
#[derive(Debug, PartialEq, Eq)]
struct KnownService {
    /// The official name first.
    names: Vec<String>,
    port: u16,
    protocol: String,
}

impl ServiceNames {
    /// As they are now; none where there is no database.
    pub(super) fn read() -> Self {
        let opened = open_to_read(Path::new("/etc/services"));
        let text = opened.and_then(|opened| files::bounded(opened.file, MOST));
        Self::parse(&String::from_utf8_lossy(&text.unwrap_or_default()))
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(service).collect())
    }

    /// The one of this name or alias.
    pub(super) fn find(&self, name: &str, protocol: &str) -> Option<ServiceFacts> {
        let mut of = self.of(protocol);
        let service = of.find(|service| service.names.iter().any(|known| known == name))?;
        Some(ServiceFacts { name: service.names.first()?.clone(), port: service.port })
    }

    /// All names and aliases.
    pub(super) fn names(&self, protocol: &str) -> Vec<String> {
        self.of(protocol).flat_map(|service| service.names.iter().cloned()).collect()
    }

    fn of(&self, protocol: &str) -> impl Iterator<Item = &KnownService> {
        self.0.iter().filter(move |service| service.protocol == protocol)
    }
}

fn service(line: &str) -> Option<KnownService> {
    let mut words = line.split('#').next()?.split_whitespace();
    let name = words.next()?;
    let (port, protocol) = words.next()?.split_once('/')?;
    let names = std::iter::once(name).chain(words).map(str::to_owned).collect();
    Some(KnownService { names, port: port.parse().ok()?, protocol: protocol.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::ServiceNames;

    #[test]
    fn aliases_and_comments_are_read() {
        let text = "# head\ndiscard 9/tcp sink null # nothing\n\nbad\nworse x/tcp\necho\t7/udp\n";
        let services = ServiceNames::parse(text);
        assert_eq!(services.0.len(), 2);
        let facts = services.find("null", "tcp").unwrap();
        assert_eq!((facts.name.as_str(), facts.port), ("discard", 9));
        assert_eq!(services.find("null", "udp"), None);
        assert_eq!(services.names("tcp"), ["discard", "sink", "null"]);
    }
}
