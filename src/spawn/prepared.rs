//! A program ready to be started: every string, number and array that its
//! children need, made once at load, so that nothing is allocated or looked up
//! between a connection and exec.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::rc::Rc;

use super::sandbox::capabilities::{Capabilities, Whose};
use super::sandbox::cgroup::Cgroup;
use super::sandbox::{Confinement, SandboxRefusal};
use super::steps::{ResourceLimit, Steps};
use crate::config::model::{Attributes, Program, Resource, Service, StderrTo};
use crate::net::fronted::Fact;
use crate::sys::capabilities::Own;

/// The search path of a program that belongs to root.
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The search path of everybody else's.
const USER_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Never passed on, whatever `passenv` says: they make the loader or the shell run
/// somebody's code.
const NEVER_PASSED: [&str; 1] = ["BASH_ENV"];
/// In `passenv`: everything that the server was started with and may be passed on.
const ALL: &str = "*";
/// What shells and programs write down of the terminal that they have.
const OF_TERMINALS: [&str; 3] = ["TERM", "COLUMNS", "LINES"];
const NEVER_PASSED_PREFIXES: [&str; 1] = ["LD_"];

/// What the server itself is, where a child's state follows from it.
#[derive(Debug, Clone)]
pub(crate) struct ServerFacts {
    /// The limit on descriptors that the server was started with; it has raised
    /// its own, and programs get this one back. None if it has not.
    pub nofile: Option<(u64, u64)>,
    /// The server's nice value.
    pub nice: i32,
    /// The server's file mode creation mask.
    pub umask: u32,
    /// The server's supplementary groups.
    pub groups: Vec<u32>,
    /// Real, effective and saved user and group id, if they are all one.
    pub ids: (Option<u32>, Option<u32>),
    /// What of capabilities it has, and would pass on.
    pub capabilities: Own,
    /// The server's working directory is `/`.
    pub in_root: bool,
    /// The environment the server was started with, without what is for the server alone.
    pub environment: Vec<(OsString, OsString)>,
    /// What the program prepared last was given, for the next that is given the same.
    pub last: RefCell<Rc<Vec<CString>>>,
}

impl ServerFacts {
    fn share(&self, variables: Vec<CString>) -> Rc<Vec<CString>> {
        let mut last = self.last.borrow_mut();
        if **last != variables {
            *last = Rc::new(variables);
        }
        Rc::clone(&last)
    }
}

/// A program with all that its children need. Never changes; children that are
/// being made hold it, so a reload may replace it at any time.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) steps: Steps,
    pub(super) arguments: Pointers,
    pub(super) environment: Rc<Vec<CString>>,
    pub(super) late_environment: Vec<CString>,
    /// Names that `env` and `passenv` set, which win over the connection's.
    overridden: Vec<String>,
    /// What it may not touch and use up.
    pub(super) confinement: Confinement,
    /// Where standard error goes.
    pub stderr: StderrTo,
}

/// C strings and the null-terminated array of pointers to them.
#[derive(Debug)]
pub(super) struct Pointers {
    strings: Vec<CString>,
    table: Vec<*const c_char>,
}

impl Pointers {
    pub(super) fn new(strings: Vec<CString>) -> Self {
        // A CString's bytes stay where they are when it is moved.
        let end = std::iter::once(ptr::null());
        let table = strings.iter().map(|string| string.as_ptr()).chain(end).collect();
        Self { strings, table }
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.table.as_ptr()
    }

    pub(super) fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// A value that cannot be handed to the system: it has a NUL byte.
#[derive(Debug)]
pub(crate) struct HasNul(String);

impl std::fmt::Display for HasNul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a NUL byte in {:?}", self.0)
    }
}

impl std::error::Error for HasNul {}

fn c_string(value: &OsStr) -> Result<CString, HasNul> {
    CString::new(value.as_bytes()).map_err(|_| HasNul(value.to_string_lossy().into_owned()))
}

fn c_path(path: Option<&Path>) -> Result<Option<CString>, HasNul> {
    path.map(|path| c_string(path.as_os_str())).transpose()
}

impl Prepared {
    /// Makes everything ready for `program` as `service` says, confined as prepared.
    ///
    /// # Errors
    /// When a string has a NUL byte.
    pub(crate) fn new(
        service: &Service,
        program: &Program,
        server: &ServerFacts,
        confinement: Confinement,
    ) -> Result<Self, HasNul> {
        let attributes = &service.attributes;
        let late = late_environment(attributes, server);
        Ok(Self {
            steps: steps(service, program, server, confinement.ruleset.is_some())?,
            arguments: Pointers::new(
                program.argv.iter().map(|word| c_string(word)).collect::<Result<_, _>>()?,
            ),
            environment: server.share(c_variables(&base_environment(service, &late, server))?),
            late_environment: c_variables(&late)?,
            overridden: late.iter().map(|(n, _)| n.to_string_lossy().into_owned()).collect(),
            confinement,
            stderr: attributes.process.stderr,
        })
    }

