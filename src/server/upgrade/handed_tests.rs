use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::examining::examine;
use super::handed::{HandedRemains, HandedSession};
use super::places::{OfPipes, OfServices, OfSockets, Placed as _};
use crate::config::model::Config;
use crate::server::control::connection::ControlConnection;
use crate::server::peers::Peers;
use crate::server::programs::leftovers::Remains;
use crate::server::reactor::slab::Key;
use crate::server::services::pending_peer::PendingPeer;
use crate::server::sessions::banners::BannerState;
use crate::server::sessions::builtin::BuiltinStage;
use crate::server::sessions::relay::RelayStage;
use crate::server::sessions::session::Client;
use crate::server::state::{ProgramStage, StderrState};
use crate::upgrade::snapshot::unpack;
use crate::upgrade::state::State;

const FIRST: &[u8] = include_bytes!("../../upgrade/format-1.json");

/// Each is written as it was read, but for descriptors, which are others.
fn come_back<T: Serialize + DeserializeOwned>(all: &[Value]) {
    assert!(!all.is_empty(), "{}", std::any::type_name::<T>());
    for one in all {
        let again = T::deserialize(one).unwrap();
        is_in(one, &serde_json::to_value(again).unwrap());
    }
}

fn is_in(before: &Value, now: &Value) {
    match before {
        Value::Object(before) => {
            for (name, value) in before {
                if !["descriptor", "client", "target", "pidfd"].contains(&&**name)
                    || value.is_object()
                {
                    is_in(value, now.get(name).unwrap_or(&Value::Null));
                }
            }
        }
        before => assert_eq!(before, now),
    }
}

fn first() -> State {
    let mut state = unpack(FIRST).unwrap();
    let kept = r#"{"descriptor":5,"linger":"Yes","since":{"secs":1,"nanos":2}}"#;
    let kept: Value = serde_json::from_str(kept).unwrap();
    let mut child = state.children[0].clone();
    child["kept"] = kept.clone();
    child["watched"] = serde_json::from_str(
        r#"{"limit":{"secs":1,"nanos":0},"last":7,"taken":18446744073709551615,"is_over":true}"#,
    )
    .unwrap();
    state.children.push(child);
    state.relays[0]["still"] = serde_json::from_str(r#"[{"secs":1,"nanos":0},9]"#).unwrap();
    let mut remains = state.children[0]["served"].clone();
    remains["pid"] = 5.into();
    remains["told"] = "Group".into();
    remains["kept"] = kept;
    for name in ["service", "peer_id", "started"] {
        remains.as_object_mut().unwrap().remove(name);
    }
    state.remains.push(remains);
    state
}

#[test]
fn who_was_handed_over_first_is_handed_over_again() {
    let state = first();
    let key = |index| Key { index, generation: 1 };
    OfServices::note(0, key(1));
    OfSockets::note((0, 1), key(2));
    OfPipes::note(0, key(3));
    come_back::<HandedSession<Client, ProgramStage>>(&state.children);
    come_back::<HandedSession<Client, BuiltinStage>>(&state.builtins);
    come_back::<HandedSession<Client, RelayStage>>(&state.relays);
    come_back::<HandedRemains<Remains>>(&state.remains);
    come_back::<StderrState>(&state.pipes);
    come_back::<BannerState>(&state.banners);
    come_back::<PendingPeer>(&state.pending_peers);
    come_back::<ControlConnection>(&state.control_connections);
    come_back::<Peers>(&[state.peers]);
}

#[test]
fn a_trial_refuses_what_it_does_not_understand() {
    let config = Config::default();
    let mut state = first();
    for service in &mut state.services {
        service.sockets.clear();
    }
    assert!(examine(&state, &config).is_ok());
    let lists: [fn(&mut State) -> &mut Vec<Value>; 8] = [
        |state| &mut state.children,
        |state| &mut state.builtins,
        |state| &mut state.relays,
        |state| &mut state.remains,
        |state| &mut state.pipes,
        |state| &mut state.control_connections,
        |state| &mut state.banners,
        |state| &mut state.pending_peers,
    ];
    for list in lists {
        let mut state = state.clone();
        list(&mut state)[0] = serde_json::json!({"pid": "x"});
        assert!(examine(&state, &config).is_err());
    }
}
