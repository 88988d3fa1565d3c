//! What workers are told of a service behind a front: certificates, keys, keys of tickets.
//!
//! A key goes from its file into a sealed file of memory inside the kernel: the server has it
//! open, gives it to workers, and never reads it. A worker that is replaced needs no file.
//!
//! Tickets are sealed with keys of the server's making, one set for each service, which all of
//! its workers have: whoever resumes may come to any of them, and to no other service. New ones
//! are made from time to time, and the one before is still taken; a reload and an upgrade change
//! nothing. Where clients show certificates there are none: each shows its own each time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::sendfile::sendfile;

use super::Sessions;
use super::believing::terms_of;
use super::workers::SealedSettings;
use crate::config::model::{Certificate, FrontUser, FrontWorkers, Service, TlsClient};
use crate::front::identity::identity_of;
use crate::front::settings::{Kind, LONGEST_KEY, TICKET_LIFE, TicketKey, Tls};
use crate::front::wire;
use crate::log::events;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::sys::random;
use crate::sys::sealed_memory::{memory_file, seal};
use crate::upgrade::state;

/// Keys of tickets are used for new ones so long, and taken as long again.
const FRESH: Duration = Duration::from_secs(6 * 60 * 60);

/// The keys of tickets, by services and where those are.
#[derive(Debug, Default)]
pub(in crate::server) struct TicketKeys {
    of_services: HashMap<String, Vec<(TicketKey, Instant)>>,
    due: Option<Instant>,
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

impl Sessions {
    /// What stands between clients and programs, as data.
    pub(in crate::server) fn hand_over_front(&self) -> state::SavedFront {
        state::SavedFront {
            version: wire::VERSION,
            last: self.fronting.last(),
            workers: self.workers.hand_over(),
            tickets: self.tickets.hand_over(),
            died: self.workers.died,
            handshakes: self.fronting.hand_over(),
        }
    }

    /// What has to be known of it before services are.
    pub(in crate::server) fn recall_front(&mut self, front: &state::SavedFront) {
        self.fronting.go_on_after(front.last);
        self.tickets.recall(&front.tickets);
        self.workers.died = front.died;
    }
}

impl Server {
    /// What workers are told of a service; what was there before stays if that cannot be made,
    /// and without any nobody is served.
    pub(in crate::server) fn seal_front(
        &mut self,
        service: &Service,
        before: Option<Key>,
    ) -> Option<Rc<SealedSettings>> {
        if !service.attributes.front.need_worker() {
            return None;
        }
        let certificates = &service.attributes.front.tls;
        let keys = certificates.iter().map(sealed_key).collect::<io::Result<Vec<_>>>();
        match keys.and_then(|keys| self.seal(service, (certificates, keys))) {
            Ok(sealed) => Some(Rc::new(sealed)),
            Err(error) => {
                events::trouble(&service.label, "tls", &error);
                let state = before.and_then(|key| self.services.all.get(key));
                state.and_then(|state| state.front.clone())
            }
        }
    }

