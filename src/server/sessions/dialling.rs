//! Connecting a relay to its target: one address after the other, each with its time, and
//! again where there was no room.

use std::borrow::Cow;
use std::io;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::connecting::connects_as_another;
use crate::builtin::relay::{Dialled, RelayFailure, RelaySocket, Side, dial, is_busy};
use crate::config::model::{Action, Endpoint, RelayTarget, Service};
use crate::net::listener::ShownEndpoint;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::upgrade::moment;

/// How long one address of a target may take to answer.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How soon an address for which there was no room is tried again.
const BUSY: Duration = Duration::from_millis(50);

/// The way through the addresses of a target.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct Dial {
    /// The service as it was: a reload changes nothing for those who have come.
    #[serde(flatten, with = "definition")]
    pub(in crate::server) definition: Rc<Service>,
    /// The address that is tried.
    pub(in crate::server) at: usize,
    /// When it has had its time.
    #[serde(with = "moment")]
    pub(in crate::server) deadline: Instant,
    /// When its timer is due: then, or earlier to try it once more.
    #[serde(with = "moment")]
    pub(in crate::server) due: Instant,
    /// Why there was no room when it was last tried.
    #[serde(skip)]
    pub(in crate::server) busy: Option<io::Error>,
    /// Somebody else connects, and was asked under this number.
    #[serde(skip)]
    pub(in crate::server) asked: Option<u64>,
}

/// What an upgrade hands over of a service to whose target somebody is still to be connected.
mod definition {
    use std::rc::Rc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::config::model::{Account, Action, RelayTarget, Service};

    #[derive(Serialize, Deserialize)]
    struct Dialled {
        /// None of what is no relay.
        target: Option<RelayTarget>,
        #[serde(default = "nobody")]
        account: Account,
    }

    /// Who connects for whom an older program has not said it: somebody without any rights.
    fn nobody() -> Account {
        const NOBODY: u32 = 65_534;
        let (name, switch) = ("nobody".to_owned(), nix::unistd::geteuid().is_root());
        Account { name, uid: NOBODY, gid: NOBODY, switch, ..Account::default() }
    }

    pub(super) fn serialize<S: Serializer>(of: &Rc<Service>, to: S) -> Result<S::Ok, S::Error> {
        let target = match &of.action {
            Action::Relay(target) => Some(target.clone()),
            Action::Program(_) | Action::Builtin(_) => None,
        };
        Dialled { target, account: (*of.account).clone() }.serialize(to)
    }

    pub(super) fn deserialize<'de, D>(from: D) -> Result<Rc<Service>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let Dialled { target, account } = Dialled::deserialize(from)?;
        let target = target.ok_or_else(|| serde::de::Error::missing_field("target"))?;
        let service = Service::unwritten("relay", Action::Relay(target));
        Ok(Rc::new(Service { account: Rc::new(account), ..service }))
    }
}

impl Dial {
    fn address(&self) -> Option<Cow<'_, Endpoint>> {
        let Action::Relay(target) = &self.definition.action else { return None };
        match target {
            RelayTarget::Unix(endpoint) if self.at == 0 => Some(Cow::Borrowed(endpoint)),
            RelayTarget::Unix(_) => None,
            RelayTarget::Inet { addresses, .. } => {
                addresses.get(self.at).map(|address| Cow::Owned(Endpoint::Inet(*address)))
            }
        }
    }

    /// Both sides are asked at the times of the service; the client's socket has them from the
    /// listener.
    fn keep_alive(&self, target: &RelaySocket) {
        if let Some(times) = self.definition.attributes.socket.keepalive.times() {
            target.keep_alive(times);
        }
    }

    /// What is wrong with the address that is tried.
    fn complaint(&self, error: &dyn std::fmt::Display) -> String {
        match self.address() {
            Some(address) => format!("{}: {error}", ShownEndpoint(&address)),
            None => error.to_string(),
        }
    }
}

