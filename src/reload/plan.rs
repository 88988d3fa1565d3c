//! What a reload changes, found before anything is touched.
//!
//! A socket is recognised by its [`SocketSpec`]: one that the old and the new
//! configuration both have keeps its descriptor and its backlog, whatever else has
//! changed, `wait` included. A service goes on as the one with which it shares a
//! socket or its name behind tcpmux, so that its counters and children stay with it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::config::model::{Attributes, Config, Service, SocketSpec, TcpmuxName, Withheld};

/// One socket of one service: their places in `services` and in `sockets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SocketRef {
    /// Which service.
    pub service: usize,
    /// Which of its sockets.
    pub socket: usize,
}

/// What a new service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It was not there before.
    New,
    /// It goes on as the old service of this index, in nothing different but perhaps
    /// in its place in the file.
    Unchanged(usize),
    /// It goes on as the old service of this index, and something is different.
    Updated(usize),
}

/// A socket that stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSocket {
    /// Whose it was.
    pub old: SocketRef,
    /// Whose it is.
    pub new: SocketRef,
    /// Whether options that are set when a socket is made are different: backlog,
    /// buffer sizes, what accepted connections inherit, owner, group or mode of its file.
    /// All can be set afterwards.
    pub reapply: bool,
}

/// An old service that goes on as it was, since what should replace it is withheld.
#[derive(Debug, Clone, PartialEq)]
pub struct RetainedService {
    /// Its index.
    pub old: usize,
    /// Itself, without the sockets that a new service has taken over.
    pub service: Rc<Service>,
    /// The sockets that it keeps, in the order of `service.sockets`.
    pub sockets: Vec<SocketRef>,
}

/// The steps of a reload: first `open`, then `kept`, then `close`. Every old socket is
/// in exactly one of `kept`, `close` and the sockets of `held`, every new one in
/// exactly one of `kept` and `open`.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// What each new service is, in their order.
    pub services: Vec<Fate>,
    /// Old services that go on exactly as they were.
    pub held: Vec<RetainedService>,
    /// Old services that are no more.
    pub gone: Vec<usize>,
    /// Sockets that stay open, in the order of the new services.
    pub kept: Vec<KeptSocket>,
    /// Sockets of new services to open.
    pub open: Vec<SocketRef>,
    /// Sockets of old services to close.
    pub close: Vec<SocketRef>,
}

/// What to do so that the services of `new` are served instead of `old`. Linear in the
/// number of services and sockets.
pub fn plan(old: &[Rc<Service>], new: &Config) -> Plan {
    let mut planner = Planner::new(old);
    let named = planner.named_by_withheld(new);
    let continued = new.services.iter().map(|service| planner.continues(service, &named));
    let continued: Vec<Option<usize>> = continued.collect();
    let labels = labels_without_sockets(new);
    let mut plan = Plan::default();
    for (index, (service, continued)) in new.services.iter().zip(&continued).enumerate() {
        plan.services.push(fate(old, service, *continued));
        planner.take_sockets(service, index, &mut plan);
    }
    for (index, service) in old.iter().enumerate() {
        let stays = named.contains(&index) || labels.contains(service.label.as_str());
        if planner.claimed.contains(&index) {
            planner.drop_sockets(service, index, &mut plan);
        } else if stays {
            let held = planner.hold(service, index);
            plan.held.push(held);
        } else {
            plan.gone.push(index);
            planner.drop_sockets(service, index, &mut plan);
        }
    }
    plan
}

/// What is served does not give way to what could not be served now, since it waits for a
/// name: the new service is withheld, and the old one goes on.
pub(crate) fn withhold_replacements(old: &[Rc<Service>], new: &mut Config) {
    if new.services.iter().all(|service| service.missing_names().next().is_none()) {
        return;
    }
    let serving = old.iter().filter(|service| serves(service));
    let labels: HashSet<&str> = serving.clone().map(|service| service.label.as_str()).collect();
    let sockets: HashSet<&SocketSpec> = serving.flat_map(|service| &service.sockets).collect();
    let (waiting, services) = std::mem::take(&mut new.services).into_iter().partition(|service| {
        let replaces = service.sockets.iter().any(|spec| sockets.contains(spec))
            || service.sockets.is_empty() && labels.contains(service.label.as_str());
        !serves(service) && replaces
    });
    new.services = services;
    let withheld = |service: Rc<Service>| {
        let Service { label, id, name, sockets, tcpmux, .. } = Rc::unwrap_or_clone(service);
        let why = "it waits for a name".to_owned();
        Withheld { label, id, name, sockets, tcpmux, why }
    };
    let waiting: Vec<Rc<Service>> = waiting;
    new.withheld.extend(waiting.into_iter().map(withheld));
}

/// Whether somebody can come to it now.
fn serves(service: &Service) -> bool {
    let reachable = !service.sockets.is_empty() || service.tcpmux.is_some();
    reachable && service.missing_target().is_none()
}

/// What of the old services has not yet found its place.
struct Planner<'a> {
    old: &'a [Rc<Service>],
    sockets: HashMap<&'a SocketSpec, SocketRef>,
    tcpmux: HashMap<String, usize>,
    /// Several services may share one.
    ids: HashMap<&'a Rc<str>, Vec<usize>>,
    /// Old services that a new one continues.
    claimed: HashSet<usize>,
    /// Old sockets that a new service has.
    taken: HashSet<SocketRef>,
}

