//! The types of those attributes that are more than a number or a name.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::path_bytes;

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

/// Whether a PROXY header stands before the data: `proxy_protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyProtocol {
    /// None does.
    No,
    /// One does, or the client is refused.
    Require,
    /// One does if the connection comes from `proxy_from`.
    Accept,
}

/// Whether the target of a relay is told who the client is: `proxy_send`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxySend {
    /// It is not.
    No,
    /// With a line.
    V1,
    /// With a binary header.
    V2,
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

impl GroupLimits {
    /// Each limit by its attribute and what has to be there for it, and whether it is set.
    fn all(self) -> [(&'static str, &'static str, bool); 3] {
        [
            ("memory_max", "memory", self.memory_max.is_some()),
            ("tasks_max", "pids", self.tasks_max.is_some()),
            ("cpu_max", "cpu", self.cpu_max.is_some()),
        ]
    }

    /// The controllers that hold these limits.
    #[must_use]
    pub fn controllers(self) -> Vec<&'static str> {
        self.all().into_iter().filter(|(.., is_set)| *is_set).map(|(_, it, _)| it).collect()
    }

    /// The attributes that have set them.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        self.all().into_iter().filter(|(.., is_set)| *is_set).map(|(it, ..)| it).collect()
    }
}
