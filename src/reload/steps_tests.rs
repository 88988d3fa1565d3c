//! Plans cut into steps, by example and by property.

use std::collections::{HashMap, HashSet};

use crate::config::model::{
    Action, Attributes, Builtin, Endpoint, Paths, SocketSpec, SocketType, Withheld,
};
use crate::reload::plan::plan;
use crate::reload::steps::*;
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

fn spec(port: u16) -> SocketSpec {
    let endpoint = Endpoint::Inet(([127, 0, 0, 1], port).into());
    SocketSpec { socket_type: SocketType::Stream, endpoint, device: None }
}

fn service(ports: &[u16], wait: bool, line: u32) -> Service {
    Service {
        label: "echo/tcp".to_owned(),
        id: None,
        name: None,
        origin: Origin { line, ..Origin::default() },
        socket_type: SocketType::Stream,
        sockets: ports.iter().map(|port| spec(*port)).collect(),
        awaited: Vec::new(),
        tcpmux: None,
        wait,
        action: Action::Builtin(Builtin::Echo),
        account: Rc::default(),
        attributes: Rc::default(),
    }
}

fn config(services: Vec<Service>, withheld: Vec<Withheld>) -> Config {
    let services = services.into_iter().map(Rc::new).collect();
    Config { services, withheld, ..Config::default() }
}

fn steps_of(old: Vec<Service>, new: Vec<Service>) -> Vec<Step> {
    let (old, new) = (config(old, vec![]).services, config(new, vec![]));
    let plan = plan(&old, &new);
    cut(&old, new, &plan)
}

fn many(lines: impl Iterator<Item = u32>) -> Vec<Service> {
    (1..).zip(lines).map(|(port, line)| service(&[port], false, line)).collect()
}

#[test]
fn however_many_are_the_same_it_is_one_step() {
    assert_eq!(steps_of(many(1..1001), many(1..1001)), [Step::Same { first: 0, count: 1000 }]);
    assert_eq!(steps_of(vec![], vec![]), []);
}

#[test]
fn a_change_in_the_middle_is_one_more() {
    let mut new = many(1..1001);
    new[500].wait = true;
    let steps = steps_of(many(1..1001), new);
    let [Step::Same { first: 0, count: 500 }, Step::Serve(serve), rest] = &steps[..] else {
        panic!("{steps:?}");
    };
    assert_eq!((serve.fate, serve.close.len()), (Fate::Updated(500), 0));
    assert_eq!(*rest, Step::Same { first: 501, count: 499 });
}

#[test]
fn a_line_put_before_them_moves_services_and_nothing_else() {
    let steps = steps_of(many(1..4), many(2..5));
    for ((n, step), line) in steps.iter().enumerate().zip(2..) {
        let Step::Serve(Serve { fate, what: ServiceChange::Moved(origin), sockets, close }) = step
        else {
            panic!("{step:?}");
        };
        assert_eq!((*fate, origin.line, close.len()), (Fate::Unchanged(n), line, 0));
        let old = SocketRef { service: n, socket: 0 };
        assert_eq!(*sockets, [From::Keep { old, reapply: false }]);
    }
}

#[test]
fn what_depends_on_the_machine_is_done_again() {
    let paths = Paths { list: vec!["/usr".into()], optional: false };
    let mut attributes = Attributes::default();
    attributes.sandbox.read_only = paths;
    let attributes = Rc::new(attributes);
    let confined =
        || vec![Service { attributes: Rc::clone(&attributes), ..service(&[1], false, 1) }];
    let steps = steps_of(confined(), confined());
    assert!(matches!(&steps[..], [Step::Serve(_)]), "{steps:?}");
}

#[test]
fn log_files_are_named_once() {
    let file = |path: &str| LogFile { path: path.into(), soft: None, hard: None };
    let with = |path: &str, port| {
        let mut attributes = Attributes::default();
        attributes.log.file = Some(Rc::new(file(path)));
        Service { attributes: Rc::new(attributes), ..service(&[port], false, 1) }
    };
    let new = config(vec![with("/a", 1), with("/b", 2), with("/a", 3)], vec![]);
    assert_eq!(log_files(&new, &plan(&[], &new)), [file("/a"), file("/b")]);
}

