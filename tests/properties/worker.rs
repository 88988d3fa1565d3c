//! What a process that is not trusted says to the server, and what the server says to it.

use oxinetd::under_test::front::{
    Fronted, ToServer, from_server, from_worker, to_server, to_worker,
};

/// It is refused, or it is the same when it is said again; and whatever it says of a client,
/// nothing of it gets into an environment that does not belong there.
pub(super) fn holds(bytes: &[u8]) {
    if let Some(message) = from_server(bytes) {
        assert_eq!(from_server(&to_worker(&message)), Some(message));
    }
    let Some(messages) = from_worker(bytes) else { return };
    let again = to_server(&messages).map(|packet| from_worker(&packet));
    assert!(again.is_none_or(|again| again.as_ref() == Some(&messages)));
    for message in messages {
        let ToServer::Ready(_, facts, _) = message else { continue };
        let mut fronted = Fronted::default();
        for (fact, value) in facts {
            fronted.add(fact, value.as_bytes());
        }
        for (_, value) in fronted.facts {
            assert!(value.len() <= 1024 && !value.chars().any(char::is_control), "{value:?}");
        }
    }
}
