//! Version 1: one line, `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`, and CR LF.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::first_bytes::{Header, HeaderRead, MALFORMED, NO_HEADER, NamedClient, TOO_LONG, begins};
use crate::net::fronted::Fronted;

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// The longest line, its end included.
const LONGEST: usize = 107;

pub(super) fn read(bytes: &[u8]) -> HeaderRead {
    if !begins(bytes, SIGNATURE) {
        return HeaderRead::Malformed(NO_HEADER);
    }
    let line = bytes.get(..LONGEST).unwrap_or(bytes);
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if line.len() < LONGEST {
            HeaderRead::Incomplete
        } else {
            HeaderRead::Malformed(TOO_LONG)
        };
    };
    match line.get(end..) {
        Some([b'\r']) if line.len() < LONGEST => return HeaderRead::Incomplete,
        Some([b'\r', b'\n', ..]) => {}
        _ => return HeaderRead::Malformed(MALFORMED),
    }
    let said = line.get(SIGNATURE.len()..end).unwrap_or_default();
    match std::str::from_utf8(said).ok().and_then(named) {
        Some(named) => HeaderRead::Whole(Header { length: end + 2, named }),
        None => HeaderRead::Malformed(MALFORMED),
    }
}

/// The inner None: the sender does not know.
fn named(said: &str) -> Option<Option<NamedClient>> {
    if said == "UNKNOWN" || said.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = said.split(' ');
    let family = words.next()?;
    let (source, destination) = (words.next()?, words.next()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let (source, destination) = match family {
        "TCP4" => {
            (address::<std::net::Ipv4Addr>(source)?, address::<std::net::Ipv4Addr>(destination)?)
        }
        "TCP6" => {
            (address::<std::net::Ipv6Addr>(source)?, address::<std::net::Ipv6Addr>(destination)?)
        }
        _ => return None,
    };
    Some(Some(NamedClient {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
        said: Fronted::default(),
    }))
}

fn address<A: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<A>().ok().map(Into::into)
}

/// A decimal number without a sign and without a zero in front.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zero = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| is_plain && !has_zero)
}