    /// Why it cannot be started, if that is known already.
    pub(crate) fn refusal(&self) -> Option<&SandboxRefusal> {
        self.confinement.refusal()
    }

    /// The group of processes that its children are born into.
    pub(crate) fn group(&self) -> Option<Rc<Cgroup>> {
        self.confinement.group.as_ref().map(Rc::clone)
    }

    /// Whether the connection may set this variable.
    pub(crate) fn leaves_free(&self, name: &str) -> bool {
        self.overridden.is_empty() || !self.overridden.iter().any(|set| set == name)
    }
}

/// What a child does to itself, without what it has in any case.
fn steps(
    service: &Service,
    program: &Program,
    server: &ServerFacts,
    is_path_confined: bool,
) -> Result<Steps, HasNul> {
    let Service { attributes, account, .. } = service;
    let ids = account.switch.then_some((account.uid, account.gid));
    let differs = |wanted: u32, have: Option<u32>| (have != Some(wanted)).then_some(wanted);
    let kept = attributes.sandbox.capabilities;
    let whose = match (account.uid, ids) {
        (0, _) => Whose::Root,
        (_, Some(_)) => Whose::Another,
        (_, None) => Whose::Same,
    };
    let groups = account.switch.then(|| account.groups.clone());
    Ok(Steps {
        path: c_string(program.path.as_os_str())?,
        terminal: attributes.front.has_terminal(),
        limits: limits(attributes, server),
        umask: attributes.process.umask.filter(|umask| *umask != server.umask),
        priority: (attributes.process.nice != 0)
            .then(|| server.nice.saturating_add(attributes.process.nice).clamp(-20, 19)),
        chroot: c_path(attributes.process.chroot.as_deref())?,
        chdir: c_path(directory(attributes, server))?,
        capabilities: Capabilities::of(kept, whose, &server.capabilities),
        // Landlock asks for it of whoever is not root.
        no_new_privs: attributes.sandbox.no_new_privs
            || is_path_confined
            || Capabilities::need_no_new_privs(kept, whose, &server.capabilities),
        groups: groups.filter(|groups| !are_alike(groups, &server.groups, account.gid)),
        gid: ids.and_then(|(_, gid)| differs(gid, server.ids.1)),
        uid: ids.and_then(|(uid, _)| differs(uid, server.ids.0)),
    })
}

/// Whether both lists of groups allow a process of the group `gid` the same: that one it
/// has in any case. Who has no groups to lose needs no system call to be rid of them.
fn are_alike(wanted: &[u32], have: &[u32], gid: u32) -> bool {
    let others = |groups: &[u32]| -> BTreeSet<u32> {
        groups.iter().copied().filter(|group| *group != gid).collect()
    };
    others(wanted) == others(have)
}

/// The directory to change to; none when the server is in it already.
fn directory<'a>(attributes: &'a Attributes, server: &ServerFacts) -> Option<&'a Path> {
    let there = server.in_root && attributes.process.chroot.is_none();
    attributes.process.chdir.as_deref().filter(|path| !(there && *path == Path::new("/")))
}

fn c_variables(variables: &[(OsString, OsString)]) -> Result<Vec<CString>, HasNul> {
    let join = |(name, value): &(OsString, OsString)| {
        let mut whole = name.clone();
        whole.push("=");
        whole.push(value);
        c_string(&whole)
    };
    variables.iter().map(join).collect()
}

/// `PATH HOME USER LOGNAME SHELL` of the user, or what the server was started
/// with; without what is set later.
fn base_environment(
    service: &Service,
    late: &[(OsString, OsString)],
    server: &ServerFacts,
) -> Vec<(OsString, OsString)> {
    let account = &service.account;
    // What the server's own terminal is says nothing of the program's.
    let has_terminal = service.attributes.front.has_terminal();
    let is_of_terminal = |name: &OsStr| OF_TERMINALS.iter().any(|of| name == OsStr::new(of));
    let first = |name: &OsStr| {
        let is_said_later = late.iter().any(|(set, _)| set == name);
        !(is_said_later || (has_terminal && is_of_terminal(name)))
    };
    if service.attributes.process.inherit_environment {
        let kept = |(name, _): &&(OsString, OsString)| {
            may_pass(name) && first(name) && !is_of_a_connection(name)
        };
        return server.environment.iter().filter(kept).cloned().collect();
    }
    let path = if account.uid == 0 { ROOT_PATH } else { USER_PATH };
    let all = service.attributes.process.passenv.iter().any(|name| name == ALL);
    let passed = server
        .environment
        .iter()
        .filter(|(name, _)| all && may_pass(name) && first(name) && !is_set_here(name))
        .cloned();
    let own_path = all && server.environment.iter().any(|(name, _)| name == "PATH");
    [
        ("PATH", path),
        ("HOME", account.home.as_str()),
        ("USER", account.name.as_str()),
        ("LOGNAME", account.name.as_str()),
        ("SHELL", account.shell.as_str()),
    ]
    .into_iter()
    .filter(|(name, _)| first(OsStr::new(name)) && !(own_path && *name == "PATH"))
    .map(|(name, value)| (name.into(), value.into()))
    .chain(passed)
    .collect()
}

