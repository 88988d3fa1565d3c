//! Addresses and prefixes as `only_from` and `no_access` say them. Never a DNS look-up:
//! an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) is the IPv4 address that it
//! stands for, and a name is nobody's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// All addresses that share their first bits (RFC 4632, RFC 4291 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prefix {
    /// The first address; the bits after the prefix are zero.
    first: IpAddr,
    /// How many bits: 0 to 32, or to 128.
    length: u8,
}

impl Prefix {
    /// The prefix of this length that contains the address; None if it is longer
    /// than the address. Inside `::ffff:0:0/96` it is a prefix of IPv4 addresses.
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

    /// Whether every address of its family is in it.
    pub fn is_everybody(&self) -> bool {
        self.length == 0
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                Ipv4Addr::from_bits(first.to_bits() | after_v4(self.length)).into()
            }
            IpAddr::V6(first) => {
                Ipv6Addr::from_bits(first.to_bits() | after_v6(self.length)).into()
            }
        }
    }

    /// How many bits it has: 0 to 32, or to 128.
    pub fn bits(&self) -> u8 {
        self.length
    }

    /// Whether it contains an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && Self::new(address, self.length) == Some(*self)
    }
}

impl Prefix {
    /// Whether all of the other one is in it.
    pub(in crate::config) fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && Self::new(other.first, self.length) == Some(*self)
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
