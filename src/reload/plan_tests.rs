//! Plans of reloads, by example and by property.

use crate::config::model::{
    Action, Attributes, Builtin, Endpoint, Keepalive, Origin, SocketType, Withheld,
};
use crate::reload::plan::*;
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use std::time::{Duration, Instant};

fn spec(port: u16) -> SocketSpec {
    let endpoint = Endpoint::Inet(([127, 0, 0, 1], port).into());
    SocketSpec { socket_type: SocketType::Stream, endpoint, device: None }
}

fn service(ports: &[u16]) -> Service {
    Service {
        label: "echo/tcp".to_owned(),
        id: None,
        name: None,
        origin: Origin::default(),
        socket_type: SocketType::Stream,
        sockets: ports.iter().map(|port| spec(*port)).collect(),
        awaited: Vec::new(),
        tcpmux: None,
        wait: false,
        action: Action::Builtin(Builtin::Echo),
        account: Rc::default(),
        attributes: Rc::default(),
    }
}

fn mux(name: &str, greet: bool) -> Service {
    Service { tcpmux: Some(TcpmuxName { name: name.to_owned(), greet }), ..service(&[]) }
}

fn config(services: Vec<Service>, withheld: Vec<Withheld>) -> Config {
    let services = services.into_iter().map(Rc::new).collect();
    Config { services, withheld, ..Config::default() }
}

fn withheld(ports: &[u16]) -> Withheld {
    let sockets = ports.iter().map(|port| spec(*port)).collect();
    Withheld {
        label: "lacking/tcp".to_owned(),
        id: None,
        name: None,
        sockets,
        tcpmux: None,
        why: String::new(),
    }
}

fn run(old: Vec<Service>, new: Vec<Service>, withheld: Vec<Withheld>) -> Plan {
    plan(&config(old, vec![]).services, &config(new, withheld))
}

fn at(service: usize, socket: usize) -> SocketRef {
    SocketRef { service, socket }
}

/// Whether nothing is opened or closed and every service goes on as it is.
fn changes_nothing(plan: &Plan) -> bool {
    let unchanged = |fate: &Fate| matches!(fate, Fate::Unchanged(_));
    plan.gone.is_empty()
        && plan.open.is_empty()
        && plan.close.is_empty()
        && plan.services.iter().all(unchanged)
}

fn kept(old: SocketRef, new: SocketRef, reapply: bool) -> KeptSocket {
    KeptSocket { old, new, reapply }
}

#[test]
fn a_program_changes_and_the_socket_stays() {
    let changed = Service { wait: true, ..service(&[1]) };
    let plan = run(vec![service(&[1])], vec![changed], vec![]);
    assert_eq!(plan.services, [Fate::Updated(0)]);
    assert_eq!(plan.kept, [kept(at(0, 0), at(0, 0), false)]);
    assert!(!changes_nothing(&plan));
}

#[test]
fn another_line_of_the_file_is_no_change() {
    let moved = Service { origin: Origin { line: 9, ..Origin::default() }, ..service(&[1]) };
    assert!(changes_nothing(&run(vec![service(&[1])], vec![moved], vec![])));
}

#[test]
fn options_of_creation_are_applied_again() {
    let options: [fn(&mut Attributes); 8] = [
        |it| it.socket.backlog = Some(5),
        |it| it.socket.sndbuf = Some(5),
        |it| it.socket.rcvbuf = Some(5),
        |it| it.socket.nodelay = true,
        |it| it.socket.keepalive = Keepalive::Yes,
        |it| it.socket.user = Some(5),
        |it| it.socket.group = Some(5),
        |it| it.socket.mode = 0o666,
    ];
    for (number, option) in options.iter().enumerate() {
        let mut changed = service(&[1]);
        option(Rc::make_mut(&mut changed.attributes));
        for (old, new) in [(service(&[1]), changed.clone()), (changed, service(&[1]))] {
            let plan = run(vec![old], vec![new], vec![]);
            assert_eq!(plan.kept, [kept(at(0, 0), at(0, 0), true)], "{number}");
            assert_eq!(plan.services, [Fate::Updated(0)], "{number}");
        }
    }
}

