//! Two configurations, one after the other, with a line `---` between them.

use std::path::Path;
use std::rc::Rc;

use oxinetd::config::load;
use oxinetd::config::model::{Config, Service};
use oxinetd::under_test::reload::{Fate, Plan, SocketRef, plan};
use oxinetd::under_test::reload::{Loading, Serve, ServiceChange, Step};

use super::{machine, wire};

const BETWEEN: &[u8] = b"\n---\n";

/// Every socket has one place in the plan, and the services arrive as they were sent.
pub(super) fn holds(bytes: &[u8]) {
    let at = bytes.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    let (old, new) = bytes.split_at(at.unwrap_or(bytes.len()));
    let new = new.get(BETWEEN.len()..).unwrap_or_default();
    let (old, new) = (read(old), read(new));
    let plan = plan(&old.services, &new);
    every_old_socket_has_a_place(&old.services, &plan);
    every_new_socket_has_a_place(&old.services, &new.services, &plan);
    nothing_changes(&old);
    arrives(&new);
}

fn read(bytes: &[u8]) -> Config {
    let machine = machine::with_file("inetd.conf", bytes);
    load(Path::new("inetd.conf"), &[], &machine).config
}

/// The places of all sockets, in order.
fn sockets(services: &[Rc<Service>]) -> Vec<SocketRef> {
    let of = |(service, it): (usize, &Rc<Service>)| {
        (0..it.sockets.len()).map(move |socket| SocketRef { service, socket })
    };
    services.iter().enumerate().flat_map(of).collect()
}

fn every_old_socket_has_a_place(old: &[Rc<Service>], plan: &Plan) {
    let held = plan.held.iter().flat_map(|held| held.sockets.iter().copied());
    let kept = plan.kept.iter().map(|kept| kept.old);
    let mut all: Vec<SocketRef> = kept.chain(held).chain(plan.close.iter().copied()).collect();
    all.sort();
    assert_eq!(all, sockets(old), "{plan:?}");
    let before = plan.services.iter().filter_map(|fate| match fate {
        Fate::New => None,
        Fate::Unchanged(old) | Fate::Updated(old) => Some(*old),
    });
    let held = plan.held.iter().map(|held| held.old);
    let mut all: Vec<usize> = before.chain(held).chain(plan.gone.iter().copied()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..old.len()).collect::<Vec<_>>(), "{plan:?}");
}

fn every_new_socket_has_a_place(old: &[Rc<Service>], new: &[Rc<Service>], plan: &Plan) {
    let kept = plan.kept.iter().map(|kept| kept.new);
    let mut all: Vec<SocketRef> = kept.chain(plan.open.iter().copied()).collect();
    all.sort();
    assert_eq!(all, sockets(new), "{plan:?}");
    let spec = |of: &[Rc<Service>], at: SocketRef| of[at.service].sockets[at.socket].clone();
    for kept in &plan.kept {
        assert_eq!(spec(old, kept.old), spec(new, kept.new));
    }
}

/// Reading the same again is no change.
fn nothing_changes(config: &Config) {
    let plan = plan(&config.services, config);
    let unchanged = |fate: &Fate| matches!(fate, Fate::Unchanged(_));
    assert!(plan.services.iter().all(unchanged), "{plan:?}");
    assert!(plan.gone.is_empty() && plan.open.is_empty() && plan.close.is_empty(), "{plan:?}");
}

fn arrives(config: &Config) {
    let loading = || {
        let serve = |service: &Rc<Service>| {
            let what = ServiceChange::New(Rc::clone(service));
            Step::Serve(Serve { fate: Fate::New, what, sockets: Vec::new(), close: Vec::new() })
        };
        Loading { steps: config.services.iter().map(serve).collect(), ..Loading::default() }
    };
    assert_eq!(wire::received(&wire::sent(loading()), 1000), Ok(Some(loading())));
}
