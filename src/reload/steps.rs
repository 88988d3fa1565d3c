//! What a reload does, service by service: a plan cut into steps, each of which takes one
//! service from the old configuration to the new one. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::plan::{Fate, Plan, SocketRef};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::model::{
    Config, Endpoint, LogFile, Names, NotServed, Origin, Service, SocketType,
};

/// A finding about the configuration, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedFinding {
    /// How bad.
    pub severity: Severity,
    /// In one line, for the log.
    pub line: String,
    /// In several, with the place and what would be right, for a terminal.
    pub rendered: String,
    /// The old service that goes on as it was, if that is what it says: whether it is open
    /// now is for the server to know.
    pub held: Option<usize>,
}

impl LoadedFinding {
    /// What the reader of configurations has found.
    #[must_use]
    pub fn of(diagnostic: &Diagnostic) -> Self {
        Self {
            severity: diagnostic.severity,
            line: diagnostic.one_line(),
            rendered: diagnostic.render(),
            held: None,
        }
    }

    /// What there is a warning about in the new configuration is served as in the old one: the
    /// service of this place and label.
    #[must_use]
    pub fn goes_on(old: usize, label: &str) -> Self {
        let message = format!("{label} is running and goes on as it was");
        Self { held: Some(old), ..Self::warning(message) }
    }

    /// The same of all who do; none where nobody does.
    #[must_use]
    pub fn go_on(labels: &[&str]) -> Option<Self> {
        let message = match labels {
            [] => return None,
            [label] => format!("{label} is running and goes on as it was"),
            _ => format!("{} are running and go on as they were", listed(labels)),
        };
        Some(Self::warning(message))
    }

    /// The same of those that nobody has reached so far.
    #[must_use]
    pub fn go_on_trying(labels: &[&str]) -> Option<Self> {
        let message = match labels {
            [] => return None,
            [label] => format!("{label} is not open: it is tried again as it was"),
            _ => format!("{} are not open: they are tried again as they were", listed(labels)),
        };
        Some(Self::warning(message))
    }

    fn warning(message: String) -> Self {
        Self::of(&Diagnostic {
            severity: Severity::Warning,
            span: None,
            message,
            help: None,
            related: None,
            also: Vec::new(),
            contained: false,
            of_the_machine: false,
        })
    }

    /// An error of the reading itself.
    #[must_use]
    pub fn error(message: &str) -> Self {
        let line = format!("error: {message}");
        Self { severity: Severity::Error, rendered: line.clone(), line, held: None }
    }
}

/// So many services are named.
const LISTED: usize = 12;

/// `a, b and c`, or some of many.
fn listed(labels: &[&str]) -> String {
    match (labels.split_last(), labels.get(..LISTED)) {
        (_, Some(some)) if labels.len() > LISTED => {
            format!("{} and {} more", some.join(", "), labels.len().saturating_sub(LISTED))
        }
        (Some((last, first)), _) => format!("{} and {last}", first.join(", ")),
        (None, _) => String::new(),
    }
}

/// What the server has to know of all services together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// UDP ports of services, of which the guard against loops knows.
    pub own_ports: Vec<u16>,
    /// Names of unix datagram sockets of services, likewise.
    pub own_names: Vec<Endpoint>,
    /// This machine's directed broadcast addresses, likewise.
    pub broadcasts: Vec<Ipv4Addr>,
    /// Somebody has `access_times`.
    pub asks_for_time: bool,
    /// Somebody has `max_load`.
    pub asks_for_load: bool,
    /// What is not served, since it lacks something on this machine now or is wrong.
    pub not_served: Vec<NotServed>,
}

/// What has been read, and what follows from it.
#[derive(Debug, Default, PartialEq)]
pub struct Loading {
    /// All there is to say about the configuration.
    pub findings: Vec<LoadedFinding>,
    /// How many of them are errors; at a reload those alone for which it is refused.
    pub errors: usize,
    /// How many services the new configuration serves.
    pub services: usize,
    /// The files that its services have for their lines.
    pub log_files: Vec<LogFile>,
    /// What is to be done, in this order. Empty after an error at a reload.
    pub steps: Vec<Step>,
    /// How many services go on with something different.
    pub updated: usize,
    /// What it comes to all together.
    pub overview: Overview,
    /// What the names in it are, as far as that is known.
    pub names: Names,
}

/// One step. Old services are meant by their places in the old configuration.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Services in a row that go on as they are.
    Same {
        /// The first.
        first: usize,
        /// How many.
        count: usize,
    },
    /// A service of the new configuration.
    Serve(Serve),
    /// An old service goes on as it was, with these of its sockets.
    Hold {
        /// Which.
        old: usize,
        /// Its sockets that no new service has taken over.
        sockets: Vec<SocketRef>,
    },
    /// An old service is no more.
    Remove {
        /// Which.
        old: usize,
        /// Its sockets that no new service has taken over.
        close: Vec<usize>,
    },
}

/// How a service of the new configuration comes to be served.
#[derive(Debug, PartialEq)]
pub struct Serve {
    /// Whether it goes on as an old one.
    pub fate: Fate,
    /// What it is now.
    pub what: ServiceChange,
    /// Where each of its sockets comes from, in their order.
    pub sockets: Vec<From>,
    /// Sockets of the old one that nobody has any more.
    pub close: Vec<usize>,
}

/// What a service is now.
#[derive(Debug, PartialEq)]
pub enum ServiceChange {
    /// What it was, said at this place.
    Moved(Origin),
    /// This.
    New(Rc<Service>),
}

