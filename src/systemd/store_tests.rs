use std::net::UdpSocket;
use std::rc::Rc;

use crate::config::model::{Account, Attributes, Builtin, Origin, Program};
use crate::systemd::store::*;

fn inet(socket_type: SocketType, address: &str) -> SocketSpec {
    let endpoint = Endpoint::Inet(address.parse().unwrap());
    SocketSpec { socket_type, endpoint, device: None }
}

fn stream(address: &str) -> SocketSpec {
    inet(SocketType::Stream, address)
}

fn service(label: &str, sockets: Vec<SocketSpec>) -> Service {
    Service {
        label: label.to_owned(),
        id: None,
        name: None,
        origin: Origin::default(),
        socket_type: sockets[0].socket_type,
        sockets,
        awaited: Vec::new(),
        tcpmux: None,
        wait: false,
        action: Action::Program(Program { path: "/bin/cat".into(), argv: vec!["cat".into()] }),
        account: Rc::new(Account::default()),
        attributes: Rc::new(Attributes::default()),
    }
}

/// Any descriptor will do: what it is has been found out before.
fn store(held: &[(&SocketSpec, &str, bool)]) -> Store {
    let mut store = Store::default();
    for (spec, name, takes_ipv4) in held {
        let descriptor = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let (spec, name, takes_ipv4) = ((*spec).clone(), (*name).to_owned(), *takes_ipv4);
        store.add(Inherited { descriptor, spec, takes_ipv4, name });
    }
    store
}

/// What the first socket of a service is offered: the endpoint, or the kind of answer.
fn offered(store: &mut Store, service: &Service) -> Result<Endpoint, &'static str> {
    claimed(store, &service.sockets[0], service).map(|(_, endpoint)| endpoint)
}

fn claimed(
    store: &mut Store,
    spec: &SocketSpec,
    service: &Service,
) -> Result<(OwnedFd, Endpoint), &'static str> {
    match store.claim(spec, service) {
        Claim::Socket(descriptor, endpoint) => Ok((descriptor, endpoint)),
        Claim::None => Err("none"),
        Claim::Covered => Err("covered"),
        Claim::Unfit(_) => Err("unfit"),
    }
}

#[test]
fn a_socket_goes_to_the_service_of_its_address_and_type() {
    let held = stream("127.0.0.1:80");
    let mut store = store(&[(&held, "unknown", false)]);
    for other in [
        stream("127.0.0.1:81"),
        stream("127.0.0.2:80"),
        stream("0.0.0.0:80"),
        inet(SocketType::Dgram, "127.0.0.1:80"),
        SocketSpec { device: Some("lo".to_owned()), ..held.clone() },
    ] {
        let other = service("web/tcp", vec![other]);
        assert_eq!(offered(&mut store, &other), Err("none"), "{other:?}");
    }
    let web = service("web/tcp", vec![held.clone()]);
    let (descriptor, endpoint) = claimed(&mut store, &held, &web).unwrap();
    assert_eq!(endpoint, held.endpoint);
    assert_eq!(offered(&mut store, &web), Err("none"), "somebody has it");
    store.put_back(descriptor, false, false);
    assert_eq!(offered(&mut store, &web), Ok(held.endpoint));
}

#[test]
fn a_name_gives_a_service_a_socket_of_another_address() {
    for label in ["web/tcp", "web"] {
        let held = stream("127.0.0.1:8080");
        let mut store = store(&[(&held, label, false)]);
        let other = service("other/tcp", vec![stream("127.0.0.1:80")]);
        assert_eq!(offered(&mut store, &other), Err("none"));
        let six = service("web/tcp", vec![stream("[::1]:80")]);
        assert_eq!(offered(&mut store, &six), Err("none"), "another family");
        let datagrams = service("web/tcp", vec![inet(SocketType::Dgram, "127.0.0.1:80")]);
        assert_eq!(offered(&mut store, &datagrams), Err("none"), "another type");
        let web = service("web/tcp", vec![stream("127.0.0.1:80")]);
        assert_eq!(offered(&mut store, &web), Ok(held.endpoint));
    }
}

#[test]
fn an_id_of_xinetd_is_a_name_too() {
    let held = stream("127.0.0.1:8080");
    let mut store = store(&[(&held, "hello", false)]);
    let hello = service("80/tcp", vec![stream("127.0.0.1:80")]);
    assert_eq!(offered(&mut store, &hello), Err("none"));
    let hello = Service { id: Some("hello".into()), ..hello };
    assert_eq!(offered(&mut store, &hello), Ok(held.endpoint));
}

