//! What the first bytes of a connection may be, and what a header among them says.

use std::net::SocketAddr;

use crate::net::fronted::Fronted;

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

/// How far the bytes are the beginning of `signature`, as far as there are any.
pub(super) fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}