/// Where a socket comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    /// It is to be opened.
    Open,
    /// It is open.
    Keep {
        /// Whose it was.
        old: SocketRef,
        /// As [`super::plan::KeptSocket::reapply`].
        reapply: bool,
    },
}

/// Cuts a plan into steps: new services in the order of the file, then those that are
/// held, then those that go.
pub(super) fn cut(old: &[Rc<Service>], new: Config, plan: &Plan) -> Vec<Step> {
    let mut sockets = sources(&new, plan);
    let mut close: HashMap<usize, Vec<usize>> = HashMap::new();
    for at in &plan.close {
        close.entry(at.service).or_default().push(at.socket);
    }
    let mut steps = Vec::new();
    let services = new.services.into_iter().zip(&plan.services).zip(sockets.drain(..));
    for ((service, fate), sockets) in services {
        let before = match *fate {
            Fate::New => None,
            Fate::Unchanged(index) | Fate::Updated(index) => Some(index),
        };
        let close = before.and_then(|index| close.remove(&index)).unwrap_or_default();
        push(&mut steps, old, (service, *fate), (sockets, close));
    }
    steps.extend(
        plan.held.iter().map(|held| Step::Hold { old: held.old, sockets: held.sockets.clone() }),
    );
    let remove = |&old| Step::Remove { old, close: close.remove(&old).unwrap_or_default() };
    steps.extend(plan.gone.iter().map(remove));
    steps
}

fn push(
    steps: &mut Vec<Step>,
    old: &[Rc<Service>],
    (service, fate): (Rc<Service>, Fate),
    (sockets, close): (Vec<From>, Vec<usize>),
) {
    let same = match fate {
        Fate::Unchanged(index) if close.is_empty() => Some(index),
        _ => None,
    };
    let before = same.and_then(|index| Some((index, old.get(index)?)));
    if let Some((index, before)) = before
        && before.origin == service.origin
        && !service.attributes.are_prepared_anew()
        && sockets.iter().enumerate().all(|(place, from)| is_its_own(*from, index, place))
    {
        match steps.last_mut() {
            Some(Step::Same { first, count }) if *first + *count == index => *count += 1,
            _ => steps.push(Step::Same { first: index, count: 1 }),
        }
        return;
    }
    let what = match fate {
        Fate::Unchanged(_) => ServiceChange::Moved(service.origin.clone()),
        Fate::New | Fate::Updated(_) => ServiceChange::New(service),
    };
    steps.push(Step::Serve(Serve { fate, what, sockets, close }));
}

fn is_its_own(from: From, service: usize, socket: usize) -> bool {
    from == From::Keep { old: SocketRef { service, socket }, reapply: false }
}

/// For each new service where its sockets come from.
fn sources(new: &Config, plan: &Plan) -> Vec<Vec<From>> {
    let services = new.services.iter();
    let mut sources: Vec<_> = services.map(|it| vec![From::Open; it.sockets.len()]).collect();
    for kept in &plan.kept {
        let place = sources.get_mut(kept.new.service).and_then(|it| it.get_mut(kept.new.socket));
        if let Some(place) = place {
            *place = From::Keep { old: kept.old, reapply: kept.reapply };
        }
    }
    sources
}

/// How many services go on with something different.
pub(super) fn count_updated(plan: &Plan) -> usize {
    plan.services.iter().filter(|fate| matches!(fate, Fate::Updated(_))).count()
}

/// All services from then on, those included that go on as before.
fn all<'a>(new: &'a Config, plan: &'a Plan) -> impl Iterator<Item = &'a Rc<Service>> {
    new.services.iter().chain(plan.held.iter().map(|held| &held.service))
}

/// What is known of all services; the broadcast addresses are the machine's.
pub(super) fn look_over(new: &Config, plan: &Plan) -> Overview {
    let attributes = || all(new, plan).map(|service| &service.attributes);
    let (mut own_ports, mut own_names) = (BTreeSet::new(), BTreeSet::new());
    let sockets = all(new, plan).flat_map(|service| &service.sockets);
    for spec in sockets.filter(|spec| spec.socket_type == SocketType::Dgram) {
        match &spec.endpoint {
            Endpoint::Inet(address) => _ = own_ports.insert(address.port()),
            name => _ = own_names.insert(name.clone()),
        }
    }
    let awaited = all(new, plan)
        .filter(|service| service.socket_type == SocketType::Dgram)
        .flat_map(|service| &service.awaited)
        .flat_map(|awaited| awaited.ports.0..=awaited.ports.1);
    own_ports.extend(awaited);
    Overview {
        own_ports: own_ports.into_iter().collect(),
        own_names: own_names.into_iter().collect(),
        broadcasts: Vec::new(),
        asks_for_time: attributes().any(|it| it.access.access_times.is_some()),
        asks_for_load: attributes().any(|it| it.limits.max_load.is_some()),
        not_served: not_served(new, plan),
    }
}

/// Those of which not even an old service goes on.
fn not_served(new: &Config, plan: &Plan) -> Vec<NotServed> {
    let held: BTreeSet<&str> = plan.held.iter().map(|held| held.service.label.as_str()).collect();
    new.not_served().filter(|one| !held.contains(one.label.as_str())).collect()
}

/// The files for lines that services name, those included that go on as before.
pub(super) fn log_files(new: &Config, plan: &Plan) -> Vec<LogFile> {
    let named = all(new, plan).filter_map(|service| service.attributes.log.file.as_deref());
    let mut known: BTreeSet<(&Path, Option<u64>, Option<u64>)> = BTreeSet::new();
    named.filter(|file| known.insert((&file.path, file.soft, file.hard))).cloned().collect()
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
