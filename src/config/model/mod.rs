//! The validated model: what a configuration means, with nothing left to look up.
//!
//! It is built once per (re)load and never changes while it runs. Every name has
//! become a number, every address a socket address, every program a path. The
//! rest of the program does not know which spelling (inetd.conf line, NetBSD
//! key-values, xinetd block, command line) a service came from.

mod attributes;
mod awaited;
pub(super) mod path_bytes;
pub(super) mod prefix;
pub(super) mod protocol;
mod socket;
pub(super) mod times;
mod tls;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

pub use attributes::{
    AccessAttributes, Attributes, BannerAttributes, DEFERRED, EndingAttributes, FrontAttributes,
    LimitAttributes, LogAttributes, ProcessAttributes, SandboxAttributes, SocketAttributes,
};
pub use awaited::{Awaited, Known, Sought, with_port};
pub use prefix::{Prefix, parse_item};
pub use socket::{Endpoint, SocketSpec, SocketType};
pub use times::AccessTimes;
pub use tls::{
    Authorities, Certificate, FileIdentity, FrontUser, FrontWorkers, TlsClient, TlsVersions,
};
pub use values::{
    ALL_CAPABILITIES, AtLimit, Banner, Cps, GroupLimits, Keepalive, KeepaliveTimes, Leftovers,
    Limit, Linger, LogFile, LogOnFailure, LogOnSuccess, OnStop, Paths, ProxyProtocol, ProxySend,
    Rate, Resource, StderrTo, TerminalSize, is_terminal_name,
};

/// What names are, as far as they have been looked up.
pub type Names = BTreeMap<String, Known>;

/// A whole configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The services to serve, in the order of the file.
    pub services: Vec<Rc<Service>>,
    /// Services whose text is right but which this machine cannot serve now.
    pub withheld: Vec<Withheld>,
    /// Services that were read and checked and have `disable = yes`.
    pub disabled: Vec<Rc<Service>>,
    /// How many have `disable = yes`, those included that are wrong or lack something.
    pub off: usize,
    /// Services that are wrong, where that costs nobody else anything.
    pub left_out: Vec<NotServed>,
}

impl Config {
    /// All that is not served and should be.
    pub fn not_served(&self) -> impl Iterator<Item = NotServed> {
        let withheld = self.withheld.iter();
        let withheld =
            withheld.map(|it| NotServed::of(&it.label, (&it.id, &it.name), it.why.clone()));
        self.left_out.iter().cloned().chain(withheld)
    }
}

/// A service that the file means and that nobody serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotServed {
    /// As [`Service::label`].
    pub label: String,
    /// As [`Service::id`].
    pub id: Option<String>,
    /// As [`Service::name`].
    #[serde(default)]
    pub name: Option<String>,
    /// Why not, with its place; empty where the log alone says it.
    pub why: String,
}

impl NotServed {
    /// A service of this label, and of this id and name in a file of xinetd.
    pub fn of(label: &str, (id, name): (&Option<Rc<str>>, &Option<Rc<str>>), why: String) -> Self {
        let [id, name] = [id, name].map(|one| one.as_deref().map(str::to_owned));
        Self { label: label.to_owned(), id, name, why }
    }
}

/// A service that lacks something here and now: a program, a user, an address; or one that a
/// file of xinetd says wrong.
/// At a reload a running service with one of these sockets goes on as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Withheld {
    /// As [`Service::label`].
    pub label: String,
    /// As [`Service::id`].
    pub id: Option<Rc<str>>,
    /// As [`Service::name`].
    pub name: Option<Rc<str>>,
    /// The sockets it would have, as far as they are known.
    pub sockets: Vec<SocketSpec>,
    /// Set when it is an entry of tcpmux.
    pub tcpmux: Option<TcpmuxName>,
    /// As [`NotServed::why`].
    pub why: String,
}

/// One service: one entry of the file. What services share is not said with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// How the log calls it: the service field as written and the protocol,
    /// `daytime/tcp`, `50002/udp`; for unix sockets the path or `@name` alone;
    /// for tcpmux entries `tcpmux/NAME`.
    pub label: String,
    /// What it is called besides: the `id` of an xinetd block, its service name without one.
    pub id: Option<Rc<str>>,
    /// The service name of an xinetd block that has another `id`.
    pub name: Option<Rc<str>>,
    /// Where it was said.
    #[serde(skip)]
    pub origin: Origin,
    /// Stream, datagram or sequenced packets.
    pub socket_type: SocketType,
    /// Its sockets: one per address and port. Empty only for tcpmux entries and
    /// where no name is known yet.
    pub sockets: Vec<SocketSpec>,
    /// Names that are not known yet, each of which is some more sockets.
    pub awaited: Vec<Awaited>,
    /// Set when it is reached through tcpmux (RFC 1078) instead of a socket of its own.
    pub tcpmux: Option<TcpmuxName>,
    /// `wait`: the program gets the listening (or datagram) socket itself.
    pub wait: bool,
    /// What serves it.
    pub action: Action,
    /// As whom a program runs; shared by services alike, which many are.
    #[serde(skip)]
    pub account: Rc<Account>,
    /// Everything said by attributes, or their defaults; shared likewise.
    #[serde(skip)]
    pub attributes: Rc<Attributes>,
}

impl Service {
    /// Whether the server takes the connections on its sockets, not a program.
    pub fn is_accepted_from(&self) -> bool {
        self.socket_type != SocketType::Dgram && !self.wait
    }

