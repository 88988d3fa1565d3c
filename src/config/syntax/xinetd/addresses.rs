//! Addresses as xinetd reads them, with inet_aton(3): of fewer than four numbers, too.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::attribute::quantity::digits;
use crate::config::text::words::Word;

/// An item of `only_from`; `localhost` needs no looking up (RFC 6761 section 6.3).
pub(super) fn item(word: Word) -> Vec<Word> {
    if let Some(whole) = shortened(&word.text).or_else(|| shortened_prefix(&word.text)) {
        return vec![Word::new(&whole, word.span)];
    }
    if !word.text.eq_ignore_ascii_case("localhost") {
        return vec![word];
    }
    ["127.0.0.1", "::1"].map(|text| Word::new(text, word.span.clone())).to_vec()
}

/// What `bind` says: an IPv6 address that stands for an IPv4 one is that.
pub(super) fn bound(word: Word) -> Word {
    let mapped = || word.text.parse::<Ipv6Addr>().ok()?.to_ipv4_mapped().map(|it| it.to_string());
    match shortened(&word.text).or_else(mapped) {
        Some(whole) => Word::new(&whole, word.span),
        None => word,
    }
}

/// An IPv4 address of fewer than four numbers, the last of which is as long as what is
/// missing (inet_aton(3)): `10.1` is `10.0.0.1`, and `127.0.0` is `127.0.0.0`.
fn shortened(item: &str) -> Option<String> {
    let parts: Vec<u64> = item.split('.').map(digits).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let written = item.split('.').all(|part| part == "0" || !part.starts_with('0'));
    if first.len() > 2 || !written {
        return None;
    }
    let whole =
        first.iter().try_fold(0u64, |all, part| (*part < 256).then_some(all << 8 | part))?;
    let bits = 32 - 8 * u32::try_from(first.len()).ok()?;
    let address = whole << bits | (*last < 1 << bits).then_some(*last)?;
    Some(Ipv4Addr::from_bits(u32::try_from(address).ok()?).to_string())
}

/// `0/0` and `127.0.0/8`; not `10.1/16`, which is 10.0.0.1/16 there and 10.1.0.0/16 to whoever
/// writes it.
fn shortened_prefix(item: &str) -> Option<String> {
    let (head, length) = item.split_once('/')?;
    let missing = 3usize.checked_sub(head.matches('.').count())?;
    let meant = head.to_owned() + &".0".repeat(missing);
    (shortened(head)? == meant).then(|| format!("{meant}/{length}"))
}

/// Whether an item of `only_from` is a name: of a host, of a domain or of a network.
pub(super) fn is_name(item: &str) -> bool {
    let address = |c: char| c.is_ascii_digit() || matches!(c, '.' | '/' | '{' | '}' | ',');
    !item.starts_with('@') && !item.contains(':') && !item.chars().all(address)
}
