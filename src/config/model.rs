//! The validated model: what a configuration means, with nothing left to look up.
//!
//! It is built once per (re)load and never changes while it runs. Every name has
//! become a number, every address a socket address, every program a path. The
//! rest of the program does not know which spelling (inetd.conf line, NetBSD
//! key-values, xinetd block, command line) a service came from.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::path_bytes;
pub use super::prefix::{Prefix, parse_item};
pub use super::times::AccessTimes;

/// A whole configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The services to serve, in the order of the file.
    pub services: Vec<Rc<Service>>,
    /// Services whose text is right but which this machine cannot serve now.
    pub withheld: Vec<Withheld>,
    /// Services that were read and checked and have `disable = yes`.
    pub disabled: Vec<Rc<Service>>,
}

/// A service that lacks something here and now: a program, a user, an address.
/// At a reload a running service with one of these sockets goes on as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Withheld {
    /// As [`Service::label`].
    pub label: String,
    /// The sockets it would have, as far as they are known.
    pub sockets: Vec<SocketSpec>,
    /// Set when it is an entry of tcpmux.
    pub tcpmux: Option<TcpmuxName>,
}

/// One service: one entry of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// How the log calls it: the service field as written and the protocol,
    /// `daytime/tcp`, `50002/udp`; for unix sockets the path or `@name` alone;
    /// for tcpmux entries `tcpmux/NAME`.
    pub label: String,
    /// What it is called besides: the `id` of an xinetd block, its service name without one.
    pub id: Option<Rc<str>>,
    /// Where it was said.
    pub origin: Origin,
    /// Stream, datagram or sequenced packets.
    pub socket_type: SocketType,
    /// Its sockets: one per address and port. Empty only for tcpmux entries.
    pub sockets: Vec<SocketSpec>,
    /// Set when it is reached through tcpmux (RFC 1078) instead of a socket of its own.
    pub tcpmux: Option<TcpmuxName>,
    /// `wait`: the program gets the listening (or datagram) socket itself.
    pub wait: bool,
    /// What serves it.
    pub action: Action,
    /// As whom a program runs; shared by services alike, which many are.
    pub account: Rc<Account>,
    /// Everything said by attributes, or their defaults; shared likewise.
    pub attributes: Rc<Attributes>,
}

impl Service {
    /// Whether the server takes the connections on its sockets, not a program.
    #[must_use]
    pub fn is_accepted_from(&self) -> bool {
        self.socket_type != SocketType::Dgram && !self.wait
    }

    /// One that no file defines: a stream service without sockets, not `wait`, with the
    /// defaults of everything.
    #[must_use]
    pub fn unwritten(label: &str, action: Action) -> Self {
        Self {
            label: label.to_owned(),
            id: None,
            origin: Origin::default(),
            socket_type: SocketType::Stream,
            sockets: Vec::new(),
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

/// The type of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SocketType {
    /// A byte stream: TCP or unix.
    Stream,
    /// Datagrams: UDP or unix.
    Dgram,
    /// Sequenced packets: unix only.
    SeqPacket,
}

/// One socket to open. Two entries may not have an equal one: equality is the
/// identity by which a reload recognises a socket that it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SocketSpec {
    /// Stream, datagram or sequenced packets.
    pub socket_type: SocketType,
    /// Where it is bound.
    pub endpoint: Endpoint,
    /// The network device it is bound to (SO_BINDTODEVICE), if any.
    pub device: Option<String>,
}

/// An address to bind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Endpoint {
    /// An IPv4 or IPv6 address with its port; port 0 (any free one) only from the command line.
    Inet(#[serde(with = "crate::socket_address::one")] SocketAddr),
    /// A unix socket in the file system: an absolute path.
    Unix(#[serde(with = "path_bytes::one")] PathBuf),
    /// A unix socket in Linux's abstract name space, without the leading NUL.
    Abstract(Vec<u8>),
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
    #[must_use]
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
        /// What it was when the file was read, tried in this order; never empty.
        #[serde(with = "crate::socket_address::list")]
        addresses: Vec<SocketAddr>,
    },
    /// A unix socket: a path or an abstract name.
    Unix(Endpoint),
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

/// A number or no limit.
pub type Limit = Option<u32>;

/// Starts per span of time, as a token bucket of `count` that fills in `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// What happens when `instances` programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AtLimit {
    /// The listener rests; clients wait in the backlog.
    Wait,
    /// Clients are accepted and closed.
    Refuse,
}

/// Where a program's standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StderrTo {
    /// Line by line to the log.
    Log,
    /// To the client, as inetd did.
    Socket,
    /// To /dev/null.
    Null,
}

