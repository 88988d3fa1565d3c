//! Which sockets an entry has: addresses times ports, as this machine knows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::endpoint::ServiceField;
use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::diagnostic::Span;
use crate::config::model::protocol::{Families, Protocol};
use crate::config::model::{Endpoint, Known, SocketSpec, SocketType, Sought, with_port};
use crate::config::syntax::address::{Addresses, WrittenAddress, address, has_address};
use crate::config::syntax::entry::Entry;
use crate::config::text::words::Word;

/// An address, with the index of its device where it needs one.
type ScopedAddress = (IpAddr, u32);

/// The longest name of a network device (IFNAMSIZ, its final NUL apart).
const LONGEST_DEVICE: usize = 15;

/// The longest path of a unix socket, its final NUL apart.
const LONGEST_PATH: usize = 107;

impl Resolver<'_> {
    /// All sockets of an entry; what cannot be had is reported.
    pub(super) fn sockets(
        &mut self,
        entry: &Entry,
        target: &ServiceField,
        draft: &Draft,
        (socket_type, protocol): (SocketType, Protocol),
    ) -> Vec<SocketSpec> {
        match target {
            ServiceField::Tcpmux(_) => Vec::new(),
            ServiceField::Abstract(name) => {
                vec![plain(socket_type, Endpoint::Abstract(name.clone()))]
            }
            ServiceField::Vsock(address, _) => {
                self.check_vsock(&entry.protocol);
                vec![plain(socket_type, Endpoint::Vsock(*address))]
            }
            ServiceField::Unix { path, .. } => {
                vec![plain(socket_type, Endpoint::Unix(path.clone()))]
            }
            ServiceField::Inet { addresses, ports, .. } => {
                let (addresses, device) = self.interface(entry, addresses, draft);
                let families = self.families(entry, protocol.families(), &addresses, draft);
                let bound = self.bound(entry, &addresses, families);
                let each = |port: u16| bound.iter().map(move |address| inet(*address, port));
                ports
                    .clone()
                    .flat_map(each)
                    .map(|endpoint| SocketSpec { socket_type, endpoint, device: device.clone() })
                    .collect()
            }
        }
    }

    /// Paths at which no socket can be.
    pub(super) fn check_socket_path(&mut self, entry: &Entry, path: &Path) {
        let long = path.as_os_str().len() > LONGEST_PATH;
        if long || path.file_name().is_none() || entry.endpoint.text.ends_with('/') {
            self.report.error(&entry.endpoint.span, "this cannot be the path of a socket").help(
                format!("a path of a socket names a file and has at most {LONGEST_PATH} bytes"),
            );
        }
    }

    /// The addresses to listen on, and the device: `interface` is either.
    fn interface(
        &mut self,
        entry: &Entry,
        addresses: &Addresses,
        draft: &Draft,
    ) -> (Addresses, Option<String>) {
        let Some(word) = &draft.interface else { return (addresses.clone(), None) };
        if self.is_device(word) {
            return (addresses.clone(), Some(word.text.clone()));
        }
        let own = entry.settings.iter().any(|setting| setting.attribute.name == "interface");
        if !addresses.is_empty() {
            // A default address gives way to what an entry says itself.
            let field = has_address(&entry.endpoint.text);
            if own && field && self.may_be_device(word) {
                // Its sockets are tried again until it is there.
                let message = format!("there is no network device `{}`", word.text);
                self.waits(word, message);
                return (addresses.clone(), Some(word.text.clone()));
            }
            if own && field {
                self.report
                    .error(&word.span, "the address is said twice")
                    .related(entry.endpoint.span.clone(), "an address stands here already")
                    .help("take one of them away; `interface` can name a network device besides");
                return (addresses.clone(), None);
            }
            if !own {
                return (addresses.clone(), None);
            }
        }
        match address(word, self.report) {
            Some(WrittenAddress::Host(host))
                if self.lookup.before(&host.text).is_none()
                    && self.lookup.addresses(&host.text).is_err() =>
            {
                (vec![(WrittenAddress::Unknown(host), word.span.clone())], None)
            }
            Some(address) => (vec![(address, word.span.clone())], None),
            None => (addresses.clone(), None),
        }
    }

    /// Whether it is a network device, or was one when it was last looked at.
    fn is_device(&self, word: &Word) -> bool {
        let was = || matches!(self.lookup.before(&word.text), Some(Known::Device(_)));
        self.lookup.device_index(&word.text).is_some() || was()
    }

    /// Whether it could be one that is not there now: no address, and no host.
    fn may_be_device(&self, word: &Word) -> bool {
        let name = word.text.as_str();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        plain
            && (1..=LONGEST_DEVICE).contains(&name.len())
            && name.parse::<IpAddr>().is_err()
            && self.lookup.addresses(name).is_err()
    }

    /// The families that are asked for, as far as this machine has them.
    fn families(
        &mut self,
        entry: &Entry,
        asked: Families,
        addresses: &Addresses,
        draft: &Draft,
    ) -> Families {
        let asked = match (draft.v6only, asked) {
            (true, Families::V4) => {
                self.report
                    .error(
                        &entry.protocol.span,
                        format!("`v6only` leaves nothing of `{}`", entry.protocol.text),
                    )
                    .help("take `v6only` out, or write `tcp6` or `udp6`");
                Families::V4
            }
            (true, _) => Families::V6,
            (false, asked) => asked,
        };
        if self.lookup.has_ipv6() {
            return asked;
        }
        let any = addresses.is_empty()
            || addresses.iter().any(|(address, _)| *address == WrittenAddress::Any);
        match asked {
            Families::V6 => {
                let message = "this machine has no IPv6".to_owned();
                self.lacks(&entry.protocol.span, message, "enable it, or write `tcp4` or `udp4`");
                Families::V6
            }
            Families::Both if any => {
                self.say_no_ipv6(&entry.protocol.span);
                Families::V4
            }
            other => other,
        }
    }

    /// Once for a whole configuration.
    fn say_no_ipv6(&mut self, span: &Span) {
        if !self.said_no_ipv6 && !self.quiet {
            self.said_no_ipv6 = true;
            self.report
                .warning(span, "this machine has no IPv6: served on IPv4 alone")
                .help("write `tcp4` or `udp4` where that is what is meant; this is said once");
        }
    }

    /// The addresses of a list, each once, IPv4 before IPv6 where both are meant.
    fn bound(
        &mut self,
        entry: &Entry,
        addresses: &Addresses,
        families: Families,
    ) -> Vec<ScopedAddress> {
        let any = [(WrittenAddress::Any, entry.endpoint.span.clone())];
        let list = if addresses.is_empty() { any.as_slice() } else { addresses.as_slice() };
        let mut bound: Vec<ScopedAddress> = Vec::new();
        // What one address lacks does not matter to the others.
        let lacking = std::mem::replace(&mut self.lacking, false);
        for (address, span) in list {
            for one in self.one_address(address, span, families) {
                if bound.contains(&one) && *address != WrittenAddress::Any {
                    self.report
                        .warning(span, format!("the address {} is listed twice", one.0))
                        .help("take one of them away");
                } else if !bound.contains(&one) {
                    bound.push(one);
                }
            }
        }
        self.lacking &= bound.is_empty() && self.causes.awaited() == 0;
        self.lacking |= lacking;
        bound
    }

    fn one_address(
        &mut self,
        address: &WrittenAddress,
        span: &Span,
        families: Families,
    ) -> Vec<ScopedAddress> {
        let (v4, v6) = (families != Families::V6, families != Families::V4);
        match address {
            WrittenAddress::Any => {
                let four = v4.then_some((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
                let six = v6.then_some((IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0));
                four.into_iter().chain(six).collect()
            }
            WrittenAddress::Ip(ip) => self.ip(*ip, span, (v4, v6)),
            WrittenAddress::Scoped(ip, device) => self.scoped(*ip, device, v6),
            WrittenAddress::Host(word) => self.host(word, (v4, v6)),
            WrittenAddress::Unknown(word) => {
                let message = format!("there is no network device and no host `{}`", word.text);
                self.awaits(word, Sought::HostOrDevice, (v4, v6), message);
                Vec::new()
            }
        }
    }

    fn ip(&mut self, ip: IpAddr, span: &Span, (v4, v6): (bool, bool)) -> Vec<ScopedAddress> {
        if !(if ip.is_ipv4() { v4 } else { v6 }) {
            let (this, other) = if ip.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
            self.report
                .error(
                    span,
                    format!("this is an {this} address, and the entry is for {other} alone"),
                )
                .help("write `tcp` or `udp` as the protocol: it means what the address is");
            return Vec::new();
        }
        if ip.is_ipv6() && !self.lookup.has_ipv6() {
            self.lacks(
                span,
                "this machine has no IPv6".to_owned(),
                "enable it, or take the address out",
            );
        }
        if let IpAddr::V6(v6) = ip
            && v6.is_unicast_link_local()
        {
            self.report
                .error(span, "a link-local address needs its network device")
                .help(format!("write `[{v6}%eth0]`"));
        }
        vec![(ip, 0)]
    }

    fn scoped(&mut self, ip: Ipv6Addr, device: &Word, v6: bool) -> Vec<ScopedAddress> {
        let index = self.device(&device.text);
        if !v6 {
            self.report
                .error(&device.span, "this is an IPv6 address, and the entry is for IPv4 alone")
                .help("write `tcp` or `udp` as the protocol: it means what the address is");
            return Vec::new();
        }
        if index.is_none() {
            self.awaits_device(ip, device);
        }
        index.map(|index| (IpAddr::V6(ip), index)).into_iter().collect()
    }

    /// The addresses of a host, as far as they are of the families asked for.
    fn host(&mut self, word: &Word, (v4, v6): (bool, bool)) -> Vec<ScopedAddress> {
        let families = (v4, v6 && self.lookup.has_ipv6());
        let found = match self.lookup.addresses(&word.text) {
            Ok(found) => found,
            Err(error) => match self.unknown_host(word, families, &error) {
                Some(before) => before,
                None => return Vec::new(),
            },
        };
        let (v4, v6) = families;
        let wanted = |ip: &IpAddr| if ip.is_ipv4() { v4 } else { v6 };
        let mut bound: Vec<ScopedAddress> = Vec::new();
        for ip in found.into_iter().filter(wanted) {
            if !bound.contains(&(ip, 0)) {
                bound.push((ip, 0));
            }
        }
        bound.sort_by_key(|(ip, _)| ip.is_ipv6());
        if bound.is_empty() {
            let family = if v6 { "IPv6" } else { "IPv4" };
            let family = if v4 && v6 { "IPv4 or IPv6" } else { family };
            let message = format!("the host `{}` has no {family} address", word.text);
            self.awaits(word, Sought::Host, families, message);
        }
        bound
    }
}

fn inet((ip, scope): ScopedAddress, port: u16) -> Endpoint {
    Endpoint::Inet(with_port(ip, scope, port))
}

/// A socket without a device.
fn plain(socket_type: SocketType, endpoint: Endpoint) -> SocketSpec {
    SocketSpec { socket_type, endpoint, device: None }
}
