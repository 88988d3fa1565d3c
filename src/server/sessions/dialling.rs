//! Connecting a relay to its target: one address after the other, each with its time, and
//! again where there was no room.

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
mod turns;

use std::borrow::Cow;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::builtin::relay::RelaySocket;
use crate::config::model::{Action, Endpoint, RelayTarget, Service};
use crate::net::listener::ShownEndpoint;
use crate::upgrade::moment;

/// How long one address of a target may take to answer.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

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
