//! What may follow the addresses of version 2: a list of type, length and value, of which some
//! are lists themselves. Those that nobody here knows are passed over.

use super::checksum::crc32c;
use super::first_bytes::{self, MALFORMED};
use crate::net::fronted::{Fact, Fronted, VERIFIED};

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
const CHECKSUM: u8 = 0x03;
pub(super) const SSL: u8 = 0x20;
pub(super) const SSL_VERSION: u8 = 0x21;
pub(super) const SSL_NAME: u8 = 0x22;
pub(super) const SSL_CIPHER: u8 = 0x23;

/// The client speaks TLS.
pub(super) const IS_SSL: u8 = 0x01;
/// It has shown a certificate, in this connection or in one before it.
pub(super) const HAS_CERTIFICATE: u8 = 0x02 | 0x04;

/// Reads all of them; `whole` is the header, at whose end they stand.
pub(super) fn read(whole: &[u8], list: &[u8], said: &mut Fronted) -> Result<(), &'static str> {
    let (mut alpn, mut authority, mut ssl) = (None, None, None);
    let mut rest = list;
    while let Some((kind, value, after)) = next(rest)? {
        match kind {
            ALPN => alpn = alpn.or(Some(value)),
            AUTHORITY => authority = authority.or(Some(value)),
            SSL => ssl = ssl.or(Some(value)),
            CHECKSUM => check(whole, value, after)?,
            _ => {}
        }
        rest = after;
    }
    if let Some(ssl) = ssl
        && read_ssl(ssl, said)?
    {
        said.add(Fact::ServerName, authority.unwrap_or_default());
        said.add(Fact::Alpn, alpn.unwrap_or_default());
    }
    Ok(())
}

/// Its type, its value, and what is behind it.
type Extension<'a> = (u8, &'a [u8], &'a [u8]);

/// The next of a list, and what is behind it; None at the end.
fn next(list: &[u8]) -> Result<Option<Extension<'_>>, &'static str> {
    match *list {
        [] => Ok(None),
        [kind, high, low, ref rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let (value, after) = rest.split_at_checked(length).ok_or(MALFORMED)?;
            Ok(Some((kind, value, after)))
        }
        _ => Err(MALFORMED),
    }
}

/// The sum is that of the header with nothing but zeros in its place.
fn check(whole: &[u8], value: &[u8], after: &[u8]) -> Result<(), &'static str> {
    let said = <[u8; 4]>::try_from(value).map_err(|_| MALFORMED)?;
    let end = whole.len().saturating_sub(after.len());
    let before = whole.get(..end.saturating_sub(said.len())).unwrap_or_default();
    if crc32c(&[before, &[0; 4], after]) == u32::from_be_bytes(said) {
        Ok(())
    } else {
        Err(first_bytes::CHECKSUM)
    }
}

/// Whether the client speaks TLS at all.
fn read_ssl(value: &[u8], said: &mut Fronted) -> Result<bool, &'static str> {
    let &[client, v0, v1, v2, v3, ref list @ ..] = value else { return Err(MALFORMED) };
    if client & IS_SSL == 0 {
        return Ok(false);
    }
    let has_certificate = client & HAS_CERTIFICATE != 0;
    let mut rest = list;
    while let Some((kind, value, after)) = next(rest)? {
        match kind {
            SSL_VERSION => said.add(Fact::Protocol, value),
            SSL_CIPHER => said.add(Fact::Cipher, value),
            SSL_NAME if has_certificate => said.add(Fact::ClientName, value),
            _ => {}
        }
        rest = after;
    }
    let verify: &[u8] = match [v0, v1, v2, v3] {
        _ if !has_certificate => b"NONE",
        [0, 0, 0, 0] => VERIFIED.as_bytes(),
        _ => b"FAILED",
    };
    said.add(Fact::ClientVerify, verify);
    Ok(true)
}
