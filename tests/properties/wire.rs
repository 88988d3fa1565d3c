//! What the process that reads a configuration sends to the server.

use oxinetd::under_test::reload::Loading;
use oxinetd::under_test::reload::{Receiver, Sender};

/// It is refused, or it is the same in whatever portions it comes, and when it is sent
/// once more.
pub(super) fn holds(bytes: &[u8]) {
    let at_once = received(bytes, bytes.len());
    let few = bytes.len() < 2000;
    assert!(!few || received(bytes, 1) == at_once);
    assert_eq!(received(bytes, 61), at_once);
    let Ok(Some(loading)) = at_once else { return };
    let again = received(&sent(loading), 4096).ok().flatten();
    assert_eq!(again, received(bytes, bytes.len()).ok().flatten());
}

/// Everything in portions.
pub(super) fn received(bytes: &[u8], portion: usize) -> Result<Option<Loading>, String> {
    let mut receiver = Receiver::default();
    bytes.chunks(portion.max(1)).try_for_each(|portion| receiver.take(portion))?;
    Ok(receiver.finish())
}

/// Its bytes.
pub(super) fn sent(loading: Loading) -> Vec<u8> {
    let mut bytes = Vec::new();
    Sender::new(&mut bytes).send(loading).unwrap();
    bytes
}