#[test]
fn an_address_goes_before_a_name() {
    let (one, two) = (stream("127.0.0.1:81"), stream("127.0.0.1:82"));
    let mut store = store(&[(&two, "web", false), (&one, "web", false)]);
    let web = service("web/tcp", vec![stream("127.0.0.1:80"), one.clone(), two.clone()]);
    assert_eq!(offered(&mut store, &web), Err("none"), "both belong to other addresses of it");
    assert_eq!(claimed(&mut store, &one, &web).map(|(_, at)| at), Ok(one.endpoint.clone()));
    assert_eq!(claimed(&mut store, &two, &web).map(|(_, at)| at), Ok(two.endpoint.clone()));
}

#[test]
fn a_path_is_a_unix_services_name_too() {
    let at = |path: &str| SocketSpec {
        socket_type: SocketType::Stream,
        endpoint: Endpoint::Unix(path.into()),
        device: None,
    };
    let mut store = store(&[(&at("/run/a"), "unknown", false), (&at("/run/b"), "/run/c", false)]);
    let unix = |path: &str| service(path, vec![at(path)]);
    assert_eq!(offered(&mut store, &unix("/run/a")), Ok(at("/run/a").endpoint));
    assert_eq!(offered(&mut store, &unix("/run")), Err("none"));
    assert_eq!(offered(&mut store, &unix("/run/c")), Ok(at("/run/b").endpoint));
}

#[test]
fn one_ipv6_socket_for_both_families_is_enough_for_both() {
    let (four, six) = (stream("0.0.0.0:80"), stream("[::]:80"));
    let both = service("80/tcp", vec![four.clone(), six.clone()]);
    let mut wide = store(&[(&six, "unknown", true)]);
    assert_eq!(offered(&mut wide, &both), Err("covered"));
    assert!(claimed(&mut wide, &six, &both).is_ok());
    assert_eq!(offered(&mut wide, &both), Err("covered"), "lent or not");
    let ipv4_only = service("80/tcp", vec![four]);
    assert_eq!(offered(&mut wide, &ipv4_only), Err("none"), "it asks for less");
    let mut narrow = store(&[(&six, "unknown", false)]);
    assert_eq!(offered(&mut narrow, &both), Err("none"));
}

#[test]
fn a_program_per_peer_cannot_have_one() {
    let held = inet(SocketType::Dgram, "127.0.0.1:80");
    let mut store = store(&[(&held, "unknown", false)]);
    let per_peer = service("80/udp", vec![held.clone()]);
    assert_eq!(offered(&mut store, &per_peer), Err("unfit"));
    let builtin = Service { action: Action::Builtin(Builtin::Echo), ..per_peer.clone() };
    let (descriptor, _) = claimed(&mut store, &held, &builtin).unwrap();
    store.put_back(descriptor, false, false);
    assert_eq!(offered(&mut store, &Service { wait: true, ..per_peer }), Ok(held.endpoint));
}

#[test]
fn what_nobody_claims_is_said_once() {
    let (one, two) = (stream("127.0.0.1:81"), stream("127.0.0.1:82"));
    let mut store = store(&[(&one, "one", false), (&two, "two", false)]);
    let web = service("web/tcp", vec![one.clone()]);
    let (descriptor, _) = claimed(&mut store, &one, &web).unwrap();
    let nobody = |_: &SocketSpec| false;
    assert_eq!(store.unclaimed(nobody), [(two, "two".to_owned())]);
    assert_eq!(store.unclaimed(nobody), []);
    store.put_back(descriptor, false, false);
    assert_eq!(store.unclaimed(|spec| *spec == one), [], "a service that was stopped");
    assert_eq!(store.unclaimed(nobody), [(one, "one".to_owned())]);
}

#[test]
fn one_that_a_program_has_had_is_not_accepted_from() {
    let held = stream("127.0.0.1:80");
    let mut store = store(&[(&held, "unknown", false)]);
    let accepting = service("80/tcp", vec![held.clone()]);
    let waiting = Service { wait: true, ..accepting.clone() };
    let (descriptor, _) = claimed(&mut store, &held, &waiting).unwrap();
    store.put_back(descriptor, true, false);
    assert_eq!(offered(&mut store, &accepting), Err("unfit"));
    let (descriptor, _) = claimed(&mut store, &held, &waiting).unwrap();
    store.put_back(descriptor, false, false);
    assert_eq!(offered(&mut store, &accepting), Err("unfit"), "that does not pass");
}
