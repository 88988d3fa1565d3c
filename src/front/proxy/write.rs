//! Headers of our own, for servers to which connections are passed on.

use std::net::SocketAddr;

use super::binary::{PROXY, SIGNATURE, TCP4, TCP6};
use super::extensions::{
    ALPN, AUTHORITY, HAS_CERTIFICATE, IS_SSL, SSL, SSL_CIPHER, SSL_NAME, SSL_VERSION,
};
use crate::net::fronted::{Fact, Fronted, VERIFIED};

/// Which version is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendVersion {
    /// The line.
    V1,
    /// The binary one.
    V2,
}

/// The header that says from where and to where a client has connected; without both the
/// next server is told that it is not known. Version 2 also says what is known of TLS.
pub(crate) fn header(
    version: SendVersion,
    ends: Option<(SocketAddr, SocketAddr)>,
    said: Option<&Fronted>,
) -> Vec<u8> {
    let ends = ends.filter(|(source, destination)| source.is_ipv4() == destination.is_ipv4());
    match version {
        SendVersion::V1 => line(ends).into_bytes(),
        SendVersion::V2 => binary(ends, said),
    }
}

fn line(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((source, destination)) = ends else { return "PROXY UNKNOWN\r\n".to_owned() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}

fn binary(ends: Option<(SocketAddr, SocketAddr)>, said: Option<&Fronted>) -> Vec<u8> {
    let mut rest = Vec::new();
    let family = match ends {
        Some((SocketAddr::V4(source), SocketAddr::V4(destination))) => {
            rest.extend(source.ip().octets());
            rest.extend(destination.ip().octets());
            TCP4
        }
        Some((SocketAddr::V6(source), SocketAddr::V6(destination))) => {
            rest.extend(source.ip().octets());
            rest.extend(destination.ip().octets());
            TCP6
        }
        _ => 0,
    };
    if family != 0 {
        for end in ends.iter().flat_map(|(source, destination)| [source, destination]) {
            rest.extend(end.port().to_be_bytes());
        }
        extend(&mut rest, said);
    }
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, family]);
    // Far less: every value has a longest one.
    header.extend(u16::try_from(rest.len()).unwrap_or_default().to_be_bytes());
    header.extend(rest);
    header
}

fn extend(rest: &mut Vec<u8>, said: Option<&Fronted>) {
    let Some(said) = said.filter(|said| said.is_encrypted()) else { return };
    let verify = said.fact(Fact::ClientVerify).unwrap_or("NONE");
    let certificate = if verify == "NONE" { 0 } else { HAS_CERTIFICATE };
    let mut ssl = vec![IS_SSL | certificate];
    ssl.extend(u32::from(verify != VERIFIED).to_be_bytes());
    for (kind, fact) in
        [(SSL_VERSION, Fact::Protocol), (SSL_NAME, Fact::ClientName), (SSL_CIPHER, Fact::Cipher)]
    {
        push(&mut ssl, kind, said.fact(fact));
    }
    push(rest, ALPN, said.fact(Fact::Alpn));
    push(rest, AUTHORITY, said.fact(Fact::ServerName));
    push_bytes(rest, SSL, &ssl);
}

fn push(list: &mut Vec<u8>, kind: u8, value: Option<&str>) {
    if let Some(value) = value {
        push_bytes(list, kind, value.as_bytes());
    }
}

fn push_bytes(list: &mut Vec<u8>, kind: u8, value: &[u8]) {
    // Every value has a longest one.
    let length = u16::try_from(value.len()).unwrap_or_default();
    list.push(kind);
    list.extend(length.to_be_bytes());
    list.extend(value.iter().take(usize::from(length)));
}
