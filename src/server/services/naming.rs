//! Names that services wait for: another process looks them up, again and again, and what
//! needed them is served as soon as they are known, without a reload. So is the name of a
//! relay's target whose addresses cannot be reached: it may have others by now.
//!
//! A reload compares what was served when it began with what will be, so nothing of that is
//! changed before it is over: names that come meanwhile wait.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::installing::{FIRST_RETRY, LONGEST_RETRY};
use crate::config::lookup::AwaitedName;
use crate::config::model::{Action, Known, Names, NotServed, RelayTarget, Service, SocketSpec};
use crate::log::events;
use crate::reload::{LIMIT, ReaderProgress, ReloadWorker};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::reload::PORTION;

/// As often the name of a target that cannot be reached is looked up again, at most.
const AGAIN: Duration = Duration::from_secs(10);

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
    to_tell: Vec<Key>,
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
}

impl Server {
    /// The first name that is waited for, for `oxinetd run`.
    pub(super) fn first_missing_name(&self) -> Option<String> {
        let names = self.services.all.iter();
        let mut names = names.filter_map(|(_, state)| state.service.missing_names().next());
        names.next().map(|name| format!("{name}: the name is not known"))
    }

    /// If somebody waits for a name, it is looked up at once, and from then on less and less
    /// often.
    pub(in crate::server) fn expect_names(&mut self) {
        self.services.naming.delay = FIRST_RETRY;
        if !self.sought().is_empty() {
            self.seek_at(self.reactor.now);
        }
    }

    fn seek_at(&mut self, when: Instant) {
        if let Some(before) = self.services.naming.due.replace(when) {
            self.reactor.timers.cancel(before, Timer::Names);
        }
        self.reactor.timers.set(when, Timer::Names);
    }

    /// What is to be looked up, others first each time: there may be more than are asked for
    /// at the same time.
    fn sought(&self) -> Vec<AwaitedName> {
        let mut all: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for (_, state) in self.services.all.iter() {
            for awaited in &state.service.awaited {
                use crate::config::model::Sought as What;
                let (device, host) = all.entry(&awaited.name).or_default();
                *device |= awaited.what != What::Host;
                *host |= !matches!(awaited.what, What::Scope(_));
            }
            if let Some(name) = state.service.missing_target() {
                all.entry(name).or_default().1 = true;
            }
        }
        for name in &self.services.naming.unreached {
            all.entry(name).or_default().1 = true;
        }
        let each = all.into_iter();
        let each =
            each.map(|(name, (device, host))| AwaitedName { name: name.to_owned(), device, host });
        let mut sought: Vec<AwaitedName> = each.collect();
        if !sought.is_empty() {
            let first = self.services.naming.rounds.wrapping_mul(PORTION) % sought.len();
            sought.rotate_left(first);
        }
        sought
    }

    /// It is time to look up names.
    pub(in crate::server) fn seek_names(&mut self) {
        self.services.naming.due = None;
        let sought = self.sought();
        // Who is looking already will see to the next time.
        if sought.is_empty() || self.services.naming.seeker.is_some() {
            return;
        }
        self.services.naming.rounds = self.services.naming.rounds.wrapping_add(1);
        let seeker = self.facts.reserve.with(|| ReloadWorker::seek(sought));
        let watched = seeker.and_then(|it| self.watch_descriptors(&it, Owner::Seeker).map(|()| it));
        match watched {
            Ok(seeker) => {
                self.services.naming.seeker = Some(Box::new(seeker));
                self.services.naming.ready = true;
                let late = self.reactor.now + LIMIT;
                self.services.naming.late = Some(late);
                self.reactor.timers.set(late, Timer::Seeker);
            }
            Err(error) => {
                events::trouble("names", "fork", &error);
                self.seek_later();
            }
        }
    }

    fn seek_later(&mut self) {
        let delay = self.services.naming.delay;
        self.services.naming.delay = delay.saturating_mul(2).min(LONGEST_RETRY);
        self.seek_at(self.reactor.now + delay);
    }

    /// Whoever looks them up has had more than its time.
    pub(in crate::server) fn seeker_overdue(&mut self) {
        if self.services.naming.late.is_none_or(|late| late > self.reactor.now) {
            return;
        }
        if let Some(seeker) = &mut self.services.naming.seeker {
            seeker.give_up("it took too long".to_owned());
        }
        self.services.naming.ready = true;
    }

