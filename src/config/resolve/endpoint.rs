//! The service field: addresses, a port or a name; a path; an entry of tcpmux.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::attribute::quantity::digits;
use crate::config::diagnostic::report::Report;
use crate::config::diagnostic::suggest::nearest;
use crate::config::facts::Lookup;
use crate::config::model::protocol::Protocol;
use crate::config::model::{Builtin, TcpmuxName};
use crate::config::syntax::address::{Addresses, addresses, split};
use crate::config::syntax::entry::Entry;
use crate::config::text::words::Word;
use crate::net::vsock::VsockAddress;
use crate::net::vsock::is_vsock;

/// What a service field means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServiceField {
    /// Ports on addresses; no addresses where none are said.
    Inet { addresses: Addresses, ports: RangeInclusive<u16>, service: String },
    /// A unix socket, with FreeBSD's user, group and mode.
    Unix { path: PathBuf, owner: Option<Box<[Word; 3]>> },
    /// A unix socket without a file.
    Abstract(Vec<u8>),
    /// A virtual socket, and how it is written.
    Vsock(VsockAddress, String),
    /// An entry of tcpmux.
    Tcpmux(TcpmuxName),
}

/// Reads service fields.
pub(super) struct EndpointReader<'a> {
    pub(super) lookup: &'a dyn Lookup,
    pub(super) report: &'a mut Report,
    /// Whether it stands on the command line, where port 0 (any free one) is a port.
    pub(super) any_port: bool,
}

