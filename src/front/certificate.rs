//! What a certificate says (RFC 5280), as far as somebody is told it: until when it is good,
//! and names as text (RFC 4514). It believes nothing; whether a certificate is right is for
//! others to find out.

use std::net::IpAddr;

/// The beginning of DER (X.690): a tag, what it holds, and what comes after that.
pub(super) fn take(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            let add = |length: usize, digit: &u8| (length << 8) | usize::from(*digit);
            (digits.iter().fold(0, add), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

/// The same of one tag.
pub(super) fn take_tag(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    take(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, value, rest)| (value, rest))
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const TIME: u8 = 0x18;
pub(super) const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `basicConstraints`.
const CONSTRAINTS: &[u8] = b"\x55\x1d\x13";
/// `subjectAltName`, and the two kinds of names in it that hosts have.
const HOSTS: &[u8] = b"\x55\x1d\x11";
const HOST_NAME: u8 = 0x82;
const HOST_ADDRESS: u8 = 0x87;

/// What a certificate says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claims<'a> {
    /// Whether it is one of version 1, which can say nothing of what it is for.
    pub is_old: bool,
    /// Whether it says that others may be made by it.
    pub is_authority: bool,
    /// The name of who has made it.
    pub issuer: &'a [u8],
    /// Its own.
    pub subject: &'a [u8],
    /// From when it is good, and until when, in seconds since 1970.
    pub good: (Option<i64>, Option<i64>),
    /// Where it names hosts, as clients look for them.
    host_list: Option<&'a [u8]>,
}

impl Claims<'_> {
    /// Whether it names hosts.
    #[must_use]
    pub(crate) fn names_hosts(&self) -> bool {
        self.host_list.is_some()
    }

    /// The hosts that it names, as text.
    #[must_use]
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.host_list.and_then(hosts_in).unwrap_or_default()
    }
}

/// What a certificate says; none if it is not one.
#[must_use]
pub(crate) fn claims(certificate: &[u8]) -> Option<Claims<'_>> {
    let (certificate, _) = take_tag(certificate, SEQUENCE)?;
    let (mut fields, _) = take_tag(certificate, SEQUENCE)?;
    let version = take_tag(fields, VERSION);
    if let Some((_, rest)) = version {
        fields = rest;
    }
    // The number, and the algorithm.
    for _ in 0..2 {
        (_, _, fields) = take(fields)?;
    }
    let (issuer, fields) = take_tag(fields, SEQUENCE)?;
    let (validity, fields) = take_tag(fields, SEQUENCE)?;
    let (subject, fields) = take_tag(fields, SEQUENCE)?;
    let (tag, begins, rest) = take(validity)?;
    let ends = take(rest)?;
    let good = (seconds(tag, begins), seconds(ends.0, ends.1));
    let said = |kind| extensions(fields).and_then(|list| extension(list, kind));
    let is_authority = said(CONSTRAINTS).and_then(is_authority).unwrap_or(false);
    let host_list = said(HOSTS);
    Some(Claims { is_old: version.is_none(), is_authority, issuer, subject, good, host_list })
}

/// The list of extensions, behind the key and two things that nobody uses.
fn extensions(mut fields: &[u8]) -> Option<&[u8]> {
    loop {
        let (tag, value, rest) = take(fields)?;
        if tag == EXTENSIONS {
            return Some(take_tag(value, SEQUENCE)?.0);
        }
        fields = rest;
    }
}

/// What an extension says, behind its kind.
fn extension<'a>(mut list: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    while let Some((extension, rest)) = take_tag(list, SEQUENCE) {
        if let Some((_, said)) = take_tag(extension, OBJECT).filter(|(kind, _)| *kind == wanted) {
            return Some(said);
        }
        list = rest;
    }
    None
}

/// The sequence that an extension is.
fn sequence_in(said: &[u8]) -> Option<&[u8]> {
    // It may be said before that whoever does not know it is to believe nothing.
    let said = take_tag(said, BOOLEAN).map_or(said, |(_, rest)| rest);
    Some(take_tag(take_tag(said, OCTETS)?.0, SEQUENCE)?.0)
}

/// What the constraints say first, where it is not what holds without a word.
fn is_authority(said: &[u8]) -> Option<bool> {
    let (value, _) = take_tag(sequence_in(said)?, BOOLEAN)?;
    Some(value.iter().any(|byte| *byte != 0))
}

/// The hosts in such an extension.
fn hosts_in(said: &[u8]) -> Option<Vec<String>> {
    let mut list = sequence_in(said)?;
    let mut hosts = Vec::new();
    while let Some((kind, value, rest)) = take(list) {
        hosts.extend(host(kind, value));
        list = rest;
    }
    Some(hosts)
}

