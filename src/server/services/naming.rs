//! Names that services wait for: another process looks them up, again and again, and what
//! needed them is served as soon as they are known, without a reload. So is the name of a
//! relay's target whose addresses cannot be reached: it may have others by now.
//!
//! A reload compares what was served when it began with what will be, so nothing of that is
//! changed before it is over: names that come meanwhile wait.

mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::model::{Action, Known, Names, NotServed, Service, SocketSpec};
use crate::reload::ReloadWorker;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;

/// What is known of names, and who looks them up.
#[derive(Default)]
pub(in crate::server) struct Naming {
    /// Services that are wrong or lack something on this machine, which no name can be.
    pub(in crate::server) not_served: Vec<NotServed>,
    known: Names,
    seeker: Option<Box<ReloadWorker>>,
    /// One of its descriptors has been announced, or there was more.
    ready: bool,
    /// When they are looked up next, and when whoever does so has had its time.
    due: Option<Instant>,
    late: Option<Instant>,
    /// Delay after the next time in vain.
    delay: Duration,
    /// How often they have been looked up.
    rounds: usize,
    /// Targets that could not be reached, and when their names were last looked up.
    unreached: BTreeSet<String>,
    looked_up: BTreeMap<String, Instant>,
    /// Names that have come, and the services that are still to be told.
    news: Names,
    to_apply: Vec<Key>,
}

impl Naming {
    /// What names are, as far as they are known.
    pub(in crate::server) fn known(&self) -> &Names {
        &self.known
    }

    /// The names of a new configuration.
    pub(super) fn learn(&mut self, names: Names) {
        self.known = names;
    }

    /// A descriptor of the process that looks them up has been announced.
    pub(in crate::server) fn announced(&mut self) {
        self.ready = true;
    }

    /// Nobody looks them up any more.
    pub(in crate::server) fn stop(&mut self) {
        self.seeker = None;
    }

    /// Whether this is the process that looks them up.
    pub(in crate::server) fn has_seeker(&self, pid: i32) -> bool {
        self.seeker.as_ref().is_some_and(|seeker| seeker.pid() == pid)
    }

    /// True if this is the process that looks them up, of whose end note has been taken.
    pub(in crate::server) fn reap_if_seeker(&mut self, pid: i32) -> bool {
        let Some(seeker) = self.seeker.as_mut().filter(|seeker| seeker.pid() == pid) else {
            return false;
        };
        seeker.reap_if_ended();
        self.ready = true;
        true
    }

    /// Whether it goes on without waiting for anything.
    pub(in crate::server) fn is_busy(&self) -> bool {
        self.seeker.is_some() && self.ready
    }

    fn hear(&mut self, names: Names) {
        if names.is_empty() {
            return;
        }
        self.to_apply.clear();
        self.known.extend(names.clone());
        self.news.extend(names);
    }

    fn seek_at(&mut self, when: Instant, reactor: &mut Reactor) {
        if let Some(before) = self.due.replace(when) {
            reactor.timers.cancel(before, Timer::Names);
        }
        reactor.timers.set(when, Timer::Names);
    }

    /// Whoever looks them up has had more than its time.
    pub(in crate::server) fn seeker_overdue(&mut self, now: Instant) {
        if self.late.is_none_or(|late| late > now) {
            return;
        }
        if let Some(seeker) = &mut self.seeker {
            seeker.give_up("it took too long".to_owned());
        }
        self.ready = true;
    }
}

/// Why a socket is not open that needs this name.
pub(in crate::server) fn waiting_for(name: &str) -> String {
    format!("waiting for the name {name}")
}

/// A service as it is with these names: new sockets after those that it has. None if none of
/// them is news to it.
fn with_names(service: &Rc<Service>, news: &Names) -> Option<Service> {
    let found = |name: &str| news.get(name);
    let waits = service.awaited.iter().any(|awaited| found(&awaited.name).is_some());
    let target = match &service.action {
        Action::Relay(target) => {
            target.name().and_then(found).and_then(|known: &Known| target.with(known))
        }
        Action::Program(_) | Action::Builtin(_) => None,
    };
    if !waits && target.is_none() {
        return None;
    }
    let mut changed = (**service).clone();
    if let Some(target) = target {
        changed.action = Action::Relay(target);
    }
    let awaited = std::mem::take(&mut changed.awaited);
    let before = changed.sockets.len();
    for one in awaited {
        let specs = found(&one.name).map(|known| one.sockets(known, changed.socket_type));
        match specs.filter(|specs| !specs.is_empty()) {
            None => changed.awaited.push(one),
            Some(specs) => {
                let new = specs.into_iter().filter(|spec| !changed.sockets.contains(spec));
                let new: Vec<SocketSpec> = new.collect();
                changed.sockets.extend(new);
            }
        }
    }
    let same = changed.sockets.len() == before
        && changed.awaited == service.awaited
        && changed.action == service.action;
    (!same).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{
        Awaited, Endpoint, Program, RelayTarget, SocketType, Sought as What,
    };

    fn news(name: &str, address: &str) -> Names {
        [(name.to_owned(), Known::Host(vec![(address.parse().unwrap(), 0)]))].into()
    }

    fn service(action: Action) -> Service {
        let spec = |address: &str| SocketSpec {
            socket_type: SocketType::Stream,
            endpoint: Endpoint::Inet(address.parse().unwrap()),
            device: None,
        };
        let awaited = |name: &str| Awaited {
            name: name.to_owned(),
            what: What::Host,
            ports: (80, 80),
            families: (true, false),
        };
        Service {
            sockets: vec![spec("127.0.0.1:80")],
            awaited: vec![awaited("a"), awaited("b")],
            ..Service::unwritten("80/tcp", action)
        }
    }

    #[test]
    fn a_name_that_comes_is_more_sockets_after_those_that_are_there() {
        let program = Action::Program(Program { path: "/".into(), argv: vec!["-".into()] });
        let service = Rc::new(service(program));
        assert_eq!(with_names(&service, &news("c", "192.0.2.1")), None);
        // Of the other family: it is still waited for.
        assert_eq!(with_names(&service, &news("a", "2001:db8::1")), None);
        let changed = with_names(&service, &news("b", "192.0.2.1")).unwrap();
        assert_eq!(changed.sockets.first(), service.sockets.first());
        assert_eq!((changed.sockets.len(), changed.awaited.len()), (2, 1));
        // What another socket of it has is no second one.
        let changed = with_names(&service, &news("a", "127.0.0.1")).unwrap();
        assert_eq!((changed.sockets.len(), changed.awaited.len()), (1, 1));
    }

    #[test]
    fn a_target_has_what_its_name_is_now() {
        let target = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
            Action::Relay(RelayTarget::Inet { host: "db".to_owned(), port: 5432, addresses })
        };
        let before = Rc::new(Service { awaited: Vec::new(), ..service(target(&[])) });
        assert_eq!(before.missing_target(), Some("db"));
        let known = with_names(&before, &news("db", "192.0.2.1")).unwrap();
        assert_eq!(known.action, target(&["192.0.2.1:5432"]));
        assert_eq!(with_names(&Rc::new(known), &news("db", "192.0.2.1")), None);
    }
}