impl EndpointReader<'_> {
    /// The service field of an entry; None after an error.
    pub(super) fn target(&mut self, entry: &Entry, protocol: Protocol) -> Option<ServiceField> {
        let word = &entry.endpoint;
        let text = word.text.as_str();
        if is_inet(text) {
            return self.inet(entry, protocol);
        }
        let target = self.portless(word);
        match (target.as_ref()?, protocol) {
            (ServiceField::Vsock(..), Protocol::Vsock) => target,
            (ServiceField::Vsock(..), _) => {
                self.is_not_its_protocol(entry, "a virtual socket", "vsock");
                None
            }
            (ServiceField::Tcpmux(_), Protocol::Tcp(_)) => target,
            (ServiceField::Tcpmux(_), _) => {
                self.report
                    .error(&entry.protocol.span, "entries of tcpmux are reached over TCP")
                    .help("write `stream tcp`");
                None
            }
            (_, Protocol::Unix) => target,
            (_, _) => {
                self.is_not_its_protocol(entry, "a unix socket", "unix");
                None
            }
        }
    }

    /// A service field that tells another protocol than the one that is said.
    fn is_not_its_protocol(&mut self, entry: &Entry, what: &str, right: &str) {
        let (text, written) = (&entry.endpoint.text, &entry.protocol.text);
        let message = format!("`{text}` is {what}, `{written}` is not its protocol");
        self.report.error(&entry.protocol.span, message).help(format!("write `{right}`"));
    }

    /// A service field without a port.
    pub(super) fn portless(&mut self, word: &Word) -> Option<ServiceField> {
        if let Some(name) = word.text.strip_prefix("tcpmux/") {
            self.tcpmux(word, name)
        } else if word.text.starts_with('/') {
            Some(ServiceField::Unix { path: PathBuf::from(&word.os), owner: None })
        } else if word.text.starts_with('@') {
            self.abstract_name(word)
        } else if is_vsock(&word.text) {
            self.vsock(word)
        } else {
            self.freebsd(word)
        }
    }

    fn tcpmux(&mut self, word: &Word, name: &str) -> Option<ServiceField> {
        let greet = name.starts_with('+');
        let name = name.strip_prefix('+').unwrap_or(name);
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && name.len() <= 256 && !name.eq_ignore_ascii_case("help") {
            return Some(ServiceField::Tcpmux(TcpmuxName { name: name.to_owned(), greet }));
        }
        let message = if name.eq_ignore_ascii_case("help") {
            "the name `help` is tcpmux's own: it lists the others"
        } else {
            "this is not a name that a client of tcpmux can send"
        };
        self.report.error(&word.span, message).help("write `tcpmux/NAME` or `tcpmux/+NAME`");
        None
    }

    /// `[ADDRESS[,ADDRESS…]:]SERVICE`.
    fn inet(&mut self, entry: &Entry, protocol: Protocol) -> Option<ServiceField> {
        let word = &entry.endpoint;
        let (service, before) = split(word);
        if protocol == Protocol::Unix {
            self.report
                .error(&word.span, format!("`{}` is not a path, which `unix` needs", word.text))
                .help(
                    "write `/path` or `@name` for a unix socket, or `tcp` or `udp` as the protocol",
                );
            return None;
        }
        if protocol == Protocol::Vsock {
            self.report
                .error(&word.span, format!("`{}` is not what `vsock` needs", word.text))
                .help("write `vsock:PORT` or `vsock:CID:PORT`");
            return None;
        }
        if before.as_ref().is_some_and(|before| self.lacks_brackets(word, before, &service)) {
            return None;
        }
        let addresses = match before.or_else(|| self.default_address(entry)) {
            Some(word) => addresses(&word, self.report),
            None => Some(Vec::new()),
        };
        let ports = self.ports(&service, protocol);
        Some(ServiceField::Inet { addresses: addresses?, ports: ports?, service: service.text })
    }

    /// An IPv6 address whose last part would be taken for the service.
    pub(super) fn lacks_brackets(&mut self, word: &Word, address: &Word, service: &Word) -> bool {
        // Before a number the last colon splits, as everywhere.
        let number = digits(&service.text).is_some();
        let bare = address.text.parse::<Ipv6Addr>().is_ok() && !number;
        if bare {
            self.report
                .error(&word.span, "an IPv6 address stands in brackets before a service")
                .help(format!("write `[{}]:{}`", address.text, service.text));
        }
        bare
    }

    /// The default address, right or wrong; it gives way to an attribute below the entry
    /// that says another one. A device goes with any address.
    pub(super) fn default_address(&self, entry: &Entry) -> Option<Word> {
        let written = entry.settings.iter().rev().find(|one| one.attribute.name == "interface");
        let word = written.and_then(|setting| setting.values.first());
        let own = word.is_some_and(|word| self.lookup.device_index(&word.text).is_none());
        entry.default_address.clone().filter(|_| !own)
    }

    /// A port, a range of ports, or the port of a name.
    pub(super) fn ports(&mut self, word: &Word, protocol: Protocol) -> Option<RangeInclusive<u16>> {
        let text = word.text.as_str();
        let number = text.strip_prefix('+').unwrap_or(text);
        if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() {
            let word = word.slice(text.len() - number.len()..text.len());
            return self.port(&word).map(|port| port..=port);
        }
        if let Some((low, high)) = text.split_once('-')
            && let (Some(_), Some(_)) = (digits(low), digits(high))
        {
            let first = self.port(&word.slice(0..low.len()));
            let last = self.port(&word.slice(low.len() + 1..text.len()));
            let (first, last) = (first?, last?);
            if first <= last && first != 0 {
                return Some(first..=last);
            }
            self.report
                .error(&word.span, format!("no port is in the range `{text}`"))
                .help(format!("write the smaller one first: `{last}-{first}`"));
            return None;
        }
        if let Some(facts) = self.lookup.service(text, protocol.name()) {
            return Some(facts.port..=facts.port);
        }
        // A machine without /etc/services has these all the same.
        if let Some(builtin) = Builtin::named(text) {
            return Some(builtin.port()..=builtin.port());
        }
        self.unknown_service(word, protocol);
        None
    }

    fn port(&mut self, word: &Word) -> Option<u16> {
        let port = digits(&word.text).and_then(|port| u16::try_from(port).ok());
        match port {
            Some(0) if !self.any_port => {}
            Some(port) => return Some(port),
            None => {}
        }
        let least = if self.any_port { "0, which is any free one," } else { "1" };
        self.report
            .error(&word.span, format!("`{}` is not a port", word.text))
            .help(format!("ports are numbers from {least} to 65535"));
        None
    }

    fn unknown_service(&mut self, word: &Word, protocol: Protocol) {
        let text = word.text.as_str();
        let name = protocol.name();
        let other = if name == "tcp" { "udp" } else { "tcp" };
        let help = if text.is_empty() {
            "write a port or a name after the `:`".to_owned()
        } else if let Some(facts) = self.lookup.service(text, other) {
            format!(
                "it is there for `{other}`, with port {}: write that protocol, or the number",
                facts.port
            )
        } else {
            let known = self.lookup.service_names(name);
            let near = nearest(text, known.iter().map(String::as_str));
            match (near, self.any_port && !text.contains('/')) {
                // Whoever names a socket on the command line has a path in mind.
                (Some(near), true) => {
                    format!("did you mean `{near}`? A unix socket in this directory is `./{text}`")
                }
                (Some(near), false) => format!("did you mean `{near}`?"),
                (None, true) if text != "*" && text.parse::<IpAddr>().is_err() => {
                    format!("write its port; a unix socket in this directory is `./{text}`")
                }
                (None, _) => help_without_name(text),
            }
        };
        if text.is_empty() {
            self.report.error(&word.span, "a service is missing here").help(help);
        } else if text == "*" || text.contains('/') || text.parse::<IpAddr>().is_ok() {
            self.report.error(&word.span, format!("`{text}` is not a service")).help(help);
        } else {
            let message = format!("the services database has no `{text}` for {name}: not served");
            self.report.warning(&word.span, message).help(help);
        }
    }
}

/// What may have been meant that is near no name.
fn help_without_name(text: &str) -> String {
    let of = |part: &str| text.strip_suffix(part).filter(|port| digits(port).is_some());
    if let Some(port) = of("/tcp").or(of("/udp")) {
        format!("write `{port}`: the protocol is said apart from the port")
    } else if text.contains('/') {
        "write its port; a unix socket is an absolute path: `/run/x.sock`".to_owned()
    } else if text == "*" || text.parse::<IpAddr>().is_ok() {
        format!("that is an address alone: write `{text}:PORT`")
    } else if text.contains(',') && text.split(',').all(|port| digits(port).is_some()) {
        "write a line for each port, or a range: `8080-8081`".to_owned()
    } else {
        "write its port, or add it to /etc/services".to_owned()
    }
}

/// Whether a service field has a port, said by its number or its name.
pub(super) fn is_inet(field: &str) -> bool {
    let freebsd = field.starts_with(':') && field.contains(":/");
    let other = field.starts_with("tcpmux/") || field.starts_with(['/', '@']) || is_vsock(field);
    !other && !freebsd
}
