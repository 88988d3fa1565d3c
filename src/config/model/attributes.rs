//! The value of every attribute, in groups: one line for each in the table of attributes
//! (`attribute/table.rs`), and one here with what holds where nothing is said.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::path_bytes;
use super::prefix::Prefix;
use super::times::AccessTimes;
use super::tls::{Authorities, Certificate, FrontUser, FrontWorkers, TlsClient, TlsVersions};
use super::values::{
    ALL_CAPABILITIES, AtLimit, Banner, Cps, GroupLimits, Keepalive, Leftovers, Limit, Linger,
    LogFile, LogOnFailure, LogOnSuccess, OnStop, Paths, ProxyProtocol, ProxySend, Rate, Resource,
    StderrTo, TerminalSize,
};

/// Who has to begin, and does not, is kept by the kernel for so long.
pub const DEFERRED: Duration = Duration::from_secs(1);

/// What attributes say of one service. Lists of addresses, which may be long, are sent to the
/// server apart (`reload::wire`). Users and groups that are looked up are kept in
/// [`Account`](super::Account), `interface` in [`SocketSpec`](super::SocketSpec).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attributes {
    /// Who may connect, and when.
    pub access: AccessAttributes,
    /// How many, and how long.
    pub limits: LimitAttributes,
    /// How programs are started.
    pub process: ProcessAttributes,
    /// How programs end.
    pub ending: EndingAttributes,
    /// What programs may use.
    pub sandbox: SandboxAttributes,
    /// How sockets are made: all that a listener that stays open at a reload is told again.
    pub socket: SocketAttributes,
    /// What stands in front.
    pub front: FrontAttributes,
    /// What clients are told.
    pub banners: BannerAttributes,
    /// What is logged, and where.
    pub log: LogAttributes,
}

