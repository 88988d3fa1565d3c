//! The head of a request to the metrics endpoint, which comes in pieces.

use oxinetd::control::http::{LONGEST, Reading, read};

/// What is decided at some byte stays decided, and a head that is too long is refused.
pub(super) fn holds(bytes: &[u8]) {
    let whole = read(bytes);
    assert!(whole != Reading::Incomplete || bytes.len() < LONGEST);
    let mut decided = Reading::Incomplete;
    for end in 0..=bytes.len().min(512) {
        let now = read(&bytes[..end]);
        match decided {
            Reading::Incomplete => decided = now,
            Reading::Wants { .. } => assert_eq!(now, decided, "{end}"),
            Reading::Refused(_) => assert!(matches!(now, Reading::Refused(_)), "{end}: {now:?}"),
        }
    }
    match decided {
        Reading::Incomplete => {}
        Reading::Wants { .. } => assert_eq!(whole, decided),
        Reading::Refused(_) => assert!(matches!(whole, Reading::Refused(_)), "{whole:?}"),
    }
}
