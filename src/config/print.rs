//! The model as inetd.conf, which reads back to an equal model.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use super::attribute::{Shown, all, set_by_arguments};
use super::facts::Lookup;
use super::model::{Account, Action, Config, Endpoint, Service, SocketType, Sought};
use super::text::words::{quote, quoted};

/// All services of a configuration, the disabled ones last. Services withheld are
/// not in the model, so they are not printed.
pub fn inetd_conf(config: &Config, lookup: &dyn Lookup) -> String {
    let mut text = String::new();
    let served = config.services.iter().map(|service| (service, false));
    let disabled = config.disabled.iter().map(|service| (service, true));
    for (service, disabled) in served.chain(disabled) {
        text.push_str(&entry(&Shown::new(service, disabled, lookup)));
    }
    text
}

/// The line of a service and its attributes.
pub(super) fn entry(shown: &Shown<'_>) -> String {
    let service = shown.service;
    let (endpoint, protocol) = endpoint(service);
    let socket_type = match service.socket_type {
        SocketType::Stream => "stream",
        SocketType::Dgram => "dgram",
        SocketType::SeqPacket => "seqpacket",
    };
    let wait = if service.wait { "wait" } else { "nowait" };
    let (user, program) = match &service.action {
        Action::Builtin(builtin) => ("-".to_owned(), format!("internal {}", builtin.name())),
        // Who connects to a unix socket.
        Action::Relay(_) => (user(&service.account, shown.lookup), "internal".to_owned()),
        Action::Program(program) => {
            let next = |at: usize| program.argv.get(at + 1).map(|next| next.as_os_str());
            let words = program.argv.iter().enumerate();
            let words = words.map(|(at, word)| argument(word, next(at)));
            let words: Vec<String> =
                std::iter::once(quote(program.path.as_os_str())).chain(words).collect();
            (user(&service.account, shown.lookup), words.join(" "))
        }
    };
    let mut text = format!("{endpoint} {socket_type} {protocol} {wait} {user} {program}\n");
    for attribute in all() {
        if let Some(value) = attribute.print(shown) {
            let line = format!("    {} = {value}", attribute.name);
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// An argument that nobody takes for an attribute, and the one behind it.
fn argument(word: &OsStr, next: Option<&OsStr>) -> String {
    match set_by_arguments(&word.to_string_lossy(), next.and_then(OsStr::to_str)) {
        Some(_) => quoted(word),
        None => quote(word),
    }
}

/// The service field and the protocol.
fn endpoint(service: &Service) -> (String, &'static str) {
    if let Some(tcpmux) = &service.tcpmux {
        let sign = if tcpmux.greet { "+" } else { "" };
        return (quote(format!("tcpmux/{sign}{}", tcpmux.name).as_ref()), "tcp");
    }
    match service.sockets.first().map(|socket| &socket.endpoint) {
        Some(Endpoint::Unix(path)) => (quote(path.as_os_str()), "unix"),
        Some(Endpoint::Abstract(name)) => {
            let mut word = std::ffi::OsString::from("@");
            word.push(std::ffi::OsStr::from_bytes(name));
            (quote(&word), "unix")
        }
        // As the log knows it.
        Some(Endpoint::Vsock(_)) => (quote(service.label.as_ref()), "vsock"),
        Some(Endpoint::Inet(_)) | None => inet(service),
    }
}

/// Addresses and ports: which of them is in how many sockets does not matter, since
/// every address is there with every port.
fn inet(service: &Service) -> (String, &'static str) {
    let datagrams = service.socket_type == SocketType::Dgram;
    let sockets: Vec<SocketAddr> = service
        .sockets
        .iter()
        .filter_map(|socket| match &socket.endpoint {
            Endpoint::Inet(address) => Some(*address),
            _ => None,
        })
        .collect();
    let awaited = service.awaited.iter().flat_map(|awaited| [awaited.ports.0, awaited.ports.1]);
    let ports: BTreeSet<u16> = sockets.iter().map(SocketAddr::port).chain(awaited).collect();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for socket in &sockets {
        let known = |other: &SocketAddr| host(other) == host(socket);
        if !addresses.iter().any(known) {
            addresses.push(*socket);
        }
    }
    // The name under which the log knows it, where the label has it.
    let name = service.label.rsplit_once('/').map_or("", |(name, _)| name).to_owned();
    let port = match (ports.first(), ports.last()) {
        _ if !name.is_empty() => name,
        (Some(low), Some(high)) if low != high => format!("{low}-{high}"),
        (Some(port), _) => port.to_string(),
        _ => name,
    };
    if !service.awaited.is_empty() {
        return with_names(service, &addresses, &port, datagrams);
    }
    let any = |address: &SocketAddr| address.ip().is_unspecified();
    let protocol = match addresses.as_slice() {
        [four, six] if any(four) && any(six) && four.is_ipv4() && six.is_ipv6() => {
            return (quote(port.as_ref()), both(datagrams));
        }
        [one] if any(one) => {
            let names = if one.is_ipv4() { ["tcp4", "udp4"] } else { ["tcp6", "udp6"] };
            let [tcp, udp] = names;
            return (quote(port.as_ref()), if datagrams { udp } else { tcp });
        }
        _ => both(datagrams),
    };
    let list: Vec<String> = addresses.iter().map(host).collect();
    (quote(format!("{}:{port}", list.join(",")).as_ref()), protocol)
}

/// The same where some of the addresses are names that are not known yet.
fn with_names(
    service: &Service,
    addresses: &[SocketAddr],
    port: &str,
    datagrams: bool,
) -> (String, &'static str) {
    let names = service.awaited.iter().filter_map(|awaited| match awaited.what {
        Sought::Host => Some(awaited.name.clone()),
        Sought::Scope(ip) => Some(format!("[{ip}%{}]", awaited.name)),
        // `interface` says that.
        Sought::HostOrDevice => None,
    });
    let list: Vec<String> = addresses.iter().map(host).chain(names).collect();
    let mut named = service.awaited.iter().filter(|it| !matches!(it.what, Sought::Scope(_)));
    let protocol = match named.next().map(|awaited| awaited.families) {
        Some((true, false)) if datagrams => "udp4",
        Some((true, false)) => "tcp4",
        Some((false, true)) if datagrams => "udp6",
        Some((false, true)) => "tcp6",
        _ => both(datagrams),
    };
    match list.as_slice() {
        [] => (quote(port.as_ref()), protocol),
        list => (quote(format!("{}:{port}", list.join(",")).as_ref()), protocol),
    }
}

fn both(datagrams: bool) -> &'static str {
    if datagrams { "udp" } else { "tcp" }
}

/// An address without its port.
fn host(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("[{}%{}]", v6.ip(), v6.scope_id()),
        SocketAddr::V6(v6) => format!("[{}]", IpAddr::V6(*v6.ip())),
    }
}

/// The user field: a group only where it is not the user's own.
fn user(account: &Account, lookup: &dyn Lookup) -> String {
    if !account.switch {
        return "-".to_owned();
    }
    let own = lookup.user(&account.name).map(|user| user.gid);
    if own == Some(account.gid) {
        return quote(account.name.as_ref());
    }
    let group = lookup.group_name(account.gid).unwrap_or_else(|| account.gid.to_string());
    quote(format!("{}:{group}", account.name).as_ref())
}