/// What the account and the connection say of each child: another server's word
/// for it would be wrong.
fn is_set_here(name: &OsStr) -> bool {
    const OF_CONNECTIONS: [&[u8]; 4] = [b"TCP", b"UDP", b"UNIX", b"REMOTE_"];
    let bytes = name.as_bytes();
    ["HOME", "USER", "LOGNAME", "SHELL"].iter().any(|set| name == OsStr::new(set))
        || OF_CONNECTIONS.iter().any(|start| bytes.starts_with(start))
        || is_of_a_connection(name)
}

/// What a program is told of its connection, and would believe of another one.
fn is_of_a_connection(name: &OsStr) -> bool {
    const WORDS: [&str; 6] =
        ["PROTO", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT", "PROXY_ADDR", "PROXY_PORT"];
    const FAMILIES: [&[u8]; 4] = [b"TCP", b"UDP", b"UNIX", b"VSOCK"];
    let is_end = |rest: &[u8]| rest.starts_with(b"LOCAL") || rest.starts_with(b"REMOTE");
    let bytes = name.as_bytes();
    WORDS.iter().any(|set| name == OsStr::new(set))
        || Fact::ALL.iter().any(|fact| name == OsStr::new(fact.variable()))
        || FAMILIES.iter().any(|family| bytes.strip_prefix(*family).is_some_and(is_end))
}

/// What `passenv` and then `env` say; the latter wins.
fn late_environment(attributes: &Attributes, server: &ServerFacts) -> Vec<(OsString, OsString)> {
    let named =
        |name: &OsStr| attributes.process.passenv.iter().any(|passed| name == OsStr::new(passed));
    let set = |name: &OsStr| attributes.process.env.iter().any(|(set, _)| name == OsStr::new(set));
    let passed = server
        .environment
        .iter()
        .filter(|(name, _)| named(name) && may_pass(name) && !set(name))
        .cloned();
    let set = attributes.process.env.iter().map(|(name, value)| (name.into(), value.clone()));
    passed.chain(set).collect()
}

fn may_pass(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !NEVER_PASSED.iter().any(|never| bytes == never.as_bytes())
        && !NEVER_PASSED_PREFIXES.iter().any(|prefix| bytes.starts_with(prefix.as_bytes()))
}

/// The limits to set: those of the attributes, and the descriptors the server was
/// started with in place of the number it has raised its own to.
fn limits(attributes: &Attributes, server: &ServerFacts) -> Vec<ResourceLimit> {
    let both = |(resource, value): &(Resource, Option<u64>)| {
        let value = value.unwrap_or(libc::RLIM64_INFINITY);
        // No kernel gives anybody as many descriptors as he likes (fs.nr_open).
        let or_less = *resource == Resource::Files;
        ResourceLimit { resource: number(*resource), soft: value, hard: value, or_less }
    };
    let mut limits: Vec<ResourceLimit> = attributes.process.rlimits.iter().map(both).collect();
    if let Some((soft, hard)) = server.nofile
        && !limits.iter().any(|limit| limit.resource == number(Resource::Files))
    {
        limits.push(ResourceLimit { resource: number(Resource::Files), soft, hard, or_less: true });
    }
    limits
}

/// The number of a resource; the C libraries do not agree on its type.
#[allow(clippy::cast_sign_loss, reason = "constants from 0 to 15; signed with musl")]
#[allow(clippy::unnecessary_cast, reason = "unsigned already with glibc")]
fn number(resource: Resource) -> u32 {
    let number = match resource {
        Resource::As => libc::RLIMIT_AS,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Files => libc::RLIMIT_NOFILE,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::Stack => libc::RLIMIT_STACK,
    };
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_alike_but_for_the_main_one() {
        assert!(are_alike(&[65_534], &[], 65_534));
        assert!(are_alike(&[0], &[], 0) && are_alike(&[], &[0], 0));
        assert!(are_alike(&[4, 27, 1000], &[27, 4, 4], 1000));
        assert!(!are_alike(&[65_534], &[0], 65_534), "the server's own is left");
        assert!(!are_alike(&[], &[0], 65_534));
        assert!(!are_alike(&[4], &[], 65_534), "one is lacking");
    }
}
