use std::net::SocketAddr;

use super::first_bytes::{CHECKSUM, MALFORMED};
use super::*;
use crate::net::fronted::{Fact, Fronted};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 of this command and family, with these bytes behind its head.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

const ENDS: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

fn named(bytes: &[u8]) -> Option<NamedClient> {
    match read(bytes) {
        HeaderRead::Whole(header) => {
            assert_eq!(header.length, bytes.len());
            header.named
        }
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(bytes)),
    }
}

fn ends(bytes: &[u8]) -> Option<(String, String)> {
    named(bytes).map(|it| (it.source.to_string(), it.destination.to_string()))
}

fn both(source: &str, destination: &str) -> Option<(String, String)> {
    Some((source.to_owned(), destination.to_owned()))
}

#[test]
fn lines_name_a_client_or_nobody() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
    assert_eq!(ends(line), both("192.0.2.1:56324", "198.51.100.2:443"));
    let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
    assert_eq!(ends(line), both("[2001:db8::1]:1", "[2001:db8::2]:65535"));
    let longest = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), 107);
    for line in [b"PROXY UNKNOWN\r\n".as_slice(), longest, b"PROXY UNKNOWN what ever\r\n"] {
        assert_eq!(named(line), None);
    }
}

#[test]
fn what_is_not_exactly_such_a_line_is_none() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 0443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 +443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 ::1 ::1 56324 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY TCP6 fe80::1%2 ::1 56324 443\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN \u{e4}\r\n\u{e4}",
        "PROXY \r\n",
        "PROXY\r\n",
        "proxy UNKNOWN\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        // A CR that is the last may still be followed by LF.
        let line = format!("{line} ");
        let is_header = matches!(read(line.as_bytes()), HeaderRead::Whole(_));
        let is_unknown = line.starts_with("PROXY UNKNOWN \u{e4}");
        assert_eq!(is_header, is_unknown, "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(read(&long.as_bytes()[..106]), HeaderRead::Incomplete);
    assert!(matches!(read(long.as_bytes()), HeaderRead::Malformed(_)), "107 bytes without an end");
}

#[test]
fn binary_headers_name_a_client_or_nobody() {
    assert_eq!(ends(&binary(0x21, 0x11, ENDS)), both("192.0.2.1:56324", "198.51.100.2:443"));
    let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1, 0, 7, 0, 8]].concat();
    assert_eq!(ends(&binary(0x21, 0x21, &v6)), both("[2001:db8::1]:7", "[::1]:8"));
    for nobody in [
        binary(0x20, 0, b""),
        // Whatever stands there.
        binary(0x20, 0xff, b"\0"),
        binary(0x20, 0x11, ENDS),
        binary(0x21, 0, b""),
        binary(0x21, 0, b"what ever"),
        binary(0x21, 0x12, ENDS),
        binary(0x21, 0x31, &[b'/'; 216]),
    ] {
        assert_eq!(named(&nobody), None);
    }
}

#[test]
fn what_is_no_binary_header_is_known_early() {
    for (bytes, decided) in [
        (binary(0x11, 0x11, ENDS), 13),
        (binary(0x22, 0x11, ENDS), 13),
        (binary(0x21, 0x41, ENDS), 14),
        (binary(0x21, 0x13, ENDS), 14),
        (binary(0x21, 0x11, &ENDS[..11]), 27),
        (binary(0x21, 0x31, &[b'/'; 215]), 16 + 215),
        (binary(0x21, 0x11, &[0; LONGEST - 15]), 16),
        (b"\r\n\r\n\r\n".to_vec(), 5),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), 1),
    ] {
        assert_eq!(read(&bytes[..decided - 1]), HeaderRead::Incomplete, "{bytes:?}");
        assert!(matches!(read(&bytes[..decided]), HeaderRead::Malformed(_)), "{bytes:?}");
    }
    let longest = [ENDS, &extension(4, &vec![0; LONGEST - 16 - 12 - 3])].concat();
    assert!(named(&binary(0x21, 0x11, &longest)).is_some());
}

#[test]
fn extensions_have_to_be_whole() {
    for wrong in
        [vec![4], vec![4, 0], vec![4, 0, 1], vec![0x20, 0, 0], extension(0x20, &[1, 0, 0, 0])]
    {
        let bytes = binary(0x21, 0x11, &[ENDS, &wrong].concat());
        assert!(matches!(read(&bytes), HeaderRead::Malformed(_)), "{wrong:?}");
    }
    let inner = [&[1, 0, 0, 0, 0][..], &[0x21, 0, 9, b'T']].concat();
    let bytes = binary(0x21, 0x11, &[ENDS, &extension(0x20, &inner)].concat());
    assert!(matches!(read(&bytes), HeaderRead::Malformed(_)));
    let unknown = [extension(4, b""), extension(0xe0, b"x"), extension(5, b"id")].concat();
    assert!(named(&binary(0x21, 0x11, &[ENDS, &unknown].concat())).is_some());
}

