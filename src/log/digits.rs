//! Numbers and addresses as decimal text, for what is written about each connection: its
//! lines in the log and the variables of its program. The same text as `Display`
//! gives, at a small part of its cost, which is that of getting much code into the cache
//! again after each child.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Adds a number.
pub(crate) fn push_number(out: &mut String, number: u64) {
    // As deep as it has digits, 20 at most.
    if number >= 10 {
        push_number(out, number / 10);
    }
    let last = u8::try_from(number % 10).unwrap_or_default();
    out.push(char::from(b'0' + last));
}

/// Adds a number that may be negative.
pub(crate) fn push_signed(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    push_number(out, number.unsigned_abs());
}

/// Adds the milliseconds of a second, in three digits.
pub(crate) fn push_millis(out: &mut String, millis: u32) {
    for power in [100, 10] {
        if millis < power {
            out.push('0');
        }
    }
    push_number(out, millis.into());
}

/// Adds an address: `127.0.0.1`, `::1`.
pub(crate) fn push_ip(out: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [first, rest @ ..] = ip.octets();
            push_number(out, first.into());
            for octet in rest {
                out.push('.');
                push_number(out, octet.into());
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(ip) => _ = write!(out, "{ip}"),
    }
}

/// Adds the address of a socket address, with the scope without which a link-local one is
/// nowhere: `127.0.0.1`, `::1`, `fe80::1%2`.
pub(crate) fn push_host(out: &mut String, address: &SocketAddr) {
    push_ip(out, address.ip());
    if let SocketAddr::V6(v6) = address
        && v6.scope_id() != 0
    {
        out.push('%');
        push_number(out, v6.scope_id().into());
    }
}

/// Adds an address and a port: `127.0.0.1:4711`, `[::1]:4711`.
pub(crate) fn push_socket_address(out: &mut String, address: &SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            push_ip(out, IpAddr::V4(*v4.ip()));
            out.push(':');
            push_number(out, v4.port().into());
        }
        SocketAddr::V6(v6) => _ = write!(out, "{v6}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn text(push: impl FnOnce(&mut String)) -> String {
        let mut out = String::from("=");
        push(&mut out);
        out.split_off(1)
    }

    #[test]
    fn a_host_has_its_scope() {
        for host in ["127.0.0.1", "[::1]", "[fe80::1%2]"] {
            let address = format!("{host}:80").parse().unwrap();
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            assert_eq!(text(|out| push_host(out, &address)), bare);
        }
    }

    #[test]
    fn the_least_and_the_greatest_numbers_are_what_display_gives() {
        for number in [0, 9, 10, u64::MAX] {
            assert_eq!(text(|out| push_number(out, number)), number.to_string());
        }
        for number in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(text(|out| push_signed(out, number)), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn numbers_are_what_display_gives(number: u64, signed: i64, millis in 0u32..1_000) {
            prop_assert_eq!(text(|out| push_number(out, number)), number.to_string());
            prop_assert_eq!(text(|out| push_signed(out, signed)), signed.to_string());
            prop_assert_eq!(text(|out| push_millis(out, millis)), format!("{millis:03}"));
        }

        #[test]
        fn addresses_are_what_display_gives(ip in any::<IpAddr>(), port: u16) {
            let address = SocketAddr::new(ip, port);
            prop_assert_eq!(text(|out| push_ip(out, ip)), ip.to_string());
            prop_assert_eq!(text(|out| push_socket_address(out, &address)), address.to_string());
        }
    }
}