/// What happens to running programs when the server stops or their service goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStop {
    /// TERM to the process group.
    Terminate,
    /// They run on.
    Leave,
}

/// `cps`: connections per second, and how long the listener rests when there are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cps {
    /// Connections in one second.
    pub count: u32,
    /// How long the listener rests.
    pub rest: Duration,
}

/// A text for clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Banner {
    /// The file it was read from, as the configuration names it.
    #[serde(with = "path_bytes::one")]
    pub path: PathBuf,
    /// What it said when the configuration was read.
    pub text: Vec<u8>,
}

/// What is logged of a client that is served; nothing at all if all are false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOnSuccess {
    /// The program's process id.
    pub pid: bool,
    /// The peer.
    pub host: bool,
    /// How the program ended.
    pub exit: bool,
    /// How long it ran.
    pub duration: bool,
}

/// What is logged of a client that is refused; nothing at all if both are false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOnFailure {
    /// The peer.
    pub host: bool,
    /// That somebody was refused. (The peer says that too.)
    pub attempt: bool,
}

/// `log_type = FILE`: where the lines about a service go instead of the server's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Absolute.
    #[serde(with = "path_bytes::one")]
    pub path: PathBuf,
    /// Bytes from which on the server's log has a warning.
    pub soft: Option<u64>,
    /// Bytes beyond which nothing is written.
    pub hard: Option<u64>,
}

/// A resource of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// RLIMIT_AS, bytes.
    As,
    /// RLIMIT_CORE, bytes.
    Core,
    /// RLIMIT_CPU, seconds.
    Cpu,
    /// RLIMIT_DATA, bytes.
    Data,
    /// RLIMIT_NOFILE, number.
    Files,
    /// RLIMIT_FSIZE, bytes.
    Fsize,
    /// RLIMIT_NPROC, number.
    Nproc,
    /// RLIMIT_STACK, bytes.
    Stack,
}

/// Every capability, those included that newer kernels have.
pub const ALL_CAPABILITIES: u64 = u64::MAX;

/// Paths that a program may use, and nothing beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// Absolute, inside `chroot` if that is set; none: nothing was said.
    #[serde(with = "path_bytes::list")]
    pub list: Vec<PathBuf>,
    /// `?`: on a kernel that cannot confine programs to them they run all the same.
    pub optional: bool,
}

/// What the programs of one service may use together: the limits of its group of
/// processes (cgroup v2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLimits {
    /// memory.max, bytes.
    pub memory_max: Option<u64>,
    /// pids.max.
    pub tasks_max: Limit,
    /// cpu.max in percent of one processor.
    pub cpu_max: Limit,
}