    /// Whether what clients say is read by the server or by a process in front of the service, from
    /// the first byte to the last, and not by a program that has the connection.
    pub fn is_read_here(&self) -> bool {
        let ends_here = match self.action {
            Action::Builtin(kind) => kind != Builtin::Tcpmux,
            Action::Program(_) | Action::Relay(_) => false,
        };
        ends_here || self.attributes.front.need_worker()
    }

    /// The name without which nobody can be served at all: the target of a relay.
    pub fn missing_target(&self) -> Option<&str> {
        match &self.action {
            Action::Relay(target) => target.missing_name(),
            Action::Program(_) | Action::Builtin(_) => None,
        }
    }

    /// All names that are waited for.
    pub fn missing_names(&self) -> impl Iterator<Item = &str> {
        let awaited = self.awaited.iter().map(|awaited| awaited.name.as_str());
        awaited.chain(self.missing_target())
    }

    /// One that no file defines: a stream service without sockets, not `wait`, with the
    /// defaults of everything.
    pub fn unwritten(label: &str, action: Action) -> Self {
        Self {
            label: label.to_owned(),
            id: None,
            name: None,
            origin: Origin::default(),
            socket_type: SocketType::Stream,
            sockets: Vec::new(),
            awaited: Vec::new(),
            tcpmux: None,
            wait: false,
            action,
            account: Rc::default(),
            attributes: Rc::default(),
        }
    }
}

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The file as the user named it; `command line` for `oxinetd run`.
    pub file: Rc<str>,
    /// Line, from 1; 0 when there is none.
    pub line: u32,
}

/// An entry behind tcpmux.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TcpmuxName {
    /// The name a client sends; compared without regard to ASCII case.
    pub name: String,
    /// `tcpmux/+NAME`: the server answers `+` for the program.
    pub greet: bool,
}

impl TcpmuxName {
    /// A name as it is compared: without regard to case (RFC 1078).
    pub fn folded(name: &str) -> String {
        name.to_ascii_lowercase()
    }
}

/// What serves a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// A program, run once per connection (or once per `wait` episode).
    Program(Program),
    /// A service of our own inside the event loop.
    Builtin(Builtin),
    /// Another server: connections are relayed to it inside the event loop.
    Relay(RelayTarget),
}

/// Where a relay connects to: `redirect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelayTarget {
    /// `HOST PORT`.
    Inet {
        /// The host as written: an address without brackets, or a name.
        host: String,
        /// The port.
        #[serde(default)]
        port: u16,
        /// What it was when it was last looked up, tried in this order; empty as long as
        /// that is not known.
        #[serde(with = "crate::net::socket_address::list")]
        addresses: Vec<SocketAddr>,
    },
    /// A unix socket: a path or an abstract name.
    Unix(Endpoint),
}

impl RelayTarget {
    /// The name that is not known yet.
    pub fn missing_name(&self) -> Option<&str> {
        match self {
            Self::Inet { addresses, .. } if addresses.is_empty() => self.name(),
            _ => None,
        }
    }

    /// The name that can be looked up again; none where the address itself is written.
    pub fn name(&self) -> Option<&str> {
        let Self::Inet { host, .. } = self else { return None };
        let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let name = name.unwrap_or(host);
        name.parse::<std::net::IpAddr>().is_err().then_some(name)
    }

    /// The same target with what its name is now; None where that is no host, or no other.
    pub fn with(&self, known: &Known) -> Option<Self> {
        let Self::Inet { host, port, addresses } = self else { return None };
        let Known::Host(found) = known else { return None };
        let mut new: Vec<SocketAddr> = Vec::new();
        for address in found.iter().map(|(ip, scope)| with_port(*ip, *scope, *port)) {
            if !new.contains(&address) {
                new.push(address);
            }
        }
        let differs = !new.is_empty() && new != *addresses;
        differs.then(|| Self::Inet { host: host.clone(), port: *port, addresses: new })
    }
}

/// A program to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Absolute; inside `chroot` if that is set.
    #[serde(with = "path_bytes::one")]
    pub path: PathBuf,
    /// Its arguments, `argv[0]` first; never empty, no NUL bytes.
    pub argv: Vec<OsString>,
}

/// The services of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Builtin {
    /// RFC 862.
    Echo,
    /// RFC 863.
    Discard,
    /// RFC 864.
    Chargen,
    /// RFC 867.
    Daytime,
    /// RFC 868.
    Time,
    /// RFC 1078; streams only.
    Tcpmux,
}

impl Builtin {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Echo, Self::Discard, Self::Chargen, Self::Daytime, Self::Time, Self::Tcpmux];

    /// What it is called, and the port that its RFC gives it.
    fn facts(self) -> (&'static str, u16) {
        match self {
            Self::Echo => ("echo", 7),
            Self::Discard => ("discard", 9),
            Self::Chargen => ("chargen", 19),
            Self::Daytime => ("daytime", 13),
            Self::Time => ("time", 37),
            Self::Tcpmux => ("tcpmux", 1),
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// Its port.
    #[must_use]
    pub fn port(self) -> u16 {
        self.facts().1
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The one whose port this is.
    pub fn of_port(port: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.port() == port)
    }
}

/// As whom a program runs: numbers and the facts of the passwd entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// Login name; the uid in digits for a user without a passwd entry.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Main group: the passwd entry's, or what `USER:GROUP` or `group =` says.
    pub gid: u32,
    /// Supplementary groups (empty for `groups = no`), main group included as the system lists it.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// Whether ids are set before exec: true when the server runs as root, for
    /// every user, root included, so that nothing of the server's groups is left.
    pub switch: bool,
}