/// A group of attributes: each field beside its default.
macro_rules! group {
    ($(#[$about:meta])* $name:ident {
        $($(#[$field_about:meta])* $field:ident: $type:ty = $default:expr,)+
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }
    };
}

group! {
    /// Who may connect, and when.
    AccessAttributes {
        /// Who may connect, sorted; None is everybody.
        #[serde(skip)]
        only_from: Option<Rc<[Prefix]>> = None,
        /// Who may not connect, sorted.
        #[serde(skip)]
        no_access: Rc<[Prefix]> = Rc::from([]),
        /// The machines among who may connect, and among who may not: CIDs of virtual sockets.
        machines: (BTreeSet<u32>, BTreeSet<u32>) = Default::default(),
        /// In local time; None is always.
        access_times: Option<AccessTimes> = None,
    }
}

group! {
    /// How many, and how long.
    LimitAttributes {
        /// Running at once.
        instances: Limit = Some(256),
        /// What happens at `instances`.
        at_limit: AtLimit = AtLimit::Wait,
        /// Starts of the service.
        rate: Option<Rate> = None,
        /// Running at once from one source.
        per_source: Limit = None,
        /// Connections per second; over it the listener rests.
        cps: Option<Cps> = None,
        /// Starts per source.
        source_rate: Option<Rate> = None,
        /// The load average above which clients are refused.
        max_load: Option<f64> = None,
        /// Clients after which the service stops by itself.
        max_clients: Limit = None,
        /// Answers of a built-in datagram service to one source; None is no limit.
        answer_rate: Option<Rate> = Some(Rate { count: 1000, per: Duration::from_secs(1) }),
        /// The longest a program may run.
        timeout: Option<Duration> = None,
        /// The longest that nothing may move on a connection.
        idle_timeout: Option<Duration> = None,
    }
}

group! {
    /// How programs are started.
    ProcessAttributes {
        /// File mode creation mask; None leaves the server's (`oxinetd run`).
        umask: Option<u32> = Some(0o022),
        /// nice(2) increment, -20 to 19.
        nice: i32 = 0,
        /// Working directory, inside `chroot` if set; None leaves the server's (`oxinetd run`).
        #[serde(with = "path_bytes::optional")]
        chdir: Option<PathBuf> = Some(PathBuf::from("/")),
        /// Root directory.
        #[serde(with = "path_bytes::optional")]
        chroot: Option<PathBuf> = None,
        /// Whole environment of the server is the base (`oxinetd run`), instead of a clean one.
        inherit_environment: bool = false,
        /// Added to the environment: name and value.
        env: Vec<(String, OsString)> = Vec::new(),
        /// Names passed through from the server's environment.
        passenv: Vec<String> = Vec::new(),
        /// Resource limits, soft and hard alike; an inner None is unlimited.
        rlimits: Vec<(Resource, Option<u64>)> = Vec::new(),
        /// Where standard error goes.
        stderr: StderrTo = StderrTo::Log,
        /// What becomes of a connection when its program has ended.
        linger: Linger = Linger::Auto,
    }
}

group! {
    /// How programs end. Those that run keep what they were started with.
    #[derive(Copy)]
    EndingAttributes {
        /// What becomes of running programs when the server or the service ends.
        on_stop: OnStop = OnStop::Leave,
        /// Time between TERM and KILL.
        kill_after: Duration = Duration::from_secs(5),
        /// What becomes of what a program leaves behind.
        #[serde(default)]
        leftovers: Leftovers = Leftovers::Leave,
    }
}

group! {
    /// What programs may use.
    SandboxAttributes {
        /// PR_SET_NO_NEW_PRIVS.
        no_new_privs: bool = false,
        /// The capabilities that are kept, by their bits; [`ALL_CAPABILITIES`] leaves them alone.
        capabilities: u64 = ALL_CAPABILITIES,
        /// What may be read and run.
        read_only: Paths = Paths::default(),
        /// What may be written besides.
        read_write: Paths = Paths::default(),
        /// Limits of all the service's programs together.
        group: GroupLimits = GroupLimits::default(),
    }
}

group! {
    /// How sockets are made.
    SocketAttributes {
        /// listen(2) backlog; None is the system's maximum.
        backlog: Option<u32> = None,
        /// TCP_NODELAY on accepted connections.
        nodelay: bool = false,
        /// SO_KEEPALIVE and its times on accepted connections.
        keepalive: Keepalive = Keepalive::No,
        /// SO_SNDBUF, bytes.
        sndbuf: Option<u32> = None,
        /// SO_RCVBUF, bytes.
        rcvbuf: Option<u32> = None,
        /// Owner of a unix socket's file.
        user: Option<u32> = None,
        /// Group of a unix socket's file.
        group: Option<u32> = None,
        /// Mode of a unix socket's file.
        mode: u32 = 0o600,
    }
}

group! {
    /// What stands in front.
    FrontAttributes {
        /// Whether a PROXY header stands before the data.
        proxy_protocol: ProxyProtocol = ProxyProtocol::No,
        /// Who may send one, sorted.
        #[serde(skip)]
        proxy_from: Rc<[Prefix]> = Rc::from([]),
        /// How long it may take.
        proxy_timeout: Duration = Duration::from_secs(3),
        /// Whether a relay's target gets one.
        proxy_send: ProxySend = ProxySend::No,
        /// Certificates, the first for whoever asks for no name of another; none: no TLS.
        tls: Rc<[Certificate]> = Rc::from([]),
        /// Whether clients show certificates.
        tls_client: TlsClient = TlsClient::No,
        /// Who makes those.
        tls_ca: Option<Rc<Authorities>> = None,
        /// What is spoken.
        tls_versions: TlsVersions = TlsVersions { old: true, new: true },
        /// Protocols inside, the preferred first.
        tls_alpn: Vec<String> = Vec::new(),
        /// How long a handshake may take.
        tls_timeout: Duration = Duration::from_secs(10),
        /// The program has a terminal instead of the connection.
        pty: bool = false,
        /// Its size, as long as nobody says another.
        pty_size: TerminalSize = TerminalSize::default(),
        /// Its name, if the client does not say another.
        term: Option<String> = None,
        /// A telnet client is at the other end of it.
        telnet: bool = false,
        /// Whose the processes are that do it.
        front_workers: FrontWorkers = FrontWorkers::Shared,
        /// As whom they run, where there is something for them to do.
        front_user: Option<FrontUser> = None,
    }
}

group! {
    /// What clients are told.
    BannerAttributes {
        /// All of them.
        all: Option<Rc<Banner>> = None,
        /// Those that are admitted, after `all`.
        success: Option<Rc<Banner>> = None,
        /// Those that are refused, after `all`.
        fail: Option<Rc<Banner>> = None,
    }
}

group! {
    /// What is logged, and where.
    LogAttributes {
        /// Of served clients.
        on_success: LogOnSuccess = LogOnSuccess { pid: true, host: true, exit: true, duration: true },
        /// Of refused clients.
        on_failure: LogOnFailure = LogOnFailure { host: true, attempt: true },
        /// None is the server's log.
        file: Option<Rc<LogFile>> = None,
    }
}

impl Attributes {
    /// Whether programs are prepared again at every reload, though nothing is different:
    /// the paths they may use are files found by then, and a group of processes can be
    /// had or not.
    pub fn are_prepared_anew(&self) -> bool {
        self.is_path_confined() || self.sandbox.group != GroupLimits::default()
    }

    /// Whether programs may use some paths only.
    pub fn is_path_confined(&self) -> bool {
        !(self.sandbox.read_only.list.is_empty() && self.sandbox.read_write.list.is_empty())
    }

    /// Whether they run without that where the kernel cannot do it: every list says so.
    pub fn path_confinement_is_optional(&self) -> bool {
        let said = [&self.sandbox.read_only, &self.sandbox.read_write];
        said.iter().filter(|paths| !paths.list.is_empty()).all(|paths| paths.optional)
    }
}

impl FrontAttributes {
    /// Whether clients speak TLS.
    pub fn has_tls(&self) -> bool {
        !self.tls.is_empty()
    }

    /// Whether programs have a terminal.
    pub fn has_terminal(&self) -> bool {
        self.pty || self.telnet
    }

    /// Whether a worker stands between clients and programs.
    pub fn need_worker(&self) -> bool {
        self.has_tls() || self.has_terminal()
    }

    /// Whether whoever connects has to say something before anything can be done for him, and
    /// has more time for that than [`DEFERRED`].
    pub fn lets_clients_begin(&self) -> bool {
        self.proxy_protocol == ProxyProtocol::Require && self.proxy_timeout > DEFERRED
    }

    /// When the first of the certificates ends, in seconds since 1970.
    pub fn first_end(&self) -> Option<i64> {
        self.tls.iter().filter_map(|it| it.ends).min()
    }
}