    fn seal(
        &mut self,
        service: &Service,
        (certificates, keys): (&Rc<[Certificate]>, Vec<OwnedFd>),
    ) -> io::Result<SealedSettings> {
        let attributes = &service.attributes.front;
        let user = attributes.front_user.ok_or_else(|| io::Error::other("no user for it"))?;
        let mut tickets = Vec::new();
        // Who resumes shows no certificate: what was asked of the client then, and who is
        // trusted now, may be something else.
        if attributes.has_tls() && attributes.tls_client == TlsClient::No {
            tickets = self.sessions.tickets.of(&owner_of_tickets(service), self.reactor.now)?;
            self.expect_old_tickets();
        }
        let authorities = attributes.tls_ca.as_ref().map(|it| it.certificates.clone());
        let tls = Tls {
            chains: certificates.iter().map(|it| it.chain.clone()).collect(),
            versions: (attributes.tls_versions.old, attributes.tls_versions.new),
            alpn: attributes.tls_alpn.clone(),
            client: (
                attributes.tls_client != TlsClient::No,
                attributes.tls_client == TlsClient::Require,
            ),
            authorities: authorities.unwrap_or_default(),
            idle: service.attributes.limits.idle_timeout,
            tickets,
        };
        let settings = match (attributes.has_tls(), attributes.has_terminal()) {
            (true, false) => Kind::Tls(tls),
            (true, true) => Kind::TlsTerminal(tls, attributes.telnet),
            (false, _) => Kind::Terminal(attributes.telnet),
        };
        let bytes = postcard::to_allocvec(&settings).map_err(io::Error::other)?;
        let mut memory = memory_file()?;
        memory.write_all(&bytes)?;
        let mut files = vec![seal(memory)?];
        files.extend(keys);
        Ok(SealedSettings {
            number: self.sessions.fronting.next_settings(),
            files,
            certificates: Rc::clone(certificates),
            has_own: attributes.front_workers == FrontWorkers::Own,
            user: FrontUser { ..user },
            terms: terms_of(attributes),
        })
    }

    /// Whether a service has just this front.
    pub(in crate::server) fn has_front(&self, key: Key, front: &Rc<SealedSettings>) -> bool {
        let own = self.services.all.get(key).and_then(|state| state.front.as_ref());
        own.is_some_and(|own| Rc::ptr_eq(own, front))
    }

    /// Nobody comes to this front any more; who is there stays.
    pub(in crate::server) fn leave_front(&mut self, front: Option<Rc<SealedSettings>>) {
        if let Some(front) = front {
            self.forget_settings(front.number);
        }
    }

    fn expect_old_tickets(&mut self) {
        if self.sessions.tickets.due.is_none() {
            let due = self.reactor.now + FRESH;
            self.sessions.tickets.due = Some(due);
            self.reactor.timers.set(due, Timer::Tickets);
        }
    }

    /// Keys of tickets are old: new ones, with the same certificates.
    pub(in crate::server) fn rotate_tickets(&mut self) {
        self.sessions.tickets.due = None;
        for key in self.services.all.keys() {
            let Some(state) = self.services.all.get(key) else { continue };
            let Some(front) = state.front.clone() else { continue };
            let service = Rc::clone(&state.service);
            let copies = front.files.iter().skip(1).map(OwnedFd::try_clone);
            let sealed = copies.collect::<io::Result<Vec<_>>>();
            // Those that the keys are of: the file may name others, whose keys could not be had.
            let certificates = &front.certificates;
            match sealed.and_then(|keys| self.seal(&service, (certificates, keys))) {
                Ok(sealed) => {
                    if let Some(state) = self.services.all.get_mut(key) {
                        state.front = Some(Rc::new(sealed));
                    }
                    self.leave_front(Some(front));
                }
                Err(error) => events::trouble(&service.label, "tls", &error),
            }
        }
    }
}

/// A service, among others with the same port.
fn owner_of_tickets(service: &Service) -> String {
    format!("{} {:?}", service.label, service.sockets)
}

/// The key of a certificate in memory, from file to file inside the kernel.
fn sealed_key(certificate: &Certificate) -> io::Result<OwnedFd> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", certificate.key.display()))
    };
    copied(certificate).map_err(named)
}

fn copied(certificate: &Certificate) -> io::Result<OwnedFd> {
    // Whatever has come to be there by now, opening it does not wait.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = File::options().read(true).custom_flags(flags).open(&certificate.key)?;
    let facts = file.metadata()?;
    let has_changed = identity_of(&facts) != certificate.identity;
    if has_changed || !facts.is_file() || facts.len() > LONGEST_KEY {
        return Err(io::Error::other("it has changed since it was read: reload again"));
    }
    let memory = memory_file()?;
    let mut left = usize::try_from(facts.len()).map_err(io::Error::other)?;
    while left > 0 {
        match sendfile(memory.as_fd(), file.as_fd(), None, left)? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    seal(memory)
}
