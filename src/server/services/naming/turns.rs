//! When names are looked for, and what becomes of services whose names are found.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::with_names;
use crate::config::lookup::AwaitedName;
use crate::config::model::{Action, Names, RelayTarget, SocketSpec};
use crate::log::events;
use crate::reload::{LIMIT, ReaderProgress, ReloadWorker};
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;
use crate::server::reload::{PORTION, watched};
use crate::server::services::Services;
use crate::server::services::installing::{FIRST_RETRY, LONGEST_RETRY};

/// As often the name of a target that cannot be reached is looked up again, at most.
const AGAIN: Duration = Duration::from_secs(10);

impl Server {
    /// It is time to look up names.
    pub(in crate::server) fn seek_names(&mut self) {
        self.services.naming.due = None;
        let sought = self.services.sought();
        // Who is looking already will see to the next time.
        if sought.is_empty() || self.services.naming.seeker.is_some() {
            return;
        }
        self.services.naming.rounds = self.services.naming.rounds.wrapping_add(1);
        let seeker = self.facts.reserve.with(|| ReloadWorker::seek(sought));
        match watched(seeker, Owner::Seeker, &self.reactor) {
            Ok(seeker) => {
                self.services.naming.seeker = Some(Box::new(seeker));
                self.services.naming.ready = true;
                let late = self.reactor.now + LIMIT;
                self.services.naming.late = Some(late);
                self.reactor.timers.set(late, Timer::Seeker);
            }
            Err(error) => {
                events::trouble("names", "fork", &error);
                self.services.seek_later(&mut self.reactor);
            }
        }
    }

    /// A turn's part of all this.
    pub(in crate::server) fn go_on_naming(&mut self) {
        if self.services.naming.is_busy() {
            self.read_seeker();
        }
        if !self.reloading.is_idle() {
            return;
        }
        if self.services.naming.to_apply.is_empty() && !self.services.naming.news.is_empty() {
            self.services.naming.to_apply.clone_from(&self.services.order);
            self.services.naming.to_apply.reverse();
        }
        self.apply_some_names();
    }

    /// Whether there is more to tell, now.
    pub(in crate::server) fn has_names_to_apply(&self) -> bool {
        self.services.naming.is_busy()
            || (self.reloading.is_idle() && !self.services.naming.news.is_empty())
    }

    fn read_seeker(&mut self) {
        let Some(mut seeker) = self.services.naming.seeker.take() else { return };
        let turn = seeker.turn(&mut self.reactor.scratch);
        let names = seeker.take_names();
        self.services.naming.hear(names);
        match turn {
            ReaderProgress::More => self.services.naming.seeker = Some(seeker),
            ReaderProgress::Waiting => {
                (self.services.naming.seeker, self.services.naming.ready) = (Some(seeker), false)
            }
            ReaderProgress::Over(outcome) => {
                if let Ok(loading) = outcome {
                    self.services.naming.hear(loading.names);
                }
                if let Some(late) = self.services.naming.late.take() {
                    self.reactor.timers.cancel(late, Timer::Seeker);
                }
                self.services.naming.unreached.clear();
                self.services.seek_later(&mut self.reactor);
            }
        }
    }

    /// Tells some services what their names are.
    fn apply_some_names(&mut self) {
        if self.services.naming.news.is_empty() {
            return;
        }
        let news = std::mem::take(&mut self.services.naming.news);
        let mut left = PORTION;
        while left > 0 {
            let Some(key) = self.services.naming.to_apply.pop() else { return };
            left = left.saturating_sub(self.apply_names(key, &news));
        }
        self.services.naming.news = news;
    }

    /// Serves what a service could not serve without these names; what that costs.
    fn apply_names(&mut self, key: Key, news: &Names) -> usize {
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
            if self.services.is_shut(key) {
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

    fn serve_socket(&mut self, service: Key, spec: SocketSpec) {
        let listener = self.services.new_listener(service, spec);
        if let Some(state) = self.services.all.get_mut(service) {
            state.listeners.push(listener);
        }
        self.try_to_open(listener);
    }
}

impl Services {
    /// If somebody waits for a name, it is looked up at once, and from then on less and less
    /// often.
    pub(in crate::server) fn expect_names(&mut self, reactor: &mut Reactor) {
        self.naming.delay = FIRST_RETRY;
        if !self.sought().is_empty() {
            self.naming.seek_at(reactor.now, reactor);
        }
    }

    fn seek_later(&mut self, reactor: &mut Reactor) {
        let delay = self.naming.delay;
        self.naming.delay = delay.saturating_mul(2).min(LONGEST_RETRY);
        self.naming.seek_at(reactor.now + delay, reactor);
    }

    /// No address of a relay's target could be reached: its name may have others by now.
    pub(in crate::server) fn target_was_not_reached(
        &mut self,
        service: Key,
        reactor: &mut Reactor,
    ) {
        let Some(state) = self.all.get(service) else { return };
        let Action::Relay(target) = &state.service.action else { return };
        let Some(name) = target.name() else { return };
        let recent = |when: &Instant| reactor.now.saturating_duration_since(*when) < AGAIN;
        self.naming.looked_up.retain(|_, when| recent(when));
        if self.naming.looked_up.contains_key(name) {
            return;
        }
        self.naming.looked_up.insert(name.to_owned(), reactor.now);
        self.naming.unreached.insert(name.to_owned());
        if self.naming.seeker.is_none() {
            self.naming.seek_at(reactor.now, reactor);
        }
    }

    /// The first name that is waited for, for `oxinetd run`.
    pub(in crate::server::services) fn first_missing_name(&self) -> Option<String> {
        let names = self.all.iter();
        let mut names = names.filter_map(|(_, state)| state.service.missing_names().next());
        names.next().map(|name| format!("{name}: the name is not known"))
    }

    /// What is to be looked up, others first each time: there may be more than are asked for
    /// at the same time.
    fn sought(&self) -> Vec<AwaitedName> {
        let mut all: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for (_, state) in self.all.iter() {
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
        for name in &self.naming.unreached {
            all.entry(name).or_default().1 = true;
        }
        let each = all.into_iter();
        let each =
            each.map(|(name, (device, host))| AwaitedName { name: name.to_owned(), device, host });
        let mut sought: Vec<AwaitedName> = each.collect();
        if !sought.is_empty() {
            let first = self.naming.rounds.wrapping_mul(PORTION) % sought.len();
            sought.rotate_left(first);
        }
        sought
    }

    fn is_shut(&self, key: Key) -> bool {
        self.listeners.get(key).is_some_and(|state| state.listener.is_none())
    }
}