impl<'a> Planner<'a> {
    fn new(old: &'a [Rc<Service>]) -> Self {
        let mut sockets = HashMap::new();
        let mut tcpmux = HashMap::new();
        let mut ids: HashMap<_, Vec<usize>> = HashMap::new();
        for (service, it) in old.iter().enumerate() {
            for (socket, spec) in it.sockets.iter().enumerate() {
                sockets.entry(spec).or_insert(SocketRef { service, socket });
            }
            if let Some(name) = &it.tcpmux {
                tcpmux.entry(TcpmuxName::folded(&name.name)).or_insert(service);
            }
            if let Some(id) = &it.id {
                ids.entry(id).or_default().push(service);
            }
        }
        Self { old, sockets, tcpmux, ids, claimed: HashSet::new(), taken: HashSet::new() }
    }

    /// The old services that share something with a withheld one.
    fn named_by_withheld(&self, new: &Config) -> HashSet<usize> {
        let mut named = HashSet::new();
        for withheld in &new.withheld {
            let sockets = withheld.sockets.iter().filter_map(|spec| self.sockets.get(spec));
            named.extend(sockets.map(|found| found.service));
            let name = withheld.tcpmux.as_ref();
            named.extend(name.and_then(|name| self.tcpmux.get(&TcpmuxName::folded(&name.name))));
            // Where nothing is known but what it is called.
            let nameless = withheld.sockets.is_empty() && name.is_none();
            let id = withheld.id.as_ref().filter(|_| nameless);
            named.extend(id.and_then(|id| self.ids.get(id)).into_iter().flatten());
        }
        named
    }

    /// The old service as which a new one goes on: the first that shares something
    /// with it, is not held, and that no other new one continues.
    fn continues(&mut self, service: &Service, held: &HashSet<usize>) -> Option<usize> {
        let sockets = service.sockets.iter().filter_map(|spec| self.sockets.get(spec));
        let name = service
            .tcpmux
            .as_ref()
            .and_then(|name| self.tcpmux.get(&TcpmuxName::folded(&name.name)));
        let found = sockets
            .map(|found| found.service)
            .chain(name.copied())
            .find(|index| !held.contains(index) && !self.claimed.contains(index))?;
        self.claimed.insert(found);
        Some(found)
    }

    /// Keeps the sockets of a new service that are open, and plans to open the others.
    fn take_sockets(&mut self, service: &Service, index: usize, plan: &mut Plan) {
        for (socket, spec) in service.sockets.iter().enumerate() {
            let new = SocketRef { service: index, socket };
            let Some(&found) = self.sockets.get(spec).filter(|found| !self.taken.contains(found))
            else {
                plan.open.push(new);
                continue;
            };
            self.taken.insert(found);
            let before = self.old.get(found.service);
            let options = |it: &Service| {
                let Attributes { socket, front, .. } = &*it.attributes;
                (socket.clone(), front.lets_clients_begin(), it.is_read_here())
            };
            let reapply = before.is_none_or(|before| options(before) != options(service));
            plan.kept.push(KeptSocket { old: found, new, reapply });
        }
    }

    /// Closes the sockets of an old service that no new one has.
    fn drop_sockets(&self, service: &Service, index: usize, plan: &mut Plan) {
        let sockets = (0..service.sockets.len()).map(|socket| SocketRef { service: index, socket });
        plan.close.extend(sockets.filter(|socket| !self.taken.contains(socket)));
    }

    /// Lets an old service go on with the sockets that no new one has.
    fn hold(&self, service: &Rc<Service>, index: usize) -> RetainedService {
        let all = service.sockets.iter().enumerate();
        let (sockets, specs): (Vec<_>, Vec<_>) = all
            .map(|(socket, spec)| (SocketRef { service: index, socket }, spec.clone()))
            .filter(|(socket, _)| !self.taken.contains(socket))
            .unzip();
        let service = if specs.len() == service.sockets.len() {
            Rc::clone(service)
        } else {
            Rc::new(Service { sockets: specs, ..(**service).clone() })
        };
        RetainedService { old: index, service, sockets }
    }
}

/// The labels of withheld services of which no socket is known (a host name without an
/// address now): nothing else is left to recognise them by.
fn labels_without_sockets(new: &Config) -> HashSet<&str> {
    let unknown = new.withheld.iter().filter(|it| it.sockets.is_empty() && it.tcpmux.is_none());
    unknown.map(|it| it.label.as_str()).collect()
}

/// A client's spelling of the name does not matter (RFC 1078).
fn fate(old: &[Rc<Service>], service: &Service, continued: Option<usize>) -> Fate {
    match continued.and_then(|index| Some((index, old.get(index)?))) {
        None => Fate::New,
        Some((index, before)) if same(before, service) => Fate::Unchanged(index),
        Some((index, _)) => Fate::Updated(index),
    }
}

/// Equal in everything but the place in the file. The pattern makes the compiler ask
/// about every new field.
fn same(a: &Service, b: &Service) -> bool {
    let Service {
        label,
        id,
        name,
        origin: _,
        socket_type,
        sockets,
        awaited,
        tcpmux,
        wait,
        action,
        account,
        attributes,
    } = a;
    *label == b.label
        && *id == b.id
        && *name == b.name
        && *socket_type == b.socket_type
        && *sockets == b.sockets
        && *awaited == b.awaited
        && *tcpmux == b.tcpmux
        && *wait == b.wait
        && *action == b.action
        && *account == b.account
        && *attributes == b.attributes
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
