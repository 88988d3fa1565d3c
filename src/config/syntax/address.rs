//! Addresses as they are written, and where they stand in a service field.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;
use crate::config::text::words::Word;

/// An address as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum WrittenAddress {
    /// `*`.
    Any,
    /// A number.
    Ip(IpAddr),
    /// `fe80::1%eth0`.
    Scoped(Ipv6Addr, Word),
    /// A host name.
    Host(Word),
    /// What may be a host or a network device, and is neither now.
    Unknown(Word),
}

/// Addresses with the place of each.
pub(in crate::config) type Addresses = Vec<(WrittenAddress, Span)>;

/// A list of addresses.
pub(in crate::config) fn addresses(word: &Word, report: &mut Report) -> Option<Addresses> {
    let mut addresses = Some(Vec::new());
    let mut start = 0;
    for part in word.text.split(',') {
        let piece = word.slice(start..start + part.len());
        let address = address(&piece, report);
        addresses = addresses.zip(address).map(|(mut all, one)| {
            all.push((one, piece.span.clone()));
            all
        });
        start += part.len() + 1;
    }
    addresses
}

/// One address, an IPv6 address in brackets or (where it stands alone) without.
pub(in crate::config) fn address(word: &Word, report: &mut Report) -> Option<WrittenAddress> {
    let text = word.text.as_str();
    if text == "*" {
        return Some(WrittenAddress::Any);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return plain_ip(ip, word, report);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return bracketed(word, inner, report);
    }
    let (message, help) = if text.is_empty() {
        ("an address is missing here".to_owned(), "write an address, `*` for all, or no `:`")
    } else if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        (format!("`{text}` is not an IPv4 address"), "four numbers from 0 to 255: `127.0.0.1`")
    } else if text.parse::<SocketAddr>().is_ok() {
        (format!("`{text}` is an address with a port"), "write the address alone")
    } else if text.contains(['[', ']', ':']) {
        (format!("`{text}` is not an address"), "an IPv6 address stands in brackets: `[::1]:8080`")
    } else if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Some(WrittenAddress::Host(word.clone()));
    } else {
        (
            format!("`{text}` is not an address"),
            "write an IPv4 address, an IPv6 address in brackets, a host name or `*`",
        )
    };
    report.error(&word.span, message).help(help);
    None
}

fn plain_ip(ip: IpAddr, word: &Word, report: &mut Report) -> Option<WrittenAddress> {
    if let IpAddr::V6(v6) = ip
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        report
            .error(&word.span, "IPv6 sockets take no IPv4 connections here")
            .help(format!("write the IPv4 address itself: `{v4}`"));
        return None;
    }
    Some(WrittenAddress::Ip(ip))
}

/// What stands between `[` and `]`.
fn bracketed(word: &Word, inner: &str, report: &mut Report) -> Option<WrittenAddress> {
    let (address, scope) = match inner.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (inner, None),
    };
    // OpenBSD's inetd takes every address in brackets.
    if let (Ok(ip), None) = (address.parse::<IpAddr>(), scope) {
        return plain_ip(ip, word, report);
    }
    match (address.parse::<Ipv6Addr>(), scope) {
        (Ok(ip), Some(scope)) if !scope.is_empty() => {
            let start = 2 + address.len();
            Some(WrittenAddress::Scoped(ip, word.slice(start..start + scope.len())))
        }
        _ => {
            report
                .error(&word.span, format!("`{inner}` is not an IPv6 address"))
                .help("write something like `[::1]` or `[fe80::1%eth0]`");
            None
        }
    }
}

/// The service of a field, and the addresses before it.
pub(in crate::config) fn split(word: &Word) -> (Word, Option<Word>) {
    match last_colon(&word.text) {
        Some(at) => (word.slice(at + 1..word.text.len()), Some(word.slice(0..at))),
        None => (word.clone(), None),
    }
}

/// The colon before the service: the last one outside brackets.
fn last_colon(text: &str) -> Option<usize> {
    let from = text.rfind(']').unwrap_or(0);
    text.get(from..)?.rfind(':').map(|at| from + at)
}

/// Whether a service field names its addresses itself.
pub(in crate::config) fn has_address(field: &str) -> bool {
    last_colon(field).is_some()
}