impl Server {
    /// In a ring of relays that nobody could know of (other servers are in it), each client
    /// becomes the next one. When the first is gone, the news goes round as fast as the
    /// connections do, and never overtakes them: a little slower, and it does.
    pub(super) fn dial_in(&mut self, key: Key, delay: Duration) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(dial) = &mut state.dial else { return };
        dial.due = dial.deadline.min(self.reactor.now + delay);
        self.reactor.timers.set(dial.due, Timer::Connect(key));
    }

    /// Tries the addresses of a target, from the present one on.
    pub(in crate::server) fn dial(&mut self, key: Key) {
        loop {
            let Some(state) = self.sessions.table.relay(key) else { return };
            let Some(dial_state) = &mut state.dial else { return };
            let Some(address) = dial_state.address() else { return };
            if connects_as_another(&dial_state.definition) {
                let address = address.into_owned();
                return self.dial_as_another(key, &address);
            }
            match dial(&address) {
                Ok(Dialled::Connected(socket)) => {
                    dial_state.keep_alive(&socket);
                    state.target = Some(socket);
                    if self.watch_side(key, Side::Target) {
                        self.connected(key);
                    }
                    return;
                }
                Ok(Dialled::Pending(socket)) => {
                    dial_state.keep_alive(&socket);
                    state.target = Some(socket);
                    dial_state.busy = None;
                    dial_state.due = dial_state.deadline;
                    self.reactor.timers.set(dial_state.due, Timer::Connect(key));
                    self.watch_side(key, Side::Target);
                    return;
                }
                Ok(Dialled::Busy(error)) => return self.dial_later(key, error),
                Err(error) => {
                    if !self.next_address(key, &error) {
                        return;
                    }
                }
            }
        }
    }

    /// Has the user of the service connect.
    fn dial_as_another(&mut self, key: Key, address: &Endpoint) {
        let Some(dial) = self.sessions.table.relay(key).and_then(|state| state.dial.as_ref())
        else {
            return;
        };
        let account = Rc::clone(&dial.definition.account);
        let asked = self.ask_connector(key, &account, address);
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(dial) = &mut state.dial else { return };
        match asked {
            Ok((number, socket)) => {
                (dial.asked, dial.busy, dial.due) = (Some(number), None, dial.deadline);
                state.target = Some(socket);
                self.reactor.timers.set(dial.due, Timer::Connect(key));
            }
            Err(error) => self.not_connected(key, error),
        }
    }

    /// An attempt has failed, or is to be made again.
    pub(super) fn not_connected(&mut self, key: Key, error: io::Error) {
        if is_busy(&error) {
            self.hang_up(key);
            self.dial_later(key, error);
        } else if self.next_address(key, &error) {
            self.dial(key);
        }
    }

    fn dial_later(&mut self, key: Key, error: io::Error) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(dial) = &mut state.dial else { return };
        dial.busy = Some(error);
        dial.due = dial.deadline.min(self.reactor.now + BUSY);
        self.reactor.timers.set(dial.due, Timer::Connect(key));
    }

    /// Goes on to the next address; false if there is none, and then the relay is over.
    pub(super) fn next_address(&mut self, key: Key, error: &dyn std::fmt::Display) -> bool {
        self.hang_up(key);
        let Some(state) = self.sessions.table.relay(key) else { return false };
        let Some(dial) = &mut state.dial else { return false };
        let complaint = dial.complaint(error);
        dial.at = dial.at.saturating_add(1);
        dial.deadline = self.reactor.now + CONNECT;
        log::debug!("connect service={} error={complaint:?}", dial.definition.label);
        if dial.address().is_some() {
            return true;
        }
        if let Some(service) = self.relay_failed(key, "connect", &complaint) {
            self.target_was_not_reached(service);
        }
        false
    }

    /// Forgets an attempt to connect.
    pub(super) fn hang_up(&mut self, key: Key) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        if let Some(dial) = &state.dial {
            self.reactor.timers.cancel(dial.due, Timer::Connect(key));
        }
        if let Some(socket) = state.target.take() {
            let _ = self.reactor.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
            // It may be connected by now, and has been told nothing.
            socket.reset();
        }
    }

    /// The timer of an attempt: to be made once more, or given up.
    pub(in crate::server) fn connect_due(&mut self, key: Key) {
        let Some(state) = self.sessions.table.relay(key) else { return };
        let Some(dial) = &mut state.dial else { return };
        let timed_out = || Errno::ETIMEDOUT.into();
        if dial.deadline > self.reactor.now {
            if dial.asked.is_none() && state.client.is_gone() && state.client.has_said_nothing() {
                let error = Errno::EPIPE.into();
                return self.end_relay(key, Err(&RelayFailure { side: Side::Client, error }));
            }
            return self.dial(key);
        }
        let error = dial.busy.take().unwrap_or_else(timed_out);
        if let Some(number) = dial.asked.take() {
            self.end_connector_of(key, number);
        }
        if self.next_address(key, &error) {
            self.dial(key);
        }
    }
}
