//! `only_from` and `no_access`: which addresses may connect. Never a DNS look-up.
//!
//! The most specific prefix that contains an address decides, and of two equal ones
//! the refusing one. Both lists are boiled down, once, to the sorted addresses at
//! which the answer changes, so a check is one binary search however many rules there
//! are. IPv4 and IPv6 are apart: `::/0` says nothing about IPv4, and an IPv4-mapped
//! IPv6 address (RFC 4291 section 2.5.5.2) is the IPv4 address that it stands for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All addresses that share their first bits (RFC 4632, RFC 4291 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The first address; the bits after the prefix are zero.
    first: IpAddr,
    /// How many bits: 0 to 32, or to 128.
    length: u8,
}

impl Prefix {
    /// The prefix of this length that contains the address; None if it is longer
    /// than the address. Inside `::ffff:0:0/96` it is a prefix of IPv4 addresses.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        match address {
            IpAddr::V4(address) if length <= 32 => {
                let first = address.to_bits() & !after_v4(length);
                Some(Self { first: Ipv4Addr::from_bits(first).into(), length })
            }
            IpAddr::V6(address) if length <= 128 => {
                if let (Some(mapped), Some(length)) =
                    (address.to_ipv4_mapped(), length.checked_sub(96))
                {
                    return Self::new(mapped.into(), length);
                }
                let first = address.to_bits() & !after_v6(length);
                Some(Self { first: Ipv6Addr::from_bits(first).into(), length })
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// Whether it contains an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && Self::new(address, self.length) == Some(*self)
    }
}

impl fmt::Display for Prefix {
    /// `10.0.0.0/8`; a single address alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.first.is_ipv4() { 32 } else { 128 };
        // Without its length, an IPv4 address that ends in zeros would be read as a network.
        let zeros =
            matches!(self.first, IpAddr::V4(address) if address.to_bits().trailing_zeros() >= 8);
        if self.length == whole && !zeros {
            self.first.fmt(f)
        } else {
            write!(f, "{}/{}", self.first, self.length)
        }
    }
}

/// The bits after a prefix of this length.
fn after_v4(length: u8) -> u32 {
    u32::MAX.checked_shr(length.into()).unwrap_or(0)
}

/// The bits after a prefix of this length.
fn after_v6(length: u8) -> u128 {
    u128::MAX.checked_shr(length.into()).unwrap_or(0)
}

/// Reads one item of `only_from` or `no_access`: an address, a prefix `10.0.0.0/8` or
/// `2001:db8::/32`, or xinetd's `10.1.{2,3}`. Of an IPv4 address without a length,
/// zeros at the end stand for anything, as in xinetd: `10.0.0.0` is `10.0.0.0/8`,
/// and `0.0.0.0` is everybody.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn parse_item(item: &str) -> Result<Vec<Prefix>, String> {
    if item.contains(['{', '}']) {
        return braces(item);
    }
    let Some((address, length)) = item.split_once('/') else {
        return Ok(vec![host(address(item)?)]);
    };
    let address = self::address(address)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    decimal(length)
        .and_then(|length| Prefix::new(address, length))
        .map(|prefix| vec![prefix])
        .ok_or_else(|| format!("`/{length}` is not a prefix length from /0 to /{most}"))
}

/// An address without a prefix length.
fn host(address: IpAddr) -> Prefix {
    let length = match address {
        IpAddr::V4(address) => address.to_bits().trailing_zeros() / 8 * 8,
        IpAddr::V6(_) => 0,
    };
    let whole: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = u8::try_from(length).map_or(whole, |zeros| whole.saturating_sub(zeros));
    Prefix::new(address, length).unwrap_or(Prefix { first: address, length: whole })
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        if text.starts_with('[') {
            format!("`{text}` is not an address: IPv6 is written without brackets here")
        } else if text.contains(':') || text.chars().all(digits) {
            format!("`{text}` is not an IPv4 or IPv6 address")
        } else {
            format!("`{text}` is not an address: host names are not looked up here")
        }
    })
}

/// A number of up to three digits without sign.
fn decimal(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain && text.len() <= 3)
}

