//! A PROXY header, which comes in pieces, and behind which anything may follow.

use oxinetd::under_test::front::{Fact, HeaderRead, LONGEST, read};

/// What is decided at some byte stays decided, a header that is too long is none, and nothing
/// is said of what is behind it.
pub(super) fn holds(bytes: &[u8]) {
    let whole = read(bytes);
    assert!(whole != HeaderRead::Incomplete || bytes.len() < LONGEST);
    let mut decided = HeaderRead::Incomplete;
    for end in 0..=bytes.len().min(512) {
        let now = read(&bytes[..end]);
        match &decided {
            HeaderRead::Incomplete => decided = now,
            HeaderRead::Whole(_) => assert_eq!(now, decided, "{end}"),
            HeaderRead::Malformed(_) => assert!(matches!(now, HeaderRead::Malformed(_)), "{end}"),
        }
    }
    if let HeaderRead::Whole(header) = &whole {
        assert!(header.length <= bytes.len().min(LONGEST));
        assert_eq!(read(&bytes[..header.length]), whole);
        assert_eq!(read(&bytes[..header.length - 1]), HeaderRead::Incomplete);
        let facts = header.named.iter().flat_map(|named| &named.said.facts);
        for (fact, value) in facts {
            let most = if *fact == Fact::ClientName { 1024 } else { 255 };
            assert!((1..=most).contains(&value.len()) && !value.contains(char::is_control));
        }
    }
    match decided {
        HeaderRead::Incomplete => {}
        HeaderRead::Whole(_) => assert_eq!(whole, decided),
        HeaderRead::Malformed(_) => assert!(matches!(whole, HeaderRead::Malformed(_))),
    }
}
