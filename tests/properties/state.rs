//! The state that a server hands over to the program that goes on in its place.

use std::fs::File;

use oxinetd::under_test::builtin::Conversation;
use oxinetd::under_test::builtin::Relay;
use oxinetd::under_test::upgrade::Clock;
use oxinetd::under_test::upgrade::{pack, unpack};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// It is refused, or it is the same when it is handed over once more.
pub(super) fn holds(bytes: &[u8]) {
    let Ok(state) = unpack(bytes) else { return };
    // A moment from anywhere can be told.
    let _ = Clock::now().instant(state.began);
    for conversation in &state.builtins {
        goes_on::<Conversation>(&conversation["machine"]);
    }
    for relay in &state.relays {
        goes_on::<Relay>(&relay["machine"]);
    }
    let packed = File::from(pack(&state).unwrap());
    let again = unpack(packed).unwrap();
    let has_fractions = bytes.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    assert!(has_fractions || again == state);
}

fn goes_on<T: Serialize + DeserializeOwned>(machine: &Value) {
    let Ok(read) = serde_json::from_value::<T>(machine.clone()) else { return };
    let written = serde_json::to_value(&read).unwrap();
    let again: T = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), written);
}
