//! The head of a request to the metrics endpoint, which comes in pieces.

use oxinetd::under_test::control::http::{LONGEST, RequestRead, read};

/// What is decided at some byte stays decided, and a head that is too long is refused.
pub(super) fn holds(bytes: &[u8]) {
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