/// `a.b.{c,d}`: the last of up to four numbers is a list, what follows is anything.
fn braces(item: &str) -> Result<Vec<Prefix>, String> {
    let wrong = || format!("`{item}` is not of the form `10.1.{{2,3}}`");
    let (head, list) = item.split_once('{').ok_or_else(wrong)?;
    let list = list.strip_suffix('}').ok_or_else(wrong)?;
    let mut octets = Vec::new();
    if !head.is_empty() {
        let head = head.strip_suffix('.').ok_or_else(wrong)?;
        octets = head.split('.').map(decimal).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    }
    let given = u8::try_from(octets.len() + 1).ok().filter(|n| *n <= 4).ok_or_else(wrong)?;
    let prefix = |last: &str| {
        let mut octets = octets.iter().copied().chain(decimal(last)).collect::<Vec<_>>();
        (octets.len() == usize::from(given)).then(|| octets.resize(4, 0))?;
        let octets = <[u8; 4]>::try_from(octets).ok()?;
        Prefix::new(IpAddr::from(octets), given * 8)
    };
    list.split(',').map(|last| prefix(last).ok_or_else(wrong)).collect()
}

/// Both lists together, ready for use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessList {
    /// What is said of addresses before the first turn.
    otherwise: bool,
    /// Where the answer turns into the other one, sorted.
    v4: Vec<u32>,
    v6: Vec<u128>,
}

impl AccessList {
    /// From the two lists. Without `only_from` everybody may connect who is not in
    /// `no_access`; with an empty one nobody.
    #[must_use]
    pub fn new(only_from: Option<&[Prefix]>, no_access: &[Prefix]) -> Self {
        let allowed = only_from.unwrap_or_default().iter().map(|prefix| (*prefix, true));
        let mut rules: Vec<_> =
            allowed.chain(no_access.iter().map(|prefix| (*prefix, false))).collect();
        // Outer before inner prefixes; of equal ones the refusing one first, which stays.
        rules.sort_unstable();
        rules.dedup_by_key(|(prefix, _)| *prefix);
        let otherwise = only_from.is_none();
        let v4 = rules.iter().filter_map(|(prefix, allow)| match prefix.first {
            IpAddr::V4(first) => {
                let first = first.to_bits();
                Some((first, first | after_v4(prefix.length), *allow))
            }
            IpAddr::V6(_) => None,
        });
        let v6 = rules.iter().filter_map(|(prefix, allow)| match prefix.first {
            IpAddr::V6(first) => {
                let first = first.to_bits();
                Some((first, first | after_v6(prefix.length), *allow))
            }
            IpAddr::V4(_) => None,
        });
        Self {
            otherwise,
            v4: turns(v4, otherwise, |last| last.checked_add(1)),
            v6: turns(v6, otherwise, |last| last.checked_add(1)),
        }
    }

    /// Whether an address may connect.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let turned = match address.to_canonical() {
            IpAddr::V4(address) => count_up_to(&self.v4, address.to_bits()),
            IpAddr::V6(address) => count_up_to(&self.v6, address.to_bits()),
        };
        self.otherwise ^ (turned % 2 == 1)
    }
}

fn count_up_to<T: Ord + Copy>(turns: &[T], address: T) -> usize {
    turns.partition_point(|turn| *turn <= address)
}

/// The addresses at which the answer changes, from `otherwise` at first. The rules
/// (first and last address, answer) are sorted, outer before inner, and nest.
fn turns<T: Ord + Copy>(
    rules: impl Iterator<Item = (T, T, bool)>,
    otherwise: bool,
    next: impl Fn(T) -> Option<T>,
) -> Vec<T> {
    let mut changes: Vec<(T, bool)> = Vec::new();
    let mut open: Vec<(T, bool)> = Vec::new();
    let close = |open: &mut Vec<(T, bool)>, changes: &mut Vec<(T, bool)>| {
        let ended = open.pop().and_then(|(last, _)| next(last));
        let outer = open.last().map_or(otherwise, |(_, answer)| *answer);
        changes.extend(ended.map(|after| (after, outer)));
    };
    for (first, last, answer) in rules {
        while open.last().is_some_and(|(last, _)| *last < first) {
            close(&mut open, &mut changes);
        }
        changes.push((first, answer));
        open.push((last, answer));
    }
    while !open.is_empty() {
        close(&mut open, &mut changes);
    }
    alternate(&changes, otherwise)
}

/// Leaves out changes that change nothing; of several at one address the last counts.
fn alternate<T: Ord + Copy>(changes: &[(T, bool)], otherwise: bool) -> Vec<T> {
    let mut turns = Vec::new();
    let mut current = otherwise;
    for (n, &(at, answer)) in changes.iter().enumerate() {
        let overruled = changes.get(n + 1).is_some_and(|(next, _)| *next == at);
        if !overruled && answer != current {
            turns.push(at);
            current = answer;
        }
    }
    turns
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
