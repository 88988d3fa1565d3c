//! Version 2: a signature, what it is, how long the rest is, two addresses, and extensions.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::extensions;
use super::first_bytes::{
    Header, HeaderRead, LONGEST, MALFORMED, NO_HEADER, NamedClient, TOO_LONG, begins,
};
use crate::net::fronted::Fronted;

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
pub(super) const HEAD: usize = 16;

/// Version 2, and that the sender speaks for itself.
pub(super) const LOCAL: u8 = 0x20;
/// Version 2, and that it speaks for another.
pub(super) const PROXY: u8 = 0x21;

pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;
/// Two paths.
const UNIX_ADDRESSES: usize = 216;

pub(super) fn read(bytes: &[u8]) -> HeaderRead {
    if !begins(bytes, SIGNATURE) {
        return HeaderRead::Malformed(NO_HEADER);
    }
    let rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let is_local = match rest.first() {
        None => return HeaderRead::Incomplete,
        Some(&LOCAL) => true,
        Some(&PROXY) => false,
        Some(_) => return HeaderRead::Malformed(MALFORMED),
    };
    // Who speaks for itself has no family.
    let is_known = |family: u8| family >> 4 <= 3 && family & 0xf <= 2;
    let family = match rest.get(1) {
        None => return HeaderRead::Incomplete,
        Some(family) if !is_local && !is_known(*family) => {
            return HeaderRead::Malformed(MALFORMED);
        }
        Some(family) => *family,
    };
    let &[_, _, high, low, ..] = rest else { return HeaderRead::Incomplete };
    let length = HEAD + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return HeaderRead::Malformed(TOO_LONG);
    }
    let Some(whole) = bytes.get(..length) else { return HeaderRead::Incomplete };
    if is_local {
        return HeaderRead::Whole(Header { length, named: None });
    }
    match named(whole, family) {
        Ok(named) => HeaderRead::Whole(Header { length, named }),
        Err(why) => HeaderRead::Malformed(why),
    }
}

/// None for families that are no addresses of ours; the sender's own count then.
fn named(whole: &[u8], family: u8) -> Result<Option<NamedClient>, &'static str> {
    let rest = whole.get(HEAD..).unwrap_or_default();
    let (addresses, after) = match family {
        TCP4 => inet4(rest).map(|(ends, after)| (Some(ends), after)).ok_or(MALFORMED)?,
        TCP6 => inet6(rest).map(|(ends, after)| (Some(ends), after)).ok_or(MALFORMED)?,
        UNIX => (None, rest.get(UNIX_ADDRESSES..).ok_or(MALFORMED)?),
        // What a sender says of what it does not know is not looked at.
        _ => return Ok(None),
    };
    let mut said = Fronted::default();
    extensions::read(whole, after, &mut said)?;
    Ok(addresses.map(|(source, destination)| NamedClient { source, destination, said }))
}

/// Source and destination, and what is behind them.
type Ends<'a> = ((SocketAddr, SocketAddr), &'a [u8]);

fn inet4(rest: &[u8]) -> Option<Ends<'_>> {
    let (source, rest) = rest.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (ports, rest) = ports(rest)?;
    let (source, destination) = (Ipv4Addr::from(*source), Ipv4Addr::from(*destination));
    Some((((source, ports.0).into(), (destination, ports.1).into()), rest))
}

fn inet6(rest: &[u8]) -> Option<Ends<'_>> {
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (ports, rest) = ports(rest)?;
    let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
    Some((((source, ports.0).into(), (destination, ports.1).into()), rest))
}

fn ports(rest: &[u8]) -> Option<((u16, u16), &[u8])> {
    let (source, rest) = rest.split_first_chunk::<2>()?;
    let (destination, rest) = rest.split_first_chunk::<2>()?;
    Some(((u16::from_be_bytes(*source), u16::from_be_bytes(*destination)), rest))
}