#[test]
fn services_come_and_go() {
    let plan = run(vec![service(&[1]), service(&[2])], vec![service(&[2]), service(&[3])], vec![]);
    assert_eq!(plan.services, [Fate::Unchanged(1), Fate::New]);
    assert_eq!((plan.gone, plan.close, plan.open), (vec![0], vec![at(0, 0)], vec![at(1, 0)]));
}

#[test]
fn one_service_may_become_two_and_two_one() {
    let split = run(vec![service(&[1, 2])], vec![service(&[1]), service(&[2])], vec![]);
    assert_eq!(split.services, [Fate::Updated(0), Fate::New]);
    assert_eq!(split.kept.len(), 2);
    let joined = run(vec![service(&[1]), service(&[2])], vec![service(&[1, 2])], vec![]);
    assert_eq!((joined.services, joined.gone), (vec![Fate::Updated(0)], vec![1]));
    assert_eq!(joined.kept[1], kept(at(1, 0), at(0, 1), false));
    assert_eq!((joined.open, joined.close), (vec![], vec![]));
}

#[test]
fn entries_of_tcpmux_are_recognised_by_name() {
    let plan = run(vec![mux("Date", false), mux("who", false)], vec![mux("date", true)], vec![]);
    assert_eq!((plan.services, plan.gone), (vec![Fate::Updated(0)], vec![1]));
}

#[test]
fn what_should_replace_it_is_lacking_so_it_goes_on() {
    let plan =
        run(vec![service(&[1, 2]), service(&[3])], vec![service(&[3])], vec![withheld(&[2])]);
    assert_eq!(plan.services, [Fate::Unchanged(1)]);
    let held = RetainedService {
        old: 0,
        service: Rc::new(service(&[1, 2])),
        sockets: vec![at(0, 0), at(0, 1)],
    };
    assert_eq!(plan.held, [held]);
    assert!(changes_nothing(&plan));

    let lacking = Withheld { tcpmux: mux("DATE", true).tcpmux, ..withheld(&[]) };
    let plan = run(vec![mux("date", false)], vec![], vec![lacking]);
    assert_eq!((plan.held.len(), plan.gone), (1, vec![]));
}

#[test]
fn a_held_service_gives_up_what_another_is_said_to_have() {
    let plan = run(vec![service(&[1, 2])], vec![service(&[2])], vec![withheld(&[1])]);
    assert_eq!(plan.services, [Fate::New]);
    assert_eq!(plan.kept, [kept(at(0, 1), at(0, 0), false)]);
    let held = RetainedService { old: 0, service: Rc::new(service(&[1])), sockets: vec![at(0, 0)] };
    assert_eq!((plan.held, plan.close), (vec![held], vec![]));
}

#[test]
fn without_any_socket_known_the_label_tells() {
    let lacking = Withheld { label: "echo/tcp".to_owned(), ..withheld(&[]) };
    let plan = run(vec![service(&[1]), service(&[2])], vec![service(&[2])], vec![lacking]);
    assert_eq!((plan.held.len(), plan.services), (1, vec![Fate::Unchanged(1)]));
    assert_eq!((plan.gone, plan.close), (vec![], vec![]));
}

#[test]
fn many_services_are_planned_at_once() {
    let services: Vec<_> = (1..=10_000).map(|port| service(&[port])).collect();
    let old = config(services.clone(), vec![]).services;
    let new = config(services, vec![]);
    let begun = Instant::now();
    assert!(changes_nothing(&plan(&old, &new)));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Services on few ports, so that they often share some; each differs in its `wait`.
fn services() -> impl Strategy<Value = Vec<Service>> {
    let ports = proptest::collection::vec(1u16..20, 0..4);
    proptest::collection::vec((ports, proptest::bool::ANY), 0..8).prop_map(|all| {
        let mut used = HashSet::new();
        let unique = |ports: Vec<u16>, used: &mut HashSet<u16>| {
            ports.into_iter().filter(|port| used.insert(*port)).collect::<Vec<_>>()
        };
        all.into_iter()
            .map(|(ports, wait)| Service { wait, ..service(&unique(ports, &mut used)) })
            .filter(|service| !service.sockets.is_empty())
            .collect()
    })
}

fn all_sockets<'a>(services: impl IntoIterator<Item = &'a Rc<Service>>) -> Vec<SocketRef> {
    let counts = services.into_iter().map(|service| service.sockets.len()).enumerate();
    counts.flat_map(|(n, count)| (0..count).map(move |socket| at(n, socket))).collect()
}

