//! Sealing the settings of services, and when the keys of tickets change.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::sendfile::sendfile;

use crate::config::model::{Certificate, FrontUser, FrontWorkers, Service, TlsClient};
use crate::front::identity::identity_of;
use crate::front::settings::{Kind, LONGEST_KEY, Tls};
use crate::front::wire;
use crate::log::events;
use crate::net::fronted::FrontTerms;
use crate::server::Server;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::services::Services;
use crate::server::sessions::Sessions;
use crate::server::sessions::believing::terms_of;
use crate::server::sessions::idling::in_terms;
use crate::server::sessions::sealing::NotSealed;
use crate::server::sessions::workers::SealedSettings;
use crate::sys::calendar::unix_time;
use crate::sys::sealed_memory::{memory_file, seal};
use crate::upgrade::state;

/// What could not be made is tried again for whoever comes after so long.
const AGAIN: Duration = Duration::from_secs(1);

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

    fn seal(
        &mut self,
        service: &Service,
        (certificates, keys): (&Rc<[Certificate]>, Vec<OwnedFd>),
        reactor: &mut Reactor,
    ) -> io::Result<SealedSettings> {
        let attributes = &service.attributes.front;
        let user = attributes.front_user.ok_or_else(|| io::Error::other("no user for it"))?;
        let mut tickets = Vec::new();
        // Who resumes shows no certificate: what was asked of the client then, and who is
        // trusted now, may be something else.
        if attributes.has_tls() && attributes.tls_client == TlsClient::No {
            tickets = self.tickets.of(&owner_of_tickets(service), reactor.now)?;
            self.tickets.expect_old_tickets(reactor);
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
        let idle = in_terms(tls.idle.filter(|_| attributes.has_tls()));
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
            number: self.fronting.next_settings(),
            files,
            certificates: Rc::clone(certificates),
            has_own: attributes.front_workers == FrontWorkers::Own,
            user: FrontUser { ..user },
            terms: FrontTerms { idle, ..terms_of(attributes) },
        })
    }
}

impl Server {
    /// What workers are told of a service. If that cannot be made, what was there before stays;
    /// without any nobody is served.
    pub(in crate::server) fn seal_front(
        &mut self,
        service: &Service,
        before: Option<Key>,
    ) -> (Option<Rc<SealedSettings>>, Option<NotSealed>) {
        if !service.attributes.front.need_worker() {
            return (None, None);
        }
        let certificates = &service.attributes.front.tls;
        let (sessions, reactor) = (&mut self.sessions, &mut self.reactor);
        let sealed = self.facts.reserve.with_half(|| {
            let keys = certificates.iter().map(sealed_key).collect::<io::Result<Vec<_>>>()?;
            sessions.seal(service, (certificates, keys), reactor)
        });
        match sealed {
            Ok(sealed) => (Some(Rc::new(sealed)), None),
            Err(error) => {
                let before = before.and_then(|key| self.services.all.get(key));
                let said = before.and_then(|state| state.not_sealed.as_ref());
                let message = format!("tls: {error}");
                if said.is_none_or(|said| said.message != message) {
                    events::trouble(&service.label, "tls", &error);
                }
                let (time, again) = (unix_time(), self.reactor.now + AGAIN);
                let front = before.and_then(|state| state.front.clone());
                (front, Some(NotSealed { time, message, again }))
            }
        }
    }

    /// What workers are told of a service from now on; they forget what they were told before.
    pub(in crate::server) fn put_front(&mut self, key: Key, front: Option<Rc<SealedSettings>>) {
        let Some(state) = self.services.all.get_mut(key) else { return };
        let old = std::mem::replace(&mut state.front, front);
        if let Some(old) = old.filter(|old| !self.services.has_front(key, old)) {
            self.sessions.workers.forget_settings(old.number);
        }
    }

    /// What could not be made is tried again, if that was a moment ago.
    pub(in crate::server) fn seal_again(&mut self, key: Key) {
        let Some(state) = self.services.all.get(key) else { return };
        if state.not_sealed.as_ref().is_some_and(|it| it.again <= self.reactor.now) {
            let service = Rc::clone(&state.service);
            let (front, not_sealed) = self.seal_front(&service, Some(key));
            self.put_front(key, front);
            if let Some(state) = self.services.all.get_mut(key) {
                state.not_sealed = not_sealed;
            }
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
            let (sessions, reactor) = (&mut self.sessions, &mut self.reactor);
            match sealed.and_then(|keys| sessions.seal(&service, (certificates, keys), reactor)) {
                Ok(sealed) => self.put_front(key, Some(Rc::new(sealed))),
                Err(error) => {
                    events::trouble(&service.label, "tls", &error);
                    self.sessions.tickets.expect_old_tickets(&mut self.reactor);
                }
            }
        }
    }
}

impl Services {
    /// Whether a service has just this front.
    pub(in crate::server) fn has_front(&self, key: Key, front: &Rc<SealedSettings>) -> bool {
        let own = self.all.get(key).and_then(|state| state.front.as_ref());
        own.is_some_and(|own| Rc::ptr_eq(own, front))
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
