//! The sockets that the service manager holds for us, and which service has which.
//!
//! What no service has stays open here: the manager holds it anyway, so that nobody
//! could bind its address again, and a reload may bring the service back.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

use super::inherited::Inherited;
use crate::config::model::{Action, Endpoint, Service, SocketSpec, SocketType};
use crate::sys::descriptor;

/// Why a program per peer cannot have such a socket.
const ONE_PER_PEER: &str = "a program per peer needs a socket of the server's own, \
    and the service manager holds this one: take it away there, or write `wait`";

/// Why the loop cannot accept from such a socket.
const SHARED: &str = "a program that waits has had the service manager's socket, and could \
    make us wait at it: have the manager make a new one";

/// Why nobody can have such a socket.
const RUINED: &str = "a program that waits has left the service manager's socket in a state that \
    cannot be undone: have the manager make a new one";

/// The sockets.
#[derive(Debug, Default)]
pub(crate) struct Store(Vec<StoredSocket>);

#[derive(Debug)]
struct StoredSocket {
    about: About,
    place: StorePlace,
}

#[derive(Debug)]
enum StorePlace {
    Here(OwnedFd),
    /// A service has it, under this number.
    Lent(RawFd),
}

/// What is known of a socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// What it is and where it is bound.
    pub spec: SocketSpec,
    /// An IPv6 wildcard that takes IPv4 clients too.
    pub takes_ipv4: bool,
    /// What the manager calls it.
    pub name: String,
    /// The log has it that nobody claims it.
    pub said: bool,
    /// A program has had it.
    #[serde(default)]
    pub shared: bool,
    /// And has left it of no use to anybody.
    #[serde(default)]
    pub ruined: bool,
}

/// What there is for a socket of a service.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nothing: it is to be opened.
    None,
    /// This one, nonblocking, and where it is bound.
    Socket(OwnedFd, Endpoint),
    /// Its IPv4 clients arrive on the service's IPv6 socket.
    Covered,
    /// One that this service cannot have.
    Unfit(&'static str),
}

impl Store {
    pub(super) fn add(&mut self, socket: Inherited) {
        let Inherited { descriptor, spec, takes_ipv4, name } = socket;
        let (said, shared, ruined) = (false, false, false);
        self.restore(About { spec, takes_ipv4, name, said, shared, ruined }, Ok(descriptor));
    }

    /// One that was held before, or the number under which a service has it.
    pub(crate) fn restore(&mut self, about: About, place: Result<OwnedFd, RawFd>) {
        let place = place.map_or_else(StorePlace::Lent, StorePlace::Here);
        self.0.push(StoredSocket { about, place });
    }

    /// All that are held, their numbers, and whether a service has them.
    pub(crate) fn held(&self) -> impl Iterator<Item = (About, RawFd, bool)> {
        self.0.iter().map(|held| match &held.place {
            StorePlace::Here(descriptor) => (held.about.clone(), descriptor.as_raw_fd(), false),
            StorePlace::Lent(number) => (held.about.clone(), *number, true),
        })
    }

    /// The socket for `spec` of `service`: that of the same type and address, or else
    /// one with the name of the service.
    pub(crate) fn claim(&mut self, spec: &SocketSpec, service: &Service) -> Claim {
        if self.0.is_empty() {
            return Claim::None;
        }
        if self.covers(spec, service) {
            return Claim::Covered;
        }
        let Some(held) = self.find(spec, service, StoredSocket::is_here) else {
            return Claim::None;
        };
        if needs_own_sockets(service) {
            return Claim::Unfit(ONE_PER_PEER);
        }
        if held.about.ruined {
            return Claim::Unfit(RUINED);
        }
        if held.about.shared && service.is_accepted_from() {
            return Claim::Unfit(SHARED);
        }
        held.lend().map_or(Claim::None, |descriptor| {
            // F_SETFL does not fail on a socket that is open.
            let _ = descriptor::set_nonblocking(&descriptor);
            Claim::Socket(descriptor, held.about.spec.endpoint.clone())
        })
    }

    /// Whether there is a socket here for `spec` of `service`, which it could have.
    pub(crate) fn has_one_for(&self, spec: &SocketSpec, service: &Service) -> bool {
        !needs_own_sockets(service) && self.place_of(spec, service, StoredSocket::is_here).is_some()
    }

    /// How many are held, whoever has them.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many no service has.
    pub(crate) fn count_here(&self) -> usize {
        self.0.iter().filter(|held| held.is_here()).count()
    }

