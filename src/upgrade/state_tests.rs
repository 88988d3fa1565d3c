use std::net::{SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use proptest::prelude::{any, prop_assert_eq, proptest};
use serde_json::json;

use crate::config::model::{
    EndingAttributes, Endpoint, Leftovers, Linger, LogOnSuccess, Names, RelayTarget, SocketType,
};
use crate::upgrade::snapshot::unpack;
use crate::upgrade::state::*;

fn served(service: Option<usize>) -> SavedSessions {
    SavedSessions {
        service,
        label: "a/tcp".to_owned(),
        peer: Address::Inet(([127, 0, 0, 1], 7).into()),
        peer_id: 3,
        started: Moment(5),
        log: LogOnSuccess { pid: true, host: true, exit: true, duration: false },
    }
}

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
    let parked = Parked {
        descriptor: 71,
        peer: Address::Unix { pid: 1, uid: 2 },
        peer_gid: Some(3),
        fronted: None,
    };
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
    state.doors.push(SavedControlListener {
        spec: spec(Endpoint::Unix("/run/c".into())),
        open: Open { descriptor: 80, identity: None, shared: false },
        controls: true,
    });
    state.edges.push(SavedControlConnection {
        descriptor: 81,
        controls: false,
        peer: Address::None,
        stage: SavedControlStage::AwaitsUpgrade,
        request: b"GET".to_vec(),
        unsent: Vec::new(),
    });
    state.children.push(SavedChild {
        served: served(None),
        pid: 4,
        socket: Some((0, 1)),
        pipe: Some(0),
        peer_socket: None,
        kept: None,
        watched: None,
        group: None,
        deadline: Some(Moment(11)),
        overdue: true,
        ending: EndingAttributes {
            kill_after: Duration::from_millis(1500),
            ..EndingAttributes::default()
        },
    });
    state.conversations.push(SavedBuiltin {
        served: served(Some(0)),
        descriptor: 74,
        machine: json!({"state": {"Echo": {"outbox": {"rest": "6869", "sent": 1}}}}),
        active: Moment(6),
        silence: Duration::from_secs(300),
        limited: false,
        fronted: None,
    });
}

fn clients(state: &mut State) {
    let unix = RelayTarget::Unix(Endpoint::Unix(PathBuf::from("/x")));
    let dial =
        SavedDial { target: unix, at: 0, deadline: Moment(7), due: Moment(8), account: None };
    state.relays.push(SavedRelay {
        served: served(Some(0)),
        client: 75,
        target: Some(76),
        machine: json!({
            "up": {"rest": "6869", "sent": 1, "state": "Open", "distrusted": false},
            "down": {"rest": "", "sent": 0, "state": "Ended", "distrusted": true},
            "failure": {"side": "Target", "error": 104},
        }),
        dial: Some(dial),
        still: None,
    });
    let facts = SavedFacts {
        protocol: "UNIX".to_owned(),
        local: None,
        remote: None,
        path: Some("/x".to_owned()),
        credentials: Some((1, 2, 3)),
        vsock: (None, None),
        fronted: None,
    };
    let serve = SavedThen::Serve {
        service: Some(0),
        peer: Address::None,
        peer_gid: None,
        facts: Box::new(facts),
        since: Moment(1),
    };
    for then in [serve, SavedThen::Close { left: 9 }] {
        let unsent = vec![0, 128, 255];
        state.banners.push(SavedBanner { descriptor: 77, unsent, due: Moment(3), then });
    }
    let peer = ([127, 0, 0, 1], 9).into();
    let (sender, expected, looks) = (peer, 2, 1);
    let (descriptor, socket, to) = (78, (0, 1), None);
    state.homing.push(SavedPendingPeer { descriptor, socket, peer, to, sender, expected, looks });
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
    let peer = SavedPeer {
        address: Address::None,
        service: "a/tcp".to_owned(),
        pid: Some(4),
        since: Moment(2),
    };
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
        pipes: vec![SavedPipe {
            descriptor: 79,
            service: None,
            label: "a/tcp".to_owned(),
            pid: 4,
            partial: vec![b'x', 200],
            skipping: true,
        }],
        lingering: vec![0],
        groups: SavedCgroups { base: Some("/b".into()), own: None, lingering: vec!["/l".into()] },
        conversations: Vec::new(),
        relays: Vec::new(),
        banners: Vec::new(),
        homing: Vec::new(),
        newcomers: Vec::new(),
        front_workers: Vec::new(),
        peers: SavedPeers { total: 9, known: [(3, peer)].into(), ended: vec![3] },
        held: vec![held()],
        last_here: None,
        watchdog: Some(Duration::from_secs(10)),
        names: Names::new(),
        doors: Vec::new(),
        edges: Vec::new(),
    };
    connections(&mut state);
    clients(&mut state);
    state
}

