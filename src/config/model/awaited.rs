//! Names that a service waits for: hosts without an address now, devices that are not there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use serde::{Deserialize, Serialize};

use super::socket::{Endpoint, SocketSpec, SocketType};

/// What a name was when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Known {
    /// A network device, with its index.
    Device(u32),
    /// A host, with its addresses in the resolver's order, each with its scope.
    Host(Vec<(IpAddr, u32)>),
}

/// A part of a service's sockets, which are not known before its name is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// The name, without brackets.
    pub name: String,
    /// What it may be.
    pub what: Sought,
    /// The first and the last port.
    pub ports: (u16, u16),
    /// Whether addresses of IPv4 and of IPv6 are wanted.
    pub families: (bool, bool),
}

/// What a name may turn out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sought {
    /// A host.
    Host,
    /// A host or a network device.
    HostOrDevice,
    /// The network device of this link-local address.
    Scope(Ipv6Addr),
}

impl Awaited {
    /// The sockets that this is, now that the name is known; none where it is something else.
    pub fn sockets(&self, known: &Known, socket_type: SocketType) -> Vec<SocketSpec> {
        let (v4, v6) = self.families;
        let four = v4.then_some((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        let six = v6.then_some((IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0));
        let (addresses, device) = match (self.what, known) {
            (Sought::Scope(ip), Known::Device(index)) => (vec![(IpAddr::V6(ip), *index)], None),
            (Sought::HostOrDevice, Known::Device(_)) => {
                (four.into_iter().chain(six).collect(), Some(self.name.clone()))
            }
            (Sought::Host | Sought::HostOrDevice, Known::Host(found)) => {
                let wanted = found.iter().filter(|(ip, _)| if ip.is_ipv4() { v4 } else { v6 });
                let mut wanted: Vec<(IpAddr, u32)> = wanted.copied().collect();
                wanted.sort_by_key(|(ip, _)| ip.is_ipv6());
                (wanted, None)
            }
            _ => (Vec::new(), None),
        };
        let mut specs: Vec<SocketSpec> = Vec::new();
        for port in self.ports.0..=self.ports.1 {
            for (ip, scope) in &addresses {
                let endpoint = Endpoint::Inet(with_port(*ip, *scope, port));
                let spec = SocketSpec { socket_type, endpoint, device: device.clone() };
                if !specs.contains(&spec) {
                    specs.push(spec);
                }
            }
        }
        specs
    }
}

/// An address with its scope and a port.
pub fn with_port(ip: IpAddr, scope: u32, port: u16) -> SocketAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited(what: Sought, families: (bool, bool)) -> Awaited {
        Awaited { name: "db".to_owned(), what, ports: (80, 81), families }
    }

    fn shown(awaited: &Awaited, known: &Known) -> Vec<String> {
        let specs = awaited.sockets(known, SocketType::Stream);
        let shown = specs.into_iter().map(|spec| match (spec.endpoint, spec.device) {
            (Endpoint::Inet(address), None) => address.to_string(),
            (Endpoint::Inet(address), Some(device)) => format!("{address} on {device}"),
            other => panic!("{other:?}"),
        });
        shown.collect()
    }

    #[test]
    fn a_host_is_its_addresses_of_the_families_that_are_wanted_each_once() {
        let ip = |text: &str| (text.parse().unwrap(), 0);
        let known = Known::Host(vec![ip("2001:db8::1"), ip("192.0.2.1"), ip("192.0.2.1")]);
        let four = ["192.0.2.1:80", "192.0.2.1:81"];
        assert_eq!(shown(&awaited(Sought::Host, (true, false)), &known), four);
        let both = shown(&awaited(Sought::HostOrDevice, (true, true)), &known);
        assert_eq!(both.first().map(String::as_str), Some("192.0.2.1:80"));
        assert_eq!(both.len(), 4);
        assert!(
            shown(&awaited(Sought::Scope("fe80::1".parse().unwrap()), (true, true)), &known)
                .is_empty()
        );
    }

    #[test]
    fn a_device_is_every_address_on_it_or_the_scope_of_one() {
        let device = Known::Device(7);
        let on = ["0.0.0.0:80 on db", "[::]:80 on db", "0.0.0.0:81 on db", "[::]:81 on db"];
        assert_eq!(shown(&awaited(Sought::HostOrDevice, (true, true)), &device), on);
        let scope = awaited(Sought::Scope("fe80::1".parse().unwrap()), (false, true));
        assert_eq!(shown(&scope, &device), ["[fe80::1%7]:80", "[fe80::1%7]:81"]);
        assert!(shown(&awaited(Sought::Host, (true, true)), &device).is_empty());
    }
}
