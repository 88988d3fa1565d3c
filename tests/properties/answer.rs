//! What a server answers, as `oxinetd status` and the like show it. Whoever answers at a
//! socket need not be a server of ours.

use oxinetd::under_test::control::answer::{
    Done, PeersAnswer, Reloaded, ServiceStatus, Status, Stopping, Upgraded, line, read,
};
use oxinetd::under_test::control::table;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// It is shown without harm to the terminal, and is the same when it is sent again.
pub(super) fn holds(bytes: &[u8]) {
    let shown = [
        again::<Status>(bytes).map(|status| table::status(&status, None)),
        again::<ServiceStatus>(bytes).map(|service| table::service(&service, None)),
        again::<PeersAnswer>(bytes).map(|peers| table::peers(&peers)),
        again::<Reloaded>(bytes).map(|reloaded| table::reloaded(&reloaded)),
    ];
    for text in shown.iter().flatten() {
        assert!(text.chars().all(|it| it == '\n' || !it.is_control()), "{text:?}");
    }
    again::<Upgraded>(bytes);
    again::<Done>(bytes);
    again::<Stopping>(bytes);
}

/// The answer; the second time it is written, nothing is different. (The first time, a
/// fraction may lose its last digit.)
fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let answer: T = read(bytes).ok()?;
    let sent = line(&answer);
    let end = sent.iter().position(|byte| *byte == b'\n');
    assert_eq!(end, Some(sent.len() - 1), "{:?}", String::from_utf8_lossy(&sent));
    if !sent.contains(&b'.') && !sent.contains(&b'e') {
        assert_eq!(line(&read::<T>(&sent).unwrap()), sent);
    }
    Some(answer)
}
