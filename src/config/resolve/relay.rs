//! `redirect`: what an entry is relayed to instead of being served by a program.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::endpoint::{EndpointReader, ServiceField};
use super::resolver::Resolver;
use crate::config::attribute::redirect::Redirect;
use crate::config::diagnostic::reading::reason;
use crate::config::facts::Lookup;
use crate::config::model::protocol::{Families, Protocol};
use crate::config::model::{
    Account, Action, Endpoint, Known, RelayTarget, SocketSpec, SocketType, with_port,
};
use crate::config::syntax::address::{WrittenAddress, address};
use crate::config::syntax::entry::Entry;
use crate::config::text::words::Word;

impl Resolver<'_> {
    /// The relay of an entry; None where there cannot be one.
    pub(super) fn relay(
        &mut self,
        entry: &Entry,
        redirect: &Redirect,
        target: &ServiceField,
        socket_type: SocketType,
    ) -> Option<Action> {
        let before = self.report.errors();
        self.check_relayed(entry, target, socket_type);
        let target = self.relay_target(entry, redirect);
        target.filter(|_| self.report.errors() == before).map(Action::Relay)
    }

    /// Where a relay connects to, whatever it takes connections from.
    pub(super) fn relay_target(
        &mut self,
        entry: &Entry,
        redirect: &Redirect,
    ) -> Option<RelayTarget> {
        self.check_relay_alone(entry);
        match redirect {
            Redirect::Inet { host, port } => self.relay_host(host, port),
            Redirect::Unix(word) => Some(RelayTarget::Unix(endpoint(word))),
            Redirect::Vsock(address, word) => {
                self.check_vsock(word);
                Some(RelayTarget::Unix(Endpoint::Vsock(*address)))
            }
        }
    }

    /// What a relay cannot have.
    fn check_relay_alone(&mut self, entry: &Entry) {
        let program = &entry.program;
        if program.text != "internal" || program.quoted {
            self.report
                .error(&program.span, "a program and `redirect` exclude each other")
                .help("write `internal` instead of the program, or take `redirect` out");
        } else if let Some(first) = entry.arguments.first() {
            self.report
                .error(&first.span, "a relay takes no arguments")
                .help("write `internal` alone, or take `redirect` out");
        }
    }

    /// What cannot be relayed.
    fn check_relayed(&mut self, entry: &Entry, target: &ServiceField, socket_type: SocketType) {
        if matches!(target, ServiceField::Tcpmux(_)) {
            self.report
                .error(&entry.endpoint.span, "an entry of tcpmux cannot be relayed")
                .help("give the relay a port of its own, or take `redirect` out");
        }
        if socket_type != SocketType::Stream {
            let what = match socket_type {
                SocketType::Dgram => "datagrams cannot be relayed",
                _ => "sequenced packets cannot be relayed",
            };
            self.report
                .error(&entry.socket_type.span, what)
                .help("write `stream`, or take `redirect` out");
        }
    }

    fn relay_host(&mut self, host: &Word, port: &Word) -> Option<RelayTarget> {
        let address = address(host, self.report);
        let mut reading =
            EndpointReader { lookup: self.lookup, report: self.report, any_port: false };
        let ports = reading.ports(port, Protocol::Tcp(Families::Both));
        let (address, ports) = (address?, ports?);
        if ports.start() != ports.end() {
            self.report.error(&port.span, "a relay connects to one port").help(format!(
                "write `{} {}`",
                host.text,
                ports.start()
            ));
            return None;
        }
        let port = *ports.start();
        let addresses = self.relay_addresses(host, address)?;
        let addresses = addresses.into_iter().map(|(ip, scope)| with_port(ip, scope, port));
        Some(RelayTarget::Inet { host: host.text.clone(), port, addresses: addresses.collect() })
    }

    /// The addresses of a host in the resolver's order, each with its scope; none while the
    /// name is not known.
    fn relay_addresses(
        &mut self,
        host: &Word,
        address: WrittenAddress,
    ) -> Option<Vec<(IpAddr, u32)>> {
        let found = match address {
            WrittenAddress::Ip(ip) if !ip.is_unspecified() => vec![ip],
            WrittenAddress::Any | WrittenAddress::Ip(_) => {
                self.report
                    .error(&host.span, format!("`{}` is not an address to connect to", host.text))
                    .help("write `127.0.0.1` or `::1` for this machine");
                return None;
            }
            WrittenAddress::Scoped(ip, device) => {
                let index = self.device(&device.text);
                if index.is_none() {
                    let message = format!("there is no network device `{}`", device.text);
                    self.waits(host, message);
                }
                return Some(index.map(|index| (IpAddr::V6(ip), index)).into_iter().collect());
            }
            WrittenAddress::Host(word) | WrittenAddress::Unknown(word) => {
                match self.lookup.addresses(&word.text) {
                    Ok(found) => found,
                    Err(error) => return Some(self.unknown_target(&word, &error)),
                }
            }
        };
        let mut usable: Vec<(IpAddr, u32)> = Vec::new();
        for ip in found.into_iter().filter(|ip| ip.is_ipv4() || self.lookup.has_ipv6()) {
            if !usable.contains(&(ip, 0)) {
                usable.push((ip, 0));
            }
        }
        if usable.is_empty() {
            let message = format!("this machine has no IPv6, and `{}` nothing else", host.text);
            self.lacks(&host.span, message, "enable it, or write an IPv4 address");
            return None;
        }
        Some(usable)
    }

    /// Whether the user of a relay may connect to what is at its path now.
    pub(super) fn check_reachable(
        &mut self,
        entry: &Entry,
        account: Option<&Account>,
        target: &Endpoint,
    ) {
        let Some(account) = account.filter(|it| it.switch && it.uid != 0 && !self.quiet) else {
            return;
        };
        let Endpoint::Unix(path) = target else { return };
        if let Some(why) = self.lookup.why_unreachable(path, account) {
            let message =
                format!("`{}` may not connect to `{}`: {why}", account.name, path.display());
            self.report.warning(&entry.user.span, message).help(
                "write a user who may, or give that one the rights: it is the user who connects",
            );
        }
    }

    /// A target that cannot be looked up is what it was before, if that is known.
    fn unknown_target(&mut self, word: &Word, error: &std::io::Error) -> Vec<(IpAddr, u32)> {
        let reason = reason(error);
        if let Some(Known::Host(before)) = self.lookup.before(&word.text) {
            self.goes_on_as_before(word, &reason);
            return before;
        }
        self.waits(word, format!("the host `{}` has no address: {reason}", word.text));
        Vec::new()
    }

    /// A relay whose target is its own socket would connect to itself for ever.
    pub(super) fn check_loop(&mut self, entry: &Entry, sockets: &[SocketSpec], action: &Action) {
        let Action::Relay(target) = action else { return };
        let meets = |socket: &SocketSpec| match (&socket.endpoint, target) {
            (Endpoint::Inet(own), RelayTarget::Inet { addresses, .. }) => {
                addresses.iter().any(|address| takes(*own, *address, self.lookup))
            }
            (Endpoint::Vsock(own), RelayTarget::Unix(Endpoint::Vsock(target))) => {
                own.takes(*target)
            }
            (own, RelayTarget::Unix(endpoint)) => own == endpoint,
            _ => false,
        };
        if sockets.iter().any(meets) {
            self.report
                .error(&entry.endpoint.span, "this service would be relayed to itself")
                .help("give it another port, or `redirect` another target");
        }
    }
}