    fn find(
        &mut self,
        spec: &SocketSpec,
        service: &Service,
        may: impl Fn(&StoredSocket) -> bool,
    ) -> Option<&mut StoredSocket> {
        let place = self.place_of(spec, service, may)?;
        self.0.get_mut(place)
    }

    fn place_of(
        &self,
        spec: &SocketSpec,
        service: &Service,
        may: impl Fn(&StoredSocket) -> bool,
    ) -> Option<usize> {
        let exact = |held: &StoredSocket| may(held) && held.about.spec == *spec;
        self.0.iter().position(exact).or_else(|| {
            // One that is at another address of the service is that address's.
            let named = |held: &StoredSocket| {
                may(held)
                    && held.is_named_after(service)
                    && held.could_be(spec)
                    && !service.sockets.contains(&held.about.spec)
            };
            self.0.iter().position(named)
        })
    }

    /// Whether `spec` is the IPv4 wildcard beside an IPv6 one that has a socket for both.
    fn covers(&mut self, spec: &SocketSpec, service: &Service) -> bool {
        let Endpoint::Inet(SocketAddr::V4(address)) = spec.endpoint else { return false };
        if !address.ip().is_unspecified() {
            return false;
        }
        let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
        let six = SocketSpec { endpoint: Endpoint::Inet(six), ..spec.clone() };
        service.sockets.contains(&six)
            && self.find(&six, service, |_| true).is_some_and(|held| held.about.takes_ipv4)
    }

    /// Takes back a socket whose service has gone; whether a program has had it.
    pub(crate) fn put_back(&mut self, descriptor: OwnedFd, shared: bool, ruined: bool) {
        let lent = |held: &&mut StoredSocket| held.is_lent_as(descriptor.as_raw_fd());
        if let Some(held) = self.0.iter_mut().find(lent) {
            held.place = StorePlace::Here(descriptor);
            held.about.shared |= shared || ruined;
            held.about.ruined |= ruined;
        }
    }

    /// What nobody claims, and its name; each once, until somebody has had it. Those that
    /// are `spoken_for` belong to a service that does not serve now.
    pub(crate) fn unclaimed(
        &mut self,
        spoken_for: impl Fn(&SocketSpec) -> bool,
    ) -> Vec<(SocketSpec, String)> {
        let news = self.0.iter_mut().filter(|held| held.is_here() && !held.about.said);
        let news = news.filter(|held| !spoken_for(&held.about.spec));
        news.map(|held| {
            held.about.said = true;
            (held.about.spec.clone(), held.about.name.clone())
        })
        .collect()
    }
}

/// Whether its programs get sockets that were ours, one for each peer: connected to the
/// peer, the manager's would be of no use to whoever gets it next.
pub(crate) fn needs_own_sockets(service: &Service) -> bool {
    let program = matches!(service.action, Action::Program(_));
    service.socket_type == SocketType::Dgram && !service.wait && program
}

impl StoredSocket {
    fn is_here(&self) -> bool {
        matches!(self.place, StorePlace::Here(_))
    }

    fn is_lent_as(&self, number: RawFd) -> bool {
        matches!(self.place, StorePlace::Lent(lent) if lent == number)
    }

    fn lend(&mut self) -> Option<OwnedFd> {
        let StorePlace::Here(descriptor) = &self.place else { return None };
        let lent = StorePlace::Lent(descriptor.as_raw_fd());
        self.about.said = false;
        match std::mem::replace(&mut self.place, lent) {
            StorePlace::Here(descriptor) => Some(descriptor),
            StorePlace::Lent(_) => None,
        }
    }

    /// Its name is the label of the service (`ident/tcp`), the field before the protocol
    /// (`ident`) or the id of xinetd.
    fn is_named_after(&self, service: &Service) -> bool {
        let field = service.label.rsplit_once('/').map(|(field, _)| field);
        let names = [Some(service.label.as_str()), field, service.id.as_deref()];
        names.contains(&Some(self.about.name.as_str()))
    }

    /// The same type and family.
    fn could_be(&self, spec: &SocketSpec) -> bool {
        let family = |endpoint: &Endpoint| match endpoint {
            Endpoint::Inet(SocketAddr::V4(_)) => 4,
            Endpoint::Inet(SocketAddr::V6(_)) => 6,
            Endpoint::Vsock(_) => 40,
            Endpoint::Unix(_) | Endpoint::Abstract(_) => 0,
        };
        self.about.spec.socket_type == spec.socket_type
            && family(&self.about.spec.endpoint) == family(&spec.endpoint)
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
