//! Whether a browser means us. A stranger's page may come from a name that leads to this
//! machine a moment later (DNS rebinding), and would then read what we answer: so a request
//! must call us by a name that is ours, which nobody else can have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What we are called besides our addresses and `localhost`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OwnNames(pub(crate) Vec<String>);

impl OwnNames {
    /// Whether this Host is ours, on a connection to this address; None on a unix socket.
    /// Ports do not count: they are others where something leads here, such as ssh.
    pub(crate) fn include(&self, host: &str, local: Option<IpAddr>) -> bool {
        let Some(name) = name_of(host) else { return false };
        match address_of(name) {
            // The browser's own machine, which leads here.
            Some(ip) if ip.is_loopback() => true,
            Some(ip) if local.is_some_and(|local| local.to_canonical() == ip) => true,
            None if name.eq_ignore_ascii_case("localhost") => true,
            _ => self.0.iter().any(|own| own.eq_ignore_ascii_case(name)),
        }
    }
}

/// Whether something can be such a name: what a browser would send.
pub(crate) fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    address_of(text).is_some() || !text.is_empty() && text.bytes().all(is_part)
}

/// Without the port and the dot of the root.
fn name_of(host: &str) -> Option<&str> {
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let end = if host.starts_with('[') { host.find(']')?.checked_add(1)? } else { 0 };
    let colon = host.get(end..)?.find(':').map(|at| at.saturating_add(end));
    let (name, port) = host.split_at(colon.unwrap_or(host.len()));
    let is_whole = end == 0 || name.len() == end;
    (is_whole && is_port(port.strip_prefix(':').unwrap_or_default()))
        .then(|| name.strip_suffix('.').unwrap_or(name))
}

fn address_of(name: &str) -> Option<IpAddr> {
    let v6 = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::from(ip).to_canonical()),
        None => name.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    fn is_own(host: &str, local: Option<&str>) -> bool {
        let names = OwnNames(vec!["box.example.org".to_owned(), "192.0.2.7".to_owned()]);
        names.include(host, local.map(|ip| ip.parse().unwrap()))
    }

    #[test]
    fn we_are_our_address_localhost_and_what_we_are_said_to_be() {
        for host in [
            "localhost",
            "LocalHost:80",
            "localhost.",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "box.example.org:8080",
            "BOX.example.org.",
            "192.0.2.7",
            "localhost:",
        ] {
            assert!(is_own(host, Some("127.0.0.1")) && is_own(host, None), "{host}");
        }
        assert!(is_own("10.0.0.9:80", Some("10.0.0.9")) && is_own("[fe80::1]", Some("fe80::1")));
        assert!(is_own("10.0.0.9", Some("::ffff:10.0.0.9")));
    }

    #[test]
    fn no_other_host_is_taken_for_us() {
        for host in [
            "",
            ":80",
            ".",
            "evil.example",
            "localhost.evil.example",
            "localhost:80:80",
            "localhost:x",
            "127.0.0.1.evil.example",
            "[::1].evil.example",
            "[::1",
            "[::1]x:80",
            "::1",
            "10.0.0.9",
            "xbox.example.org",
            "evil@localhost",
            "localhost/",
            "2130706433",
            "[fe80::1%lo]",
            "é",
        ] {
            assert!(!is_own(host, Some("127.0.0.1")) && !is_own(host, None), "{host}");
        }
        assert!(!is_own("10.0.0.8", Some("10.0.0.9")) && !is_own("10.0.0.9", None));
    }

    #[test]
    fn a_name_is_what_a_browser_would_send() {
        assert!(["box", "a.b-c", "10.0.0.9", "[fe80::1]"].iter().all(|name| is_name(name)));
        assert!(["", "box:80", "a b", "http://box", "[x]", "*"].iter().all(|name| !is_name(name)));
    }

    proptest! {
        #[test]
        fn no_host_is_too_strange(host: String) {
            let _ = is_own(&host, None);
        }
    }
}