/// Services on few ports, so that they often share some.
fn services() -> impl Strategy<Value = Vec<Service>> {
    let ports = proptest::collection::vec(1u16..16, 1..4);
    proptest::collection::vec((ports, proptest::bool::ANY, 1u32..4), 0..8).prop_map(|all| {
        let mut used = HashSet::new();
        all.into_iter()
            .map(|(ports, wait, line)| {
                let own: Vec<u16> = ports.into_iter().filter(|port| used.insert(*port)).collect();
                service(&own, wait, line)
            })
            .filter(|service| !service.sockets.is_empty())
            .collect()
    })
}

/// What is served after all steps: each service, and for each socket whose it was.
fn after(old: &[Rc<Service>], steps: &[Step]) -> Vec<(Service, Vec<Option<SocketRef>>)> {
    let mut served = Vec::new();
    let own = |service: usize| {
        let sockets = 0..old[service].sockets.len();
        sockets.map(|socket| Some(SocketRef { service, socket })).collect::<Vec<_>>()
    };
    for step in steps {
        match step {
            Step::Same { first, count } => {
                for (index, service) in old.iter().enumerate().skip(*first).take(*count) {
                    served.push(((**service).clone(), own(index)));
                }
            }
            Step::Serve(Serve { fate, what, sockets, .. }) => {
                let service = match (what, fate) {
                    (ServiceChange::New(service), _) => (**service).clone(),
                    (ServiceChange::Moved(origin), Fate::Unchanged(index)) => {
                        Service { origin: origin.clone(), ..(*old[*index]).clone() }
                    }
                    other => panic!("{other:?}"),
                };
                let from = |from: &From| match from {
                    From::Open => None,
                    From::Keep { old, .. } => Some(*old),
                };
                served.push((service, sockets.iter().map(from).collect()));
            }
            Step::Hold { old: index, sockets } => {
                let specs = sockets.iter().map(|at| old[*index].sockets[at.socket].clone());
                let service = Service { sockets: specs.collect(), ..(*old[*index]).clone() };
                served.push((service, sockets.iter().map(|at| Some(*at)).collect()));
            }
            Step::Remove { .. } => {}
        }
    }
    served
}

fn closed(steps: &[Step]) -> Vec<SocketRef> {
    let of = |service: usize, close: &[usize]| {
        close.iter().map(|&socket| SocketRef { service, socket }).collect::<Vec<_>>()
    };
    let each = steps.iter().flat_map(|step| match step {
        Step::Serve(Serve { fate: Fate::Unchanged(old) | Fate::Updated(old), close, .. })
        | Step::Remove { old, close } => of(*old, close),
        _ => Vec::new(),
    });
    each.collect()
}

proptest! {
    #[test]
    fn the_steps_lead_from_the_old_to_the_new(
        old in services(), new in services(),
        lacking in proptest::collection::vec(1u16..16, 0..3),
    ) {
        let withheld = lacking.iter().map(|port| Withheld {
            label: "lacking/tcp".to_owned(), id: None, name: None, sockets: vec![spec(*port)],
            tcpmux: None, why: String::new(),
        });
        let old = config(old, vec![]).services;
        let new = config(new, withheld.collect());
        let wanted: Vec<Service> = new.services.iter().map(|it| (**it).clone()).collect();
        let plan = plan(&old, &new);
        let steps = cut(&old, new, &plan);
        let after = after(&old, &steps);
        let services: Vec<&Service> = after.iter().take(wanted.len()).map(|(it, _)| it).collect();
        prop_assert_eq!(services, wanted.iter().collect::<Vec<_>>());
        prop_assert_eq!(after.len(), wanted.len() + plan.held.len());
        let mut places: HashMap<SocketRef, u32> = HashMap::new();
        for (service, sockets) in &after {
            prop_assert_eq!(service.sockets.len(), sockets.len());
            for (spec, from) in service.sockets.iter().zip(sockets) {
                if let Some(from) = from {
                    prop_assert_eq!(&old[from.service].sockets[from.socket], spec);
                    *places.entry(*from).or_default() += 1;
                }
            }
        }
        for at in closed(&steps) {
            *places.entry(at).or_default() += 1;
        }
        let sockets: usize = old.iter().map(|service| service.sockets.len()).sum();
        prop_assert_eq!(places.len(), sockets);
        prop_assert!(places.values().all(|times| *times == 1));
    }
}