/// The value of every attribute of one service. One field per line of the table
/// in `attribute.rs`; attributes that are looked up (users, groups) are kept in
/// [`Account`], `interface` in [`SocketSpec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attributes {
    /// Running at once.
    pub instances: Limit,
    /// What happens at `instances`.
    pub at_limit: AtLimit,
    /// Starts of the service.
    pub rate: Option<Rate>,
    /// Running at once from one source.
    pub per_source: Limit,
    /// Starts per source.
    pub source_rate: Option<Rate>,
    /// listen(2) backlog; None is the system's maximum.
    pub backlog: Option<u32>,
    /// What becomes of running programs at the end.
    pub on_stop: OnStop,
    /// File mode creation mask; None leaves the server's (`oxinetd run`).
    pub umask: Option<u32>,
    /// nice(2) increment, -20 to 19.
    pub nice: i32,
    /// Working directory, inside `chroot` if set; None leaves the server's (`oxinetd run`).
    #[serde(with = "path_bytes::optional")]
    pub chdir: Option<PathBuf>,
    /// Root directory.
    #[serde(with = "path_bytes::optional")]
    pub chroot: Option<PathBuf>,
    /// Whole environment of the server is the base (`oxinetd run`), instead of a clean one.
    pub inherit_environment: bool,
    /// Added to the environment: name and value.
    pub env: Vec<(String, OsString)>,
    /// Names passed through from the server's environment.
    pub passenv: Vec<String>,
    /// Resource limits, soft and hard alike; an inner None is unlimited.
    pub rlimits: Vec<(Resource, Option<u64>)>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// The capabilities that are kept, by their bits; [`ALL_CAPABILITIES`] leaves them alone.
    pub capabilities: u64,
    /// What may be read and run.
    pub read_only: Paths,
    /// What may be written besides.
    pub read_write: Paths,
    /// Limits of all the service's programs together.
    pub group_limits: GroupLimits,
    /// Where standard error goes.
    pub stderr: StderrTo,
    /// TCP_NODELAY on accepted connections.
    pub nodelay: bool,
    /// SO_KEEPALIVE on accepted connections.
    pub keepalive: bool,
    /// SO_SNDBUF, bytes.
    pub sndbuf: Option<u32>,
    /// SO_RCVBUF, bytes.
    pub rcvbuf: Option<u32>,
    /// Owner of a unix socket's file.
    pub socket_user: Option<u32>,
    /// Group of a unix socket's file.
    pub socket_group: Option<u32>,
    /// Mode of a unix socket's file.
    pub socket_mode: u32,

    /// Who may connect, sorted; None is everybody.
    pub only_from: Option<Rc<[Prefix]>>,
    /// Who may not connect, sorted.
    pub no_access: Rc<[Prefix]>,
    /// When, in local time; None is always.
    pub access_times: Option<AccessTimes>,
    /// Connections per second; over it the listener rests.
    pub cps: Option<Cps>,
    /// The load average above which clients are refused.
    pub max_load: Option<f64>,
    /// The longest a program may run.
    pub timeout: Option<Duration>,
    /// Time between TERM and KILL at the timeout.
    pub kill_after: Duration,
    /// Sent to every client.
    pub banner: Option<Rc<Banner>>,
    /// Sent to every admitted client, after `banner`.
    pub banner_success: Option<Rc<Banner>>,
    /// Sent to every refused client, after `banner`.
    pub banner_fail: Option<Rc<Banner>>,
    /// What is logged of served clients.
    pub log_on_success: LogOnSuccess,
    /// What is logged of refused clients.
    pub log_on_failure: LogOnFailure,
    /// Where all that is logged; None is the server's log.
    pub log_file: Option<Rc<LogFile>>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            instances: Some(256),
            at_limit: AtLimit::Wait,
            rate: None,
            per_source: None,
            source_rate: None,
            backlog: None,
            on_stop: OnStop::Leave,
            umask: Some(0o022),
            nice: 0,
            chdir: Some(PathBuf::from("/")),
            chroot: None,
            inherit_environment: false,
            env: Vec::new(),
            passenv: Vec::new(),
            rlimits: Vec::new(),
            no_new_privs: false,
            capabilities: ALL_CAPABILITIES,
            read_only: Paths::default(),
            read_write: Paths::default(),
            group_limits: GroupLimits::default(),
            stderr: StderrTo::Log,
            nodelay: false,
            keepalive: false,
            sndbuf: None,
            rcvbuf: None,
            socket_user: None,
            socket_group: None,
            socket_mode: 0o600,

            only_from: None,
            no_access: Rc::from([]),
            access_times: None,
            cps: None,
            max_load: None,
            timeout: None,
            kill_after: Duration::from_secs(5),
            banner: None,
            banner_success: None,
            banner_fail: None,
            log_on_success: LogOnSuccess { pid: true, host: true, exit: true, duration: true },
            log_on_failure: LogOnFailure { host: true, attempt: true },
            log_file: None,
        }
    }
}

impl Attributes {
    /// Whether programs are prepared again at every reload, though nothing is different:
    /// the paths they may use are files found by then, and a group of processes can be
    /// had or not.
    #[must_use]
    pub fn are_prepared_anew(&self) -> bool {
        self.is_path_confined() || self.group_limits != GroupLimits::default()
    }

    /// Whether programs may use some paths only.
    #[must_use]
    pub fn is_path_confined(&self) -> bool {
        !(self.read_only.list.is_empty() && self.read_write.list.is_empty())
    }

    /// Whether they run without that where the kernel cannot do it: every list says so.
    #[must_use]
    pub fn path_confinement_is_optional(&self) -> bool {
        let said = [&self.read_only, &self.read_write];
        said.iter().filter(|paths| !paths.list.is_empty()).all(|paths| paths.optional)
    }
}
