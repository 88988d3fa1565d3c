//! `only_from` and `no_access`: which addresses may connect. Never a DNS look-up.
//!
//! The most specific prefix that contains an address decides, and of two equal ones
//! the refusing one. Both lists are boiled down, once, to the sorted addresses at
//! which the answer changes, so a check is one binary search however many rules there
//! are. IPv4 and IPv6 are apart: `::/0` says nothing about IPv4, and an IPv4-mapped
//! IPv6 address (RFC 4291 section 2.5.5.2) is the IPv4 address that it stands for.

use std::collections::BTreeSet;
use std::net::IpAddr;

pub use crate::config::model::{Prefix, parse_item};

/// Both lists together, ready for use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessList {
    /// What is said of addresses before the first turn.
    otherwise: bool,
    /// Where the answer turns into the other one, sorted.
    v4: Vec<u32>,
    v6: Vec<u128>,
    /// The CIDs of which something else is said.
    machines: Vec<u32>,
}

impl AccessList {
    /// From the two lists. Without `only_from` everybody may connect who is not in
    /// `no_access`; with an empty one nobody.
    pub fn new(only_from: Option<&[Prefix]>, no_access: &[Prefix]) -> Self {
        let allowed = only_from.unwrap_or_default().iter().map(|prefix| (*prefix, true));
        let mut rules: Vec<_> =
            allowed.chain(no_access.iter().map(|prefix| (*prefix, false))).collect();
        // Outer before inner prefixes; of equal ones the refusing one first, which stays.
        rules.sort_unstable();
        rules.dedup_by_key(|(prefix, _)| *prefix);
        let otherwise = only_from.is_none();
        let v4 = rules.iter().filter_map(|(prefix, allow)| match (prefix.first(), prefix.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Some((first.to_bits(), last.to_bits(), *allow))
            }
            _ => None,
        });
        let v6 = rules.iter().filter_map(|(prefix, allow)| match (prefix.first(), prefix.last()) {
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Some((first.to_bits(), last.to_bits(), *allow))
            }
            _ => None,
        });
        Self {
            otherwise,
            v4: turns(v4, otherwise, |last| last.checked_add(1)),
            v6: turns(v6, otherwise, |last| last.checked_add(1)),
            machines: Vec::new(),
        }
    }

    /// The same with the machines, by CID, that either list names. Addresses say nothing of
    /// them: where some alone may connect, a machine that is not named may not.
    #[must_use]
    pub fn with_machines(mut self, may: &BTreeSet<u32>, may_not: &BTreeSet<u32>) -> Self {
        self.machines = if self.otherwise {
            may_not.iter().copied().collect()
        } else {
            may.difference(may_not).copied().collect()
        };
        self
    }

    /// Whether the machine of this CID may connect.
    pub fn allows_machine(&self, cid: u32) -> bool {
        self.otherwise ^ self.machines.binary_search(&cid).is_ok()
    }

    /// Whether an address may connect.
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