    /// A turn's part of all this.
    pub(in crate::server) fn go_on_naming(&mut self) {
        if self.services.naming.is_busy() {
            self.hear_seeker();
        }
        if !self.reloading.is_idle() {
            return;
        }
        if self.services.naming.to_tell.is_empty() && !self.services.naming.news.is_empty() {
            self.services.naming.to_tell.clone_from(&self.services.order);
            self.services.naming.to_tell.reverse();
        }
        self.tell_some_of_names();
    }

    /// Whether there is more to tell, now.
    pub(in crate::server) fn has_names_to_tell(&self) -> bool {
        self.services.naming.is_busy()
            || (self.reloading.is_idle() && !self.services.naming.news.is_empty())
    }

    fn hear_seeker(&mut self) {
        let Some(mut seeker) = self.services.naming.seeker.take() else { return };
        let turn = seeker.turn(&mut self.reactor.scratch);
        let names = seeker.take_names();
        self.hear_names(names);
        match turn {
            ReaderProgress::More => self.services.naming.seeker = Some(seeker),
            ReaderProgress::Waiting => {
                (self.services.naming.seeker, self.services.naming.ready) = (Some(seeker), false)
            }
            ReaderProgress::Over(outcome) => {
                if let Ok(loading) = outcome {
                    self.hear_names(loading.names);
                }
                if let Some(late) = self.services.naming.late.take() {
                    self.reactor.timers.cancel(late, Timer::Seeker);
                }
                self.services.naming.unreached.clear();
                self.seek_later();
            }
        }
    }

    fn hear_names(&mut self, names: Names) {
        if names.is_empty() {
            return;
        }
        self.services.naming.to_tell.clear();
        self.services.naming.known.extend(names.clone());
        self.services.naming.news.extend(names);
    }

    /// Tells some services what their names are.
    fn tell_some_of_names(&mut self) {
        if self.services.naming.news.is_empty() {
            return;
        }
        let news = std::mem::take(&mut self.services.naming.news);
        let mut left = PORTION;
        while left > 0 {
            let Some(key) = self.services.naming.to_tell.pop() else { return };
            left = left.saturating_sub(self.tell_names(key, &news));
        }
        self.services.naming.news = news;
    }

    /// Serves what a service could not serve without these names; what that costs.
    fn tell_names(&mut self, key: Key, news: &Names) -> usize {
        let Some(state) = self.services.all.get_mut(key) else { return 0 };
        let Some(changed) = with_names(&state.service, news) else { return 0 };
        let new = changed.sockets.get(state.service.sockets.len()..).unwrap_or_default().to_vec();
        if changed.action != state.service.action
            && let Action::Relay(target @ RelayTarget::Inet { addresses, .. }) = &changed.action
            && let Some(name) = target.name()
        {
            let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            events::resolved(&changed.label, name, &shown.join(" "));
        }
        state.service = Rc::new(changed);
        let before = state.listeners.clone();
        let cost = before.len().saturating_add(new.len()).saturating_add(1);
        for key in before {
            if self.is_shut(key) {
                self.try_to_open(key);
            }
        }
        let grows = !new.is_empty();
        for spec in new {
            self.serve_socket(key, spec);
        }
        if grows {
            self.find_room_for_names();
        }
        cost
    }

    fn is_shut(&self, key: Key) -> bool {
        self.services.listeners.get(key).is_some_and(|state| state.listener.is_none())
    }

    fn serve_socket(&mut self, service: Key, spec: SocketSpec) {
        let listener = self.new_listener(service, spec);
        if let Some(state) = self.services.all.get_mut(service) {
            state.listeners.push(listener);
        }
        self.try_to_open(listener);
    }

    /// No address of a relay's target could be reached: its name may have others by now.
    pub(in crate::server) fn target_was_not_reached(&mut self, service: Key) {
        let Some(state) = self.services.all.get(service) else { return };
        let Action::Relay(target) = &state.service.action else { return };
        let Some(name) = target.name() else { return };
        let recent = |when: &Instant| self.reactor.now.saturating_duration_since(*when) < AGAIN;
        self.services.naming.looked_up.retain(|_, when| recent(when));
        if self.services.naming.looked_up.contains_key(name) {
            return;
        }
        self.services.naming.looked_up.insert(name.to_owned(), self.reactor.now);
        self.services.naming.unreached.insert(name.to_owned());
        if self.services.naming.seeker.is_none() {
            self.seek_at(self.reactor.now);
        }
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
    use crate::config::model::{Awaited, Endpoint, Program, SocketType, Sought as What};

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
