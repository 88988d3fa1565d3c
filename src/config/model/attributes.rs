//! The values of attributes: one field for each line of the table of attributes, and the
//! types of those that are more than a number.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::path_bytes;
use super::{AccessTimes, Prefix};

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

/// When the system asks a silent peer whether it is still there: `keepalive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keepalive {
    /// Never.
    No,
    /// At the times that the system has for it.
    Yes,
    /// At these.
    Times(KeepaliveTimes),
}

impl Keepalive {
    /// Whether it asks at all.
    #[must_use]
    pub fn is_on(self) -> bool {
        self != Self::No
    }

    /// The times that are said.
    #[must_use]
    pub fn times(self) -> Option<KeepaliveTimes> {
        match self {
            Self::Times(times) => Some(times),
            Self::No | Self::Yes => None,
        }
    }
}

/// The times of `keepalive`, within what the system takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepaliveTimes {
    /// Seconds of silence before the first question.
    pub idle: u16,
    /// Seconds between two questions.
    pub interval: u16,
    /// Questions without an answer after which the connection is over.
    pub count: u8,
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

/// Whether the server takes care that a client gets all of the answer when its program has
/// ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Linger {
    /// The connection is the program's alone, and closed with it.
    No,
    /// Where closing it would cost the client some of the answer.
    Auto,
    /// Always.
    Yes,
}

/// What happens to running programs when the server stops or their service goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStop {
    /// TERM to the process group.
    Terminate,
    /// They run on.
    Leave,
}

/// What becomes of what a program leaves behind when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leftovers {
    /// It goes on.
    #[default]
    Leave,
    /// TERM to its session, and KILL after `kill_after`.
    End,
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

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Of one line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// Whether the variable TERM may be this: a short name of harmless characters, whoever says it.
#[must_use]
pub fn is_terminal_name(name: &str) -> bool {
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_harmless)
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
/// in `attribute/table.rs`; attributes that are looked up (users, groups) are kept in
/// [`Account`](super::Account), `interface` in [`SocketSpec`](super::SocketSpec).
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
    /// What becomes of a connection when its program has ended.
    pub linger: Linger,
    /// TCP_NODELAY on accepted connections.
    pub nodelay: bool,
    /// SO_KEEPALIVE and its times on accepted connections.
    pub keepalive: Keepalive,
    /// Answers of a built-in datagram service to one source; None is no limit.
    pub answer_rate: Option<Rate>,
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
    /// The machines among who may connect, and among who may not: CIDs of virtual sockets.
    pub machines: (BTreeSet<u32>, BTreeSet<u32>),
    /// When, in local time; None is always.
    pub access_times: Option<AccessTimes>,
    /// Connections per second; over it the listener rests.
    pub cps: Option<Cps>,
    /// The load average above which clients are refused.
    pub max_load: Option<f64>,
    /// The longest a program may run.
    pub timeout: Option<Duration>,
    /// The longest that nothing may move on a connection.
    pub idle_timeout: Option<Duration>,
    /// Time between TERM and KILL at the timeout.
    pub kill_after: Duration,
    /// What becomes of what a program leaves behind.
    pub leftovers: Leftovers,
    /// Clients after which the service stops by itself.
    pub max_clients: Limit,
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
            linger: Linger::Auto,
            nodelay: false,
            keepalive: Keepalive::No,
            answer_rate: Some(Rate { count: 1000, per: Duration::from_secs(1) }),
            sndbuf: None,
            rcvbuf: None,
            socket_user: None,
            socket_group: None,
            socket_mode: 0o600,

            only_from: None,
            no_access: Rc::from([]),
            machines: <(BTreeSet<u32>, BTreeSet<u32>)>::default(),
            access_times: None,
            cps: None,
            max_load: None,
            timeout: None,
            idle_timeout: None,
            kill_after: Duration::from_secs(5),
            leftovers: Leftovers::Leave,
            max_clients: None,
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