#[test]
fn a_state_comes_back_as_it_was() {
    let text = serde_json::to_vec(&sample()).unwrap();
    assert_eq!(unpack(&*text).unwrap(), sample());
}

/// What a server of this format has handed over must be understood for as long as the
/// number of the format is the same. Fields may be added, with a default.
#[test]
fn the_first_state_of_this_format_is_understood() {
    let text = include_str!("format-1.json");
    assert_eq!(unpack(text.as_bytes()).unwrap(), sample());
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
    // As they were handed over first.
    let state = sample();
    let data = state.conversations[0].machine.clone();
    let again: Conversation = serde_json::from_value(data.clone()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), data);
    let data = state.relays[0].machine.clone();
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
        (ip, v6, scope) in any::<(std::net::IpAddr, std::net::Ipv6Addr, u32)>(),
    ) {
        use std::os::unix::ffi::OsStringExt as _;
        let mut state = sample();
        let path = OsString::from_vec(path);
        state.arguments = vec![path.clone()];
        state.groups.base = Some(path.clone());
        state.pipes[0].partial = partial;
        state.children[0].served.label = label;
        state.children[0].served.peer = Address::Inet((ip, 1).into());
        let scoped: SocketAddr = SocketAddrV6::new(v6, 1, 0, scope).into();
        state.conversations[0].served.peer = Address::Inet(scoped);
        state.services[0].sockets[0].spec.endpoint = Endpoint::Inet(scoped);
        (state.homing[0].peer, state.homing[0].sender) = (scoped, scoped);
        state.homing[0].to = Some(scoped);
        state.children[0].pid = numbers.0;
        state.children[0].served.started = Moment(numbers.1);
        state.children[0].pipe = Some(numbers.2);
        state.children[0].deadline = numbers.3.map(Moment);
        state.doors[0].spec.endpoint = Endpoint::Unix(PathBuf::from(path));
        state.services[0].spent = true;
        state.services[0].clients = (7, numbers.3.map(|number| u32::try_from(number % 9).unwrap()));
        let (limit, last) = (Duration::from_millis(numbers.1 >> 1), Moment(numbers.1));
        let (taken, is_over) = (numbers.1, true);
        state.children[0].kept = Some(SavedConnection { descriptor: 31, linger: Linger::Yes, since: limit });
        state.children[0].watched = Some(SavedIdleWatch { limit, last, taken, is_over });
        state.children[0].ending.leftovers = Leftovers::End;
        state.remains = vec![SavedLeftovers {
            pid: numbers.0,
            label: state.pipes[0].label.clone(),
            peer: state.children[0].served.peer,
            log: state.children[0].served.log,
            told: Told::Group,
            kept: state.children[0].kept.clone(),
        }];
        state.conversations[0].limited = true;
        state.relays[0].still = Some((limit, last));
        state.last_here = Some(last);
        let text = serde_json::to_vec(&state).unwrap();
        prop_assert_eq!(unpack(&*text).unwrap(), state);
    }

    #[test]
    fn no_text_is_too_strange(text: Vec<u8>) {
        let _ = unpack(&*text);
    }
}
