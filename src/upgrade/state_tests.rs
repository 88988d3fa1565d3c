use std::net::{SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use proptest::prelude::{any, prop_assert_eq, proptest};
use serde_json::json;

use crate::config::model::{Endpoint, Names, SocketType};
use crate::upgrade::snapshot::unpack;
use crate::upgrade::state::*;

fn spec(endpoint: Endpoint) -> SocketSpec {
    SocketSpec { socket_type: SocketType::Stream, endpoint, device: Some("lo".to_owned()) }
}

fn service() -> SavedService {
    let inet = Endpoint::Inet(([127, 0, 0, 1], 80).into());
    let closed = SavedSocket {
        spec: spec(Endpoint::Abstract(vec![0, 255])),
        open: None,
        parked: None,
        not_before: None,
        backoff: Duration::from_secs(1),
        unread: 0,
        head: None,
        sorted: Vec::new(),
    };
    let parked = json!({"descriptor": 71, "peer": {"Unix": {"pid": 1, "uid": 2}}, "peer_gid": 3});
    let open = SavedSocket {
        spec: spec(inet),
        open: Some(Open { descriptor: 70, identity: Some((8, u64::MAX)), shared: false }),
        parked: Some(parked),
        not_before: Some(Moment(9)),
        unread: 4,
        head: Some(vec![1, 2]),
        ..closed.clone()
    };
    SavedService {
        label: "a/tcp".to_owned(),
        socket_type: SocketType::Stream,
        tcpmux: Some(TcpmuxName { name: "a".to_owned(), greet: true }),
        wait: true,
        runs_program: true,
        stopped: false,
        spent: false,
        clients: (0, None),
        statistics: Some(Statistics::default()),
        group: Some("/sys/fs/cgroup/a".into()),
        sockets: vec![closed, open],
    }
}

fn connections(state: &mut State) {
    state.control_listeners.push(SavedControlListener {
        spec: spec(Endpoint::Unix("/run/c".into())),
        open: Open { descriptor: 80, identity: None, shared: false },
        kind: ControlKind::Control,
    });
}

fn held() -> SavedStoredSocket {
    let about = About {
        spec: spec(Endpoint::Unix("/run/h".into())),
        takes_ipv4: false,
        name: "h".to_owned(),
        said: true,
        shared: false,
        ruined: false,
    };
    SavedStoredSocket { about, descriptor: 82, lent: true }
}

/// Something of everything.
fn sample() -> State {
    let mut state = State {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        arguments: vec!["oxinetd".into(), "x".into()],
        program: "/usr/sbin/oxinetd".into(),
        image: Some(90),
        descriptors: vec![70, 71, 72],
        began: Moment(4),
        born: (1, Moment(2)),
        nofile: Some((1024, 4096)),
        pid_file: Some(73),
        log: b"line\n".to_vec(),
        log_dropped: 2,
        log_untold: 0,
        total: Statistics::default(),
        services: vec![service()],
        children: Vec::new(),
        failures: vec![(4, 16, 2)],
        failure_pipe: Some(83),
        leftovers: vec![(5, Moment(10))],
        remains: Vec::new(),
        pipes: Vec::new(),
        lingering: vec![0],
        groups: SavedCgroups { base: Some("/b".into()), own: None, lingering: vec!["/l".into()] },
        builtins: Vec::new(),
        relays: Vec::new(),
        banners: Vec::new(),
        pending_peers: Vec::new(),
        newcomers: Vec::new(),
        front_workers: Vec::new(),
        front: SavedFront::default(),
        peers: Value::Null,
        held: vec![held()],
        last_here: None,
        watchdog: Some(Duration::from_secs(10)),
        names: Names::new(),
        control_listeners: Vec::new(),
        control_connections: Vec::new(),
    };
    connections(&mut state);
    state
}

#[test]
fn a_state_comes_back_as_it_was() {
    let text = serde_json::to_vec(&sample()).unwrap();
    assert_eq!(unpack(&*text).unwrap(), sample());
}

/// What a server of this format has handed over must be understood for as long as the
/// number of the format is the same. Fields may be added, with a default. Whoever hands himself
/// over is understood by the server.
#[test]
fn the_first_state_of_this_format_is_understood() {
    let mut state = unpack(&include_bytes!("format-1.json")[..]).unwrap();
    for all in [&mut state.children, &mut state.pipes, &mut state.builtins] {
        assert_eq!(std::mem::take(all).len(), 1);
    }
    for all in [&mut state.relays, &mut state.control_connections, &mut state.pending_peers] {
        assert_eq!(std::mem::take(all).len(), 1);
    }
    assert_eq!(std::mem::take(&mut state.banners).len(), 2);
    assert_eq!(std::mem::take(&mut state.peers)["total"], 9);
    assert_eq!(state, sample());
}

#[test]
fn fields_that_are_not_known_yet_do_no_harm() {
    let mut value = serde_json::to_value(sample()).unwrap();
    value["later"] = json!(1);
    value["services"][0]["later"] = json!({});
    assert_eq!(unpack(value.to_string().as_bytes()).unwrap(), sample());
}

#[test]
fn machines_of_built_in_services_and_relays_are_data() {
    use crate::builtin::Conversation;
    use crate::config::model::Builtin;
    use crate::sys::calendar::WallClock;
    let clock = WallClock { utc_seconds: 0, offset_seconds: 0 };
    for kind in Builtin::ALL {
        let machine = Conversation::new(kind, SocketType::Stream, clock);
        let data = serde_json::to_value(&machine).unwrap();
        let again: Conversation = serde_json::from_value(data.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), data, "{kind:?}");
    }
    let data = serde_json::to_value(crate::builtin::relay::Relay::new()).unwrap();
    let again: crate::builtin::relay::Relay = serde_json::from_value(data.clone()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), data);
}

proptest! {
    #[test]
    fn whatever_is_in_it_comes_back(
        label: String,
        partial: Vec<u8>,
        path: Vec<u8>,
        numbers in any::<(i32, u64, usize, Option<u64>)>(),
        (v6, scope) in any::<(std::net::Ipv6Addr, u32)>(),
    ) {
        use std::os::unix::ffi::OsStringExt as _;
        let mut state = sample();
        let path = OsString::from_vec(path);
        state.arguments = vec![path.clone()];
        state.groups.base = Some(path.clone());
        let scoped: SocketAddr = SocketAddrV6::new(v6, 1, 0, scope).into();
        state.services[0].label = label;
        state.services[0].sockets[0].spec.endpoint = Endpoint::Inet(scoped);
        state.services[0].sockets[1].head = Some(partial);
        state.leftovers = vec![(numbers.0, Moment(numbers.1))];
        state.lingering = vec![numbers.2];
        state.control_listeners[0].spec.endpoint = Endpoint::Unix(PathBuf::from(path));
        state.services[0].spent = true;
        state.services[0].clients = (7, numbers.3.map(|number| u32::try_from(number % 9).unwrap()));
        let last = Moment(numbers.1);
        state.last_here = Some(last);
        let text = serde_json::to_vec(&state).unwrap();
        prop_assert_eq!(unpack(&*text).unwrap(), state);
    }

    #[test]
    fn no_text_is_too_strange(text: Vec<u8>) {
        let _ = unpack(&*text);
    }
}