/// Whether a connection to `target` comes to a socket bound to `own`.
pub(super) fn takes(own: SocketAddr, target: SocketAddr, lookup: &dyn Lookup) -> bool {
    let target = SocketAddr::new(target.ip().to_canonical(), target.port());
    let any = || {
        let same_family = own.is_ipv4() == target.is_ipv4();
        own.ip().is_unspecified() && same_family && lookup.is_own_address(target)
    };
    own.port() == target.port() && (own.ip() == target.ip() || any())
}

/// `/path` or `@name`.
fn endpoint(word: &Word) -> Endpoint {
    if word.text.starts_with('@') {
        Endpoint::Abstract(word.os.as_bytes().get(1..).unwrap_or_default().to_vec())
    } else {
        Endpoint::Unix(PathBuf::from(&word.os))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fake::FakeLookup;
    use crate::config::{Loaded, load, print::inetd_conf};

    fn loaded(text: &str) -> Loaded {
        load("/f".as_ref(), &[], &FakeLookup::with_file("/f", text))
    }

    fn messages(text: &str) -> Vec<String> {
        let lines = loaded(text).diagnostics;
        lines.iter().map(crate::config::diagnostic::Diagnostic::one_line).collect()
    }

    /// The target of the one service of a file without a complaint.
    fn target(value: &str) -> RelayTarget {
        let text = format!("8080 stream tcp nowait - internal\n redirect = {value}\n");
        let loaded = loaded(&text);
        assert!(loaded.diagnostics.is_empty(), "{value}: {:?}", messages(&text));
        let printed = inetd_conf(&loaded.config, &FakeLookup::default());
        let again = load("/f".as_ref(), &[], &FakeLookup::with_file("/f", &printed));
        let service = &loaded.config.services[0];
        assert_eq!(again.config.services[0].action, service.action, "{printed}");
        let Action::Relay(target) = &service.action else { panic!("{service:?}") };
        target.clone()
    }

    #[test]
    fn hosts_and_ports_become_addresses_in_the_resolvers_order() {
        for (value, expected) in [
            ("127.0.0.1 80", vec!["127.0.0.1:80"]),
            ("::1 http", vec!["[::1]:80"]),
            ("[::1] 80", vec!["[::1]:80"]),
            ("[fe80::1%eth0] 80", vec!["[fe80::1%2]:80"]),
            ("localhost 81", vec!["[::1]:81", "127.0.0.1:81"]),
            ("server www", vec!["192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80"]),
        ] {
            let RelayTarget::Inet { addresses, .. } = target(value) else { panic!("{value}") };
            let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            assert_eq!(shown, expected, "{value}");
        }
    }

    #[test]
    fn unix_sockets_are_targets_too() {
        assert_eq!(target("/run/a.sock"), RelayTarget::Unix(Endpoint::Unix("/run/a.sock".into())));
        assert_eq!(target("'/run/a b'"), RelayTarget::Unix(Endpoint::Unix("/run/a b".into())));
        assert_eq!(target("@name"), RelayTarget::Unix(Endpoint::Abstract(b"name".to_vec())));
        let text = "/run/in stream unix nowait - internal\n redirect = 127.0.0.1 80\n";
        assert!(messages(text).is_empty(), "{:?}", messages(text));
    }

    #[test]
    fn what_a_relay_cannot_have_is_an_error_that_says_so() {
        for (line, message) in [
            ("80 stream tcp nowait - /bin/cat cat", "exclude each other"),
            ("80 stream tcp nowait - 'internal'", "exclude each other"),
            ("80 stream tcp nowait - internal echo", "takes no arguments"),
            ("80 stream tcp wait - internal", "a relay takes each connection itself"),
            ("80 dgram udp wait - internal", "datagrams cannot be relayed"),
            ("/s seqpacket unix nowait - internal", "sequenced packets cannot be relayed"),
            ("tcpmux/x stream tcp nowait - internal", "tcpmux cannot be relayed"),
            ("7 stream tcp nowait - internal", "relayed to itself"),
            ("127.0.0.1:7 stream tcp nowait - internal", "relayed to itself"),
        ] {
            let text = format!("{line}\n redirect = 127.0.0.1 7\n");
            let messages = messages(&text);
            assert!(messages.len() == 1 && messages[0].contains(message), "{line}: {messages:?}");
            assert!(messages[0].contains(": error: "), "{messages:?}");
        }
        let text = "192.0.2.1:7 stream tcp nowait - internal\n redirect = 127.0.0.1 7\n";
        assert!(messages(text).is_empty(), "another address of this machine is another socket");
        let text = ".defaults\n redirect = 127.0.0.1 7\n80 stream tcp nowait - cat\n";
        assert!(messages(text)[0].contains("exclude each other"));
    }

    #[test]
    fn bad_values_are_shown_with_what_would_be_right() {
        for (value, message) in [
            ("", "the value is missing"),
            ("server", "the port is missing"),
            ("server:80", "(write `server 80`)"),
            ("server 80 81", "one host and one port are enough"),
            ("/path 80", "a unix socket has no port"),
            ("/", "1 to 107 bytes"),
            ("@", "1 to 107 bytes"),
            ("server 0", "not a port"),
            ("server 70000", "not a port"),
            ("server 80-90", "one port"),
            ("server htpt", "did you mean `http`?"),
            ("* 80", "not an address to connect to"),
            ("0.0.0.0 80", "not an address to connect to"),
            ("1.2.3 80", "not an IPv4 address"),
            ("nowhere 80", "has no address: Name or service not known: 8080/tcp waits for it"),
            ("[fe80::1%eth9] 80", "no network device `eth9`: 8080/tcp waits for it"),
        ] {
            let text = format!("8080 stream tcp nowait - internal\n redirect = {value}\n");
            let messages = messages(&text);
            assert!(messages.len() == 1 && messages[0].contains(message), "{value}: {messages:?}");
        }
    }

    #[test]
    fn a_host_that_is_unknown_now_is_waited_for() {
        let config = loaded("80 stream tcp nowait - internal\n redirect = nowhere 80\n").config;
        assert_eq!((config.services.len(), config.withheld.len()), (1, 0));
        assert_eq!(config.services[0].missing_target(), Some("nowhere"));
    }

    #[test]
    fn addresses_of_a_family_that_the_machine_lacks_are_left_out() {
        let text = "80 stream tcp4 nowait - internal\n redirect = server 80\n";
        let fake = FakeLookup { ipv6: false, ..FakeLookup::with_file("/f", text) };
        let loaded = load("/f".as_ref(), &[], &fake);
        let Action::Relay(RelayTarget::Inet { addresses, .. }) = &loaded.config.services[0].action
        else {
            panic!("{loaded:?}")
        };
        assert!(addresses.len() == 2 && addresses.iter().all(SocketAddr::is_ipv4));
    }
}
