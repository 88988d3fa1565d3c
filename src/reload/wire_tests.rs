//! What is sent arrives, whole, and shared as it was.

use std::net::{SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::config::model::{
    Action, Awaited, Banner, Endpoint, Known, Program, RelayTarget, SocketSpec, SocketType, Sought,
    parse_item,
};
use crate::reload::Overview;
use crate::reload::wire::*;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

fn not_utf8() -> PathBuf {
    std::ffi::OsString::from_vec(b"/tmp/\xff\xfe".to_vec()).into()
}

fn attributes(list: &Rc<[Prefix]>) -> Attributes {
    let mut all = Attributes::default();
    all.access.only_from = Some(Rc::clone(list));
    all.access.no_access = Rc::clone(list);
    all.front.proxy_from = Rc::clone(list);
    all.access.access_times = crate::config::model::AccessTimes::parse("8:00-18:00").ok();
    all.process.chdir = Some(not_utf8());
    all.process.env = vec![("A".to_owned(), not_utf8().into())];
    all.limits.max_load = Some(1.5);
    all.banners.all = Some(Rc::new(Banner { path: not_utf8(), text: vec![0, 255, 10] }));
    all.log.file = Some(Rc::new(LogFile { path: not_utf8(), soft: Some(1), hard: None }));
    all
}

/// Nowhere without its scope.
fn scoped(port: u16) -> SocketAddr {
    SocketAddrV6::new("fe80::1".parse().unwrap(), port, 0, 4).into()
}

fn service(n: u16, account: &Rc<Account>, attributes: &Rc<Attributes>) -> Service {
    let endpoint = match n % 3 {
        0 => Endpoint::Inet(scoped(n)),
        1 => Endpoint::Unix(not_utf8()),
        _ => Endpoint::Abstract(vec![0xff, 0]),
    };
    Service {
        label: format!("{n}/tcp"),
        id: n.is_multiple_of(2).then(|| "id".into()),
        name: n.is_multiple_of(3).then(|| "name".into()),
        origin: Origin { file: "etc/inetd.conf".into(), line: n.into() },
        socket_type: SocketType::Stream,
        sockets: vec![SocketSpec { socket_type: SocketType::Stream, endpoint, device: None }],
        awaited: vec![Awaited {
            name: "db".to_owned(),
            what: Sought::HostOrDevice,
            ports: (n, n),
            families: (true, false),
        }],
        tcpmux: None,
        wait: false,
        action: action(n),
        account: Rc::clone(account),
        attributes: Rc::clone(attributes),
    }
}

fn action(n: u16) -> Action {
    if n.is_multiple_of(5) {
        let addresses = vec![([127, 0, 0, 1], n).into(), scoped(n)];
        return Action::Relay(RelayTarget::Inet { host: "there".to_owned(), port: 80, addresses });
    }
    Action::Program(Program { path: not_utf8(), argv: vec!["echo".into(), not_utf8().into()] })
}

fn serve(service: Service) -> Step {
    let old = SocketRef { service: 3, socket: 1 };
    Step::Serve(Serve {
        fate: Fate::Updated(3),
        what: ServiceChange::New(Rc::new(service)),
        sockets: vec![From::Open, From::Keep { old, reapply: true }],
        close: vec![7],
    })
}

/// A configuration whose services share what services share.
fn loading(services: u16, addresses: usize) -> Loading {
    let account = Rc::new(Account { name: "nobody".to_owned(), ..Account::default() });
    let prefix = parse_item("10.1.0.0/16").unwrap()[0];
    let list: Rc<[Prefix]> = vec![prefix; addresses].into();
    let mut nice = attributes(&list);
    nice.process.nice = 1;
    let two = [Rc::new(attributes(&list)), Rc::new(nice)];
    let each = (0..services).map(|n| serve(service(n, &account, &two[usize::from(n % 2)])));
    let mut steps: Vec<Step> = each.collect();
    steps.push(Step::Same { first: 1, count: 1_000_000 });
    let origin = Origin { file: "other.conf".into(), line: 9 };
    steps.push(Step::Serve(Serve {
        fate: Fate::Unchanged(0),
        what: ServiceChange::Moved(origin),
        sockets: vec![],
        close: vec![],
    }));
    steps.push(Step::Hold { old: 5, sockets: vec![SocketRef { service: 5, socket: 2 }] });
    steps.push(Step::Remove { old: 6, close: vec![0, 1] });
    let own_ports = vec![7, 9];
    Loading {
        findings: vec![LoadedFinding::error("what it says")],
        errors: 1,
        services: services.into(),
        log_files: vec![LogFile { path: not_utf8(), soft: None, hard: Some(9) }],
        steps,
        updated: 4,
        overview: Overview { own_ports, asks_for_load: true, ..Overview::default() },
        names: [("eth9".to_owned(), Known::Device(7))].into(),
    }
}

fn sent(loading: Loading) -> Vec<u8> {
    let mut bytes = Vec::new();
    Sender::new(&mut bytes).send(loading).unwrap();
    bytes
}

fn received(bytes: &[u8], portion: usize) -> Option<Loading> {
    let mut receiver = Receiver::default();
    for portion in bytes.chunks(portion) {
        receiver.take(portion).unwrap();
    }
    receiver.finish()
}

fn parts(loading: &Loading) -> Vec<Rc<Service>> {
    let services = loading.steps.iter().filter_map(|step| match step {
        Step::Serve(Serve { what: ServiceChange::New(service), .. }) => Some(Rc::clone(service)),
        _ => None,
    });
    services.collect()
}

#[test]
fn what_arrives_is_what_was_sent_in_whatever_portions() {
    let bytes = sent(loading(10, 3000));
    for portion in [1, 7, 4096, bytes.len()] {
        assert_eq!(received(&bytes, portion), Some(loading(10, 3000)), "{portion}");
    }
}

#[test]
fn what_services_shared_they_share_again() {
    let loading = received(&sent(loading(10, 0)), 100).unwrap();
    let services = parts(&loading);
    for (n, service) in services.iter().enumerate() {
        let first = &services[n % 2];
        assert!(Rc::ptr_eq(&service.account, &services[0].account));
        assert!(Rc::ptr_eq(&service.attributes, &first.attributes));
        assert!(Rc::ptr_eq(&service.origin.file, &services[0].origin.file));
        let list = service.attributes.access.only_from.as_ref().unwrap();
        assert!(Rc::ptr_eq(list, services[0].attributes.access.only_from.as_ref().unwrap()));
        assert!(list.is_empty());
    }
}

#[test]
fn a_service_more_takes_little_more() {
    let more = sent(loading(1000, 10_000)).len() - sent(loading(500, 10_000)).len();
    assert!(more / 500 < 120, "{} bytes for each service", more / 500);
}

#[test]
fn a_part_is_not_taken_for_the_whole() {
    let bytes = sent(loading(3, 3));
    for end in 0..bytes.len() {
        assert_eq!(received(&bytes[..end], 64), None, "{end}");
    }
}

#[test]
fn too_much_is_refused() {
    let mut receiver = Receiver::default();
    let zeros = vec![0xff; 1 << 20];
    let results: Vec<_> = (0..65).map(|_| receiver.take(&zeros)).collect();
    assert_eq!(results.last(), Some(&Err("it is larger than 64 MiB".to_owned())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn noise_is_refused_without_a_panic(noise: Vec<u8>, at in any::<proptest::sample::Index>()) {
        let mut bytes = sent(loading(2, 2));
        let at = at.index(bytes.len());
        bytes.splice(at..at, noise.iter().copied());
        let mut receiver = Receiver::default();
        let _ = receiver.take(&bytes);
        if let Some(loading) = receiver.finish() {
            prop_assert!(loading.steps.len() <= bytes.len());
        }
    }
}