proptest! {
    #[test]
    fn every_socket_has_one_place(
        old in services(), new in services(),
        lacking in proptest::collection::vec(1u16..20, 0..3),
    ) {
        let old = config(old, vec![]).services;
        let new = config(new, lacking.iter().map(|port| withheld(&[*port])).collect());
        let plan = plan(&old, &new);
        let mut news: Vec<_> = plan.kept.iter().map(|kept| kept.new).chain(plan.open).collect();
        news.sort_unstable();
        prop_assert_eq!(news, all_sockets(&new.services));
        let held = plan.held.iter().flat_map(|held| held.sockets.iter().copied());
        let mut olds: Vec<_> =
            plan.kept.iter().map(|kept| kept.old).chain(plan.close.iter().copied()).chain(held).collect();
        olds.sort_unstable();
        prop_assert_eq!(olds, all_sockets(&old));
        for kept in &plan.kept {
            let before = &old[kept.old.service].sockets[kept.old.socket];
            prop_assert_eq!(before, &new.services[kept.new.service].sockets[kept.new.socket]);
        }
        for held in &plan.held {
            prop_assert_eq!(held.service.sockets.len(), held.sockets.len());
        }
    }

    #[test]
    fn every_old_service_has_one_fate(old in services(), new in services()) {
        let (old, new) = (config(old, vec![]).services, config(new, vec![]));
        let plan = plan(&old, &new);
        prop_assert_eq!(plan.services.len(), new.services.len());
        let mut fates: Vec<_> = plan.services.iter().filter_map(|fate| match fate {
            Fate::New => None,
            Fate::Unchanged(index) | Fate::Updated(index) => Some(*index),
        }).chain(plan.gone).collect();
        fates.sort_unstable();
        prop_assert_eq!(fates, (0..old.len()).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_again_changes_nothing(services in services()) {
        let config = config(services, vec![]);
        let plan = plan(&config.services, &config);
        prop_assert!(changes_nothing(&plan));
        prop_assert!(plan.kept.iter().all(|kept| !kept.reapply && kept.old == kept.new));
        prop_assert_eq!(plan.kept.len(), all_sockets(&config.services).len());
    }
}

#[test]
fn what_is_served_goes_on_where_its_successor_waits_for_a_name() {
    use crate::config::model::{Awaited, RelayTarget, Sought};
    let awaited = |label: &str, sockets: &[u16]| {
        let name = "db".to_owned();
        let one = Awaited { name, what: Sought::Host, ports: (9, 9), families: (true, true) };
        Service { label: label.to_owned(), awaited: vec![one], ..service(sockets) }
    };
    let target = RelayTarget::Inet { host: "db".to_owned(), port: 9, addresses: Vec::new() };
    let relay = |port| Service { action: Action::Relay(target.clone()), ..service(&[port]) };
    let old = config(vec![service(&[1]), service(&[2])], vec![]).services;
    for (new, withheld) in [
        // With a socket it is served, if not everywhere.
        (awaited("echo/tcp", &[1]), 0),
        (awaited("echo/tcp", &[]), 1),
        (awaited("other/tcp", &[]), 0),
        (relay(2), 1),
        (relay(3), 0),
    ] {
        let mut config = config(vec![new], vec![]);
        withhold_replacements(&old, &mut config);
        assert_eq!((config.services.len(), config.withheld.len()), (1 - withheld, withheld));
    }
    // Who serves nobody yet gives way.
    let old = self::config(vec![relay(3), awaited("echo/tcp", &[])], vec![]).services;
    let mut config = config(vec![relay(3), awaited("echo/tcp", &[])], vec![]);
    withhold_replacements(&old, &mut config);
    assert_eq!((config.services.len(), config.withheld.len()), (2, 0));
}
