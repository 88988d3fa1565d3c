//! The access list against a model that looks at every rule.

use super::*;
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

fn list(items: &str) -> Vec<Prefix> {
    items.split_whitespace().flat_map(|item| parse_item(item).unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn shown(item: &str) -> String {
    list(item).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn items_are_read() {
    for (item, expected) in [
        ("127.0.0.1", "127.0.0.1"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.0.0.0", "10.0.0.0/8"),
        ("10.1.0.0", "10.1.0.0/16"),
        ("10.0.1.0", "10.0.1.0/24"),
        ("10.0.1.0/32", "10.0.1.0/32"),
        ("0.0.0.0", "0.0.0.0/0"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::1", "::1"),
        ("::/0", "::/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3/112", "10.1.0.0/16"),
        ("10.1.{2,3}", "10.1.2.0/24 10.1.3.0/24"),
        ("10.1.2.{0,3}", "10.1.2.0/32 10.1.2.3"),
        ("{10,11}", "10.0.0.0/8 11.0.0.0/8"),
    ] {
        assert_eq!(shown(item), expected, "{item}");
    }
}

#[test]
fn mistakes_are_named() {
    let host = "is not an address: host names are not looked up here";
    for (item, message) in [
        ("localhost", format!("`localhost` {host}")),
        (".example.org", format!("`.example.org` {host}")),
        ("example.org/8", format!("`example.org` {host}")),
        ("", "`` is not an IPv4 or IPv6 address".to_owned()),
        ("10.0.0", "`10.0.0` is not an IPv4 or IPv6 address".to_owned()),
        ("10.0.0.256", "`10.0.0.256` is not an IPv4 or IPv6 address".to_owned()),
        ("fe80::1%eth0", "`fe80::1%eth0` is not an IPv4 or IPv6 address".to_owned()),
        ("[::1]", "`[::1]` is not an address: IPv6 is written without brackets here".to_owned()),
        ("10.0.0.0/33", "`/33` is not a prefix length from /0 to /32".to_owned()),
        ("10.0.0.0/+8", "`/+8` is not a prefix length from /0 to /32".to_owned()),
        ("::/129", "`/129` is not a prefix length from /0 to /128".to_owned()),
        ("::/", "`/` is not a prefix length from /0 to /128".to_owned()),
        ("10.{1,2", "`10.{1,2` is not of the form `10.1.{2,3}`".to_owned()),
        ("10.{1,}", "`10.{1,}` is not of the form `10.1.{2,3}`".to_owned()),
        ("10.{1}/8", "`10.{1}/8` is not of the form `10.1.{2,3}`".to_owned()),
        ("10{1}", "`10{1}` is not of the form `10.1.{2,3}`".to_owned()),
        ("1.2.3.4.{5}", "`1.2.3.4.{5}` is not of the form `10.1.{2,3}`".to_owned()),
    ] {
        assert_eq!(parse_item(item).unwrap_err(), message);
    }
}

#[test]
fn absent_is_everybody_and_empty_is_nobody() {
    for address in ["10.0.0.1", "::1", "255.255.255.255", "0.0.0.0"].map(ip) {
        assert!(AccessList::new(None, &[]).allows(address));
        assert!(!AccessList::new(Some(&[]), &[]).allows(address));
    }
}

#[test]
fn the_most_specific_wins_and_a_tie_refuses() {
    let only_from = list("10.0.0.0/8 10.1.2.3 ::1 255.255.255.255");
    let no_access = list("10.1.0.0/16 10.9.9.9 ::1");
    let access = AccessList::new(Some(&only_from), &no_access);
    for (address, allowed) in [
        ("10.0.0.1", true),
        ("10.1.0.1", false),
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("10.1.2.4", false),
        ("10.2.0.0", true),
        ("10.9.9.9", false),
        ("11.0.0.0", false),
        ("::1", false),
        ("255.255.255.255", true),
    ] {
        assert_eq!(access.allows(ip(address)), allowed, "{address}");
    }
}

#[test]
fn families_are_apart() {
    let v6_only = AccessList::new(Some(&list("::/0")), &[]);
    assert!(v6_only.allows(ip("2001:db8::1")));
    assert!(!v6_only.allows(ip("10.0.0.1")));
    assert!(!v6_only.allows(ip("::ffff:10.0.0.1")));
}

#[test]
fn a_hundred_thousand_rules_are_quick() {
    let v4 = (0..50_000_u32).map(|n| Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761)).into());
    let v6 = (0..50_000_u128).map(|n| Ipv6Addr::from_bits(n << 70 | n << 3).into());
    let rules: Vec<_> = v4
        .chain(v6)
        .zip((20..=32).cycle())
        .map(|(address, length)| Prefix::new(address, length).unwrap())
        .collect();
    let (only_from, no_access) = rules.split_at(60_000);
    let begun = Instant::now();
    let access = AccessList::new(Some(only_from), no_access);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let allowed = (0..1_000_000_u32)
        .filter(|n| access.allows(Ipv4Addr::from_bits(n.wrapping_mul(40_503_001)).into()))
        .count();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(allowed > 0);
}

/// Prefixes close to each other, so that they nest and collide.
fn prefix() -> impl Strategy<Value = Prefix> {
    prop_oneof![
        (0u32..64, 24u8..=32).prop_map(|(bits, length)| {
            Prefix::new(Ipv4Addr::from_bits(bits).into(), length).unwrap()
        }),
        (0u32..64, 0u8..=32).prop_map(|(bits, length)| {
            Prefix::new(Ipv4Addr::from_bits(u32::MAX - bits).into(), length).unwrap()
        }),
        (0u128..64, 0u8..=128).prop_map(|(bits, length)| {
            Prefix::new(Ipv6Addr::from_bits(bits).into(), length).unwrap()
        }),
    ]
}

/// What the rules say, rule by rule.
fn naive(only_from: Option<&[Prefix]>, no_access: &[Prefix], address: IpAddr) -> bool {
    let best = |rules: &[Prefix]| {
        let matching = rules.iter().filter(|prefix| prefix.contains(address));
        matching.map(|prefix| prefix.bits()).max()
    };
    match (only_from.map(best), best(no_access)) {
        (None, refused) => refused.is_none(),
        (Some(allowed), refused) => allowed > refused,
    }
}

proptest! {
    #[test]
    fn agrees_with_looking_at_every_rule(
        only_from in proptest::option::of(proptest::collection::vec(prefix(), 0..12)),
        no_access in proptest::collection::vec(prefix(), 0..12),
    ) {
        let access = AccessList::new(only_from.as_deref(), &no_access);
        let low = (0..70).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
        let high = (0..70).map(|bits| Ipv4Addr::from_bits(u32::MAX - bits).into());
        let v6 = (0..70).map(|bits| Ipv6Addr::from_bits(bits).into());
        let mapped = (0..70).map(|bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped().into());
        for address in low.chain(high).chain(v6).chain(mapped) {
            let expected = naive(only_from.as_deref(), &no_access, address);
            prop_assert_eq!(access.allows(address), expected, "{}", address);
        }
    }

    #[test]
    fn any_text_is_read_or_refused_and_prefixes_read_back(text in "[0-9a-f.:/{},]{0,24}") {
        for prefix in parse_item(&text).unwrap_or_default() {
            prop_assert_eq!(parse_item(&prefix.to_string()), Ok(vec![prefix]));
        }
    }

    #[test]
    fn any_address_is_in_its_prefixes(bits in any::<u128>(), length in 0u8..=128) {
        let address = IpAddr::from(Ipv6Addr::from_bits(bits));
        prop_assert_eq!(Prefix::new(address, length).map(|p| p.contains(address)), Some(true));
    }
}
