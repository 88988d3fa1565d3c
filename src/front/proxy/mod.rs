//! The PROXY header, versions 1 and 2, of HAProxy's proxy-protocol.txt: with it a server that
//! takes connections for others says who has connected to it, before the data.
//!
//! | file | what it does |
//! |---|---|
//! | `checksum` | CRC32c |
//! | `extensions` | what may follow the addresses of version 2 |
//! | `text` | version 1 |
//! | `binary` | version 2 |
//! | `write` | headers of our own |
//!
//! Strict: what is not exactly a header is none, and that is known with the first byte that
//! cannot be part of one. Nothing is said of the bytes behind it.

mod binary;
mod checksum;
mod extensions;
mod text;
mod write;

use std::net::SocketAddr;

use crate::net::fronted::Fronted;

pub(crate) use write::{SendVersion, header};

/// The longest header that is taken, of whichever version.
pub const LONGEST: usize = 2048;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderRead {
    /// The beginning of a header, or nothing yet.
    Incomplete,
    /// A header.
    Whole(Header),
    /// No header, whatever follows: one of the words below.
    Malformed(&'static str),
}

/// It does not begin as one.
pub(crate) const NO_HEADER: &str = "no_header";
/// It begins as one, and cannot be one.
pub(crate) const MALFORMED: &str = "malformed";
/// It is longer than [`LONGEST`], or than a line may be.
pub(crate) const TOO_LONG: &str = "too_long";
/// Its checksum is that of another one.
pub(crate) const CHECKSUM: &str = "checksum";

/// A whole header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it has.
    pub length: usize,
    /// Whom it speaks for; None if the sender speaks for itself, or does not know.
    pub named: Option<NamedClient>,
}

/// A client, as a header names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedClient {
    /// Where it has connected from.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// What else is said of it; `via` and `local` are for the reader to fill in.
    pub said: Fronted,
}

/// Reads the header at the beginning of these bytes.
#[must_use]
pub fn read(bytes: &[u8]) -> HeaderRead {
    match bytes.first() {
        None => HeaderRead::Incomplete,
        Some(b'P') => text::read(bytes),
        Some(_) => binary::read(bytes),
    }
}

/// Whether these bytes begin as a header does.
#[cfg(feature = "tls")]
#[must_use]
#[cfg(feature = "tls")]
pub(crate) fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(text::SIGNATURE) || bytes.starts_with(binary::SIGNATURE)
}

/// How far the bytes are the beginning of `signature`, as far as there are any.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

#[cfg(test)]
mod tests;