fn host(kind: u8, value: &[u8]) -> Option<String> {
    match kind {
        HOST_NAME => String::from_utf8(value.to_vec()).ok(),
        HOST_ADDRESS => {
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
                .ok()
                .map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint` has it.
#[cfg(feature = "tls")]
#[must_use]
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let bytes = digest.as_ref().iter().map(|byte| format!("{byte:02X}"));
    bytes.collect::<Vec<_>>().join(":")
}

/// Without TLS there is no certificate.
#[cfg(not(feature = "tls"))]
#[must_use]
pub(crate) fn fingerprint(_: &[u8]) -> String {
    String::new()
}

/// When a certificate ends, in seconds since 1970.
#[must_use]
pub fn not_after(certificate: &[u8]) -> Option<i64> {
    claims(certificate)?.good.1
}

/// `YYMMDDhhmmssZ`, or with four digits of the year.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let number = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (number(0)?, number(2)?);
    let (hour, minute, second) = (number(4)?, number(6)?, number(8)?);
    let is_right = (1..=12).contains(&month) && (1..=31).contains(&day) && rest.len() == 10;
    is_right.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 of a day of the Gregorian calendar, with years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// The parts of names that have short names themselves.
const KINDS: [(&[u8], &str); 9] = [
    (b"\x55\x04\x03", "CN"),
    (b"\x55\x04\x07", "L"),
    (b"\x55\x04\x08", "ST"),
    (b"\x55\x04\x0a", "O"),
    (b"\x55\x04\x0b", "OU"),
    (b"\x55\x04\x06", "C"),
    (b"\x55\x04\x09", "STREET"),
    (b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", "DC"),
    (b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", "UID"),
];

/// A name as text, the last part first, as RFC 4514 has it; none if it has parts that cannot be
/// told so.
#[must_use]
pub fn distinguished_name(name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    // With the sequence around it, or without.
    let mut rest = match take_tag(name, SEQUENCE) {
        Some((inner, [])) if !inner.is_empty() => inner,
        _ => name,
    };
    while !rest.is_empty() {
        let (mut set, after) = take_tag(rest, SET)?;
        let mut several = Vec::new();
        while !set.is_empty() {
            let (pair, others) = take_tag(set, SEQUENCE)?;
            let (kind, value) = take_tag(pair, OBJECT)?;
            let (_, value, _) = take(value)?;
            let kind = KINDS.iter().find(|(number, _)| *number == kind)?.1;
            several.push(format!("{kind}={}", escaped(std::str::from_utf8(value).ok()?)));
            set = others;
        }
        parts.push(several.join("+"));
        rest = after;
    }
    parts.reverse();
    Some(parts.join(","))
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::new();
    for (at, letter) in value.chars().enumerate() {
        let is_edge = (at == 0 && matches!(letter, ' ' | '#')) || (at == last && letter == ' ');
        if is_edge || matches!(letter, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let value = parts.concat();
        let length = u8::try_from(value.len()).unwrap();
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, value].concat()
    }

    fn part(kind: &[u8], value: &str) -> Vec<u8> {
        let pair = der(SEQUENCE, &[der(OBJECT, &[kind.to_vec()]), der(0x0c, &[value.into()])]);
        der(SET, &[pair])
    }

    #[test]
    fn names_are_told_backwards_and_escaped() {
        let parts = [
            part(b"\x55\x04\x06", "DE"),
            part(b"\x55\x04\x0a", "A, B"),
            part(b"\x55\x04\x03", " x "),
        ];
        let wanted = "CN=\\ x\\ ,O=A\\, B,C=DE";
        assert_eq!(distinguished_name(&parts.concat()).as_deref(), Some(wanted));
        assert_eq!(distinguished_name(&der(SEQUENCE, &parts)).as_deref(), Some(wanted));
        assert_eq!(distinguished_name(&part(b"\x55\x04\x70", "?")), None);
        assert_eq!(distinguished_name(b"\x31\x85\xff\xff\xff\xff\xff"), None);
        assert_eq!(distinguished_name(b"").as_deref(), Some(""));
    }

    #[test]
    fn hosts_are_names_and_addresses() {
        let kinds: [(u8, &[u8]); 6] = [
            (HOST_NAME, b"*.example.org"),
            (HOST_ADDRESS, &[127, 0, 0, 1]),
            (HOST_ADDRESS, &[0; 16]),
            (HOST_ADDRESS, &[1, 2, 3]),
            (HOST_NAME, b"\xff"),
            (0x86, b"http://example.org"),
        ];
        let names: Vec<Vec<u8>> = kinds.map(|(kind, name)| der(kind, &[name.to_vec()])).to_vec();
        let list = der(OCTETS, &[der(SEQUENCE, &names)]);
        let wanted = ["*.example.org", "127.0.0.1", "::"].map(str::to_owned).to_vec();
        assert_eq!(hosts_in(&list), Some(wanted.clone()));
        assert_eq!(hosts_in(&[der(BOOLEAN, &[vec![0xff]]), list].concat()), Some(wanted));
        assert_eq!(hosts_in(b"\x04\x02\x30\x05"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_list_of_hosts_is_too_strange(bytes: Vec<u8>) {
            let _ = hosts_in(&bytes);
            let _ = hosts_in(&[&[OCTETS, 120, SEQUENCE, 118], &bytes[..]].concat());
        }
    }

    #[test]
    fn times_are_read() {
        for (tag, text, wanted) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "261129212000Z", Some(1_795_987_200)),
            (TIME, "20500101000000Z", Some(2_524_608_000)),
            (TIME, "20000229235959Z", Some(951_868_799)),
            (UTC_TIME, "261329212000Z", None),
            (UTC_TIME, "26112921200Z", None),
            (TIME, "2612Z", None),
            (0x02, "261129212000Z", None),
        ] {
            assert_eq!(seconds(tag, text.as_bytes()), wanted, "{text}");
        }
    }
}
