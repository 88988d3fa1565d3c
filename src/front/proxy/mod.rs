//! The PROXY header, versions 1 and 2, of HAProxy's proxy-protocol.txt: with it a server that
//! takes connections for others says who has connected to it, before the data.
//!
//! | file | what it does |
//! |---|---|
//! | `checksum` | CRC32c |
//! | `extensions` | what may follow the addresses of version 2 |
//! | `first_bytes` | what the first bytes of a connection may be |
//! | `text` | version 1 |
//! | `binary` | version 2 |
//! | `write` | headers of our own |
//!
//! Strict: what is not exactly a header is none, and that is known with the first byte that
//! cannot be part of one. Nothing is said of the bytes behind it.

mod binary;
mod checksum;
mod extensions;
mod first_bytes;
mod text;
mod write;

pub use first_bytes::{Header, HeaderRead, LONGEST, NamedClient};
pub(crate) use write::{SendVersion, header};

/// Reads the header at the beginning of these bytes.
pub fn read(bytes: &[u8]) -> HeaderRead {
    match bytes.first() {
        None => HeaderRead::Incomplete,
        Some(b'P') => text::read(bytes),
        Some(_) => binary::read(bytes),
    }
}

/// Whether these bytes begin as a header does.
#[cfg(feature = "tls")]
#[cfg(feature = "tls")]
pub(crate) fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(text::SIGNATURE) || bytes.starts_with(binary::SIGNATURE)
}

#[cfg(test)]
mod tests;
