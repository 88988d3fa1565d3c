//! What workers are told of a service behind a front: certificates, keys, keys of tickets.
//!
//! A key goes from its file into a sealed file of memory inside the kernel: the server has it
//! open, gives it to workers, and never reads it. A worker that is replaced needs no file.
//!
//! Tickets are sealed with keys of the server's making, one set for each service, which all of
//! its workers have: whoever resumes may come to any of them, and to no other service. New ones
//! are made from time to time, and the one before is still taken; a reload and an upgrade change
//! nothing. Where clients show certificates there are none: each shows its own each time.

mod turns;

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use crate::front::settings::{TICKET_LIFE, TicketKey};
use crate::server::reactor::Reactor;
use crate::server::reactor::timers::Timer;
use crate::sys::random;
use crate::upgrade::state;

/// Keys of tickets are used for new ones so long, and taken as long again.
const FRESH: Duration = Duration::from_secs(6 * 60 * 60);

/// The keys of tickets, by services and where those are.
#[derive(Debug, Default)]
pub(in crate::server) struct TicketKeys {
    of_services: HashMap<String, Vec<(TicketKey, Instant)>>,
    due: Option<Instant>,
}

/// Why workers cannot be told what a service says.
#[derive(Debug)]
pub(in crate::server) struct NotSealed {
    /// Seconds since 1970.
    pub(in crate::server) time: u64,
    /// What was tried and what the system answered.
    pub(in crate::server) message: String,
    /// It is tried again for whoever comes then.
    again: Instant,
}

impl TicketKeys {
    /// Those of a service, the one for new tickets first.
    fn of(&mut self, service: &str, now: Instant) -> io::Result<Vec<TicketKey>> {
        let keys = self.of_services.entry(service.to_owned()).or_default();
        let age = |made: &Instant| now.saturating_duration_since(*made);
        if keys.first().is_none_or(|(_, made)| age(made) >= FRESH) {
            let key = TicketKey { name: random::fill()?, secret: random::fill()? };
            keys.insert(0, (key, now));
        }
        keys.retain(|(_, made)| age(made) < FRESH + TICKET_LIFE);
        Ok(keys.iter().map(|(key, _)| key.clone()).collect())
    }

    fn expect_old_tickets(&mut self, reactor: &mut Reactor) {
        if self.due.is_none() {
            let due = reactor.now + FRESH;
            self.due = Some(due);
            reactor.timers.set(due, Timer::Tickets);
        }
    }
}

impl TicketKeys {
    /// All of them, as data.
    fn hand_over(&self) -> Vec<state::SavedTicketKey> {
        let services = self.of_services.iter();
        let keys = services.flat_map(|(service, keys)| keys.iter().map(move |key| (service, key)));
        let saved = keys.map(|(service, (key, made))| state::SavedTicketKey {
            service: service.clone(),
            name: key.name,
            secret: key.secret,
            made: (*made).into(),
        });
        saved.collect()
    }

    fn recall(&mut self, saved: &[state::SavedTicketKey]) {
        for state::SavedTicketKey { service, name, secret, made } in saved {
            let key = TicketKey { name: *name, secret: *secret };
            let keys = self.of_services.entry(service.clone()).or_default();
            keys.push((key, (*made).into()));
        }
    }
}
