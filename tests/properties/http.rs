//! The head of a request for metrics or for the page, which comes in pieces.

use oxinetd::under_test::control::http::{LONGEST, METRICS, PAGE, RequestRead, Site};

pub(super) fn holds(bytes: &[u8]) {
    holds_at(&METRICS, bytes);
    holds_at(&PAGE, bytes);
}

/// What is decided at some byte stays decided, and a head that is too long is refused.
fn holds_at(site: &Site, bytes: &[u8]) {
    let read = |bytes: &[u8]| site.read(bytes, |host| host == "us");
    let whole = read(bytes);
    assert!(whole != RequestRead::Incomplete || bytes.len() < LONGEST);
    let mut decided = RequestRead::Incomplete;
    for end in 0..=bytes.len().min(512) {
        let now = read(&bytes[..end]);
        match decided {
            RequestRead::Incomplete => decided = now,
            RequestRead::Wants { .. } => assert_eq!(now, decided, "{end}"),
            RequestRead::Refused(_) => {
                assert!(matches!(now, RequestRead::Refused(_)), "{end}: {now:?}")
            }
        }
    }
    match decided {
        RequestRead::Incomplete => {}
        RequestRead::Wants { .. } => assert_eq!(whole, decided),
        RequestRead::Refused(_) => assert!(matches!(whole, RequestRead::Refused(_)), "{whole:?}"),
    }
}