#[test]
fn a_checksum_is_looked_at() {
    let with = |sum: u32| {
        let list = [extension(4, b"pad"), extension(3, &sum.to_be_bytes()), extension(4, b"more")];
        binary(0x21, 0x11, &[ENDS, &list.concat()].concat())
    };
    let sum = checksum::crc32c(&[&with(0)]);
    assert!(named(&with(sum)).is_some());
    assert_eq!(read(&with(sum ^ 1)), HeaderRead::Malformed(CHECKSUM));
    let short = binary(0x21, 0x11, &[ENDS, &extension(3, b"abc")].concat());
    assert_eq!(read(&short), HeaderRead::Malformed(MALFORMED));
}

fn tls(client: u8, verify: u8) -> Fronted {
    let inner = [
        &[client, 0, 0, 0, verify][..],
        &extension(0x21, b"TLSv1.3"),
        &extension(0x22, b"Jane Doe"),
        &extension(0x23, b"TLS_AES_128_GCM_SHA256"),
        &extension(0x24, b"unknown to us"),
    ];
    let list = [extension(1, b"h2"), extension(2, b"a.example"), extension(0x20, &inner.concat())];
    named(&binary(0x21, 0x11, &[ENDS, &list.concat()].concat())).unwrap().said
}

#[test]
fn what_is_said_of_tls_becomes_facts() {
    let said = tls(7, 0);
    for (fact, value) in [
        (Fact::Protocol, "TLSv1.3"),
        (Fact::Cipher, "TLS_AES_128_GCM_SHA256"),
        (Fact::ServerName, "a.example"),
        (Fact::Alpn, "h2"),
        (Fact::ClientName, "Jane Doe"),
        (Fact::ClientVerify, "SUCCESS"),
    ] {
        assert_eq!(said.fact(fact), Some(value));
    }
    assert_eq!(tls(3, 1).fact(Fact::ClientVerify), Some("FAILED"));
    // Nobody has shown a certificate.
    assert_eq!(tls(1, 1).fact(Fact::ClientVerify), Some("NONE"));
    assert_eq!(tls(1, 0).fact(Fact::ClientName), None);
    assert!(!tls(0, 0).is_encrypted());
}

#[test]
fn what_is_written_is_read() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (source, destination) in
        [("192.0.2.1:1", "198.51.100.2:65535"), ("[2001:db8::1]:7", "[::1]:8")]
    {
        let pair = Some((address(source), address(destination)));
        for version in [SendVersion::V1, SendVersion::V2] {
            assert_eq!(ends(&header(version, pair, None)), both(source, destination));
        }
        let said = tls(7, 0);
        let read = named(&header(SendVersion::V2, pair, Some(&said))).unwrap();
        assert_eq!(read.said.facts.len(), said.facts.len());
        for (fact, value) in &said.facts {
            assert_eq!(read.said.fact(*fact), Some(value.as_str()));
        }
    }
    let mixed = Some((address("192.0.2.1:1"), address("[::1]:8")));
    for version in [SendVersion::V1, SendVersion::V2] {
        assert_eq!(named(&header(version, None, None)), None);
        assert_eq!(named(&header(version, mixed, None)), None);
    }
}

/// A header of either version, as it should be.
fn right() -> impl Strategy<Value = Vec<u8>> {
    let address = || any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from);
    (address(), address(), any::<bool>()).prop_map(|(source, destination, old)| {
        let version = if old { SendVersion::V1 } else { SendVersion::V2 };
        header(version, Some((source, destination)), None)
    })
}

proptest! {
    #[test]
    fn a_header_is_whole_with_its_last_byte_and_says_nothing_of_what_follows(
        header in right(),
        more in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        for end in 0..header.len() {
            prop_assert_eq!(read(&header[..end]), HeaderRead::Incomplete);
        }
        let whole = read(&header);
        prop_assert!(matches!(&whole, HeaderRead::Whole(it) if it.length == header.len()));
        prop_assert_eq!(read(&[header, more].concat()), whole);
    }

    #[test]
    fn no_bytes_are_read_in_vain(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for begin in [b"".as_slice(), b"PROXY ", SIGNATURE, &binary(0x21, 0x11, b"")[..14]] {
            if let HeaderRead::Whole(header) = read(&[begin, &bytes].concat()) {
                prop_assert!(header.length <= begin.len() + bytes.len());
            }
        }
    }
}
