//! The facts of this machine: users and groups from NSS, names of services from
//! /etc/services, hosts from the resolver. May block, so only while a
//! configuration is read. Each question is put to the machine once per reading: ten
//! thousand services have few users.
//!
//! | file | what it does |
//! |---|---|
//! | `question` | what is asked of name services |
//! | `asker` | who asks them: processes that can be killed |
//! | `asking` | what has been asked in a reading, and the one deadline of all |
//! | `seeking` | looking up again what a server waits for |
//! | `files` | files, bounded |

mod again;
mod files;
mod question;
mod questions;
mod reach;
mod worker;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::resource::{RLIM_INFINITY, getrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{self, Gid, Uid};

use crate::config::Lookup;
use crate::config::facts::{
    Executable, FIRST_LINE, ServiceFacts, UserFacts, Who, interpreter_in, is_plain_text,
};
use crate::config::model::{Account, Known, Names, Resource};
use crate::sys::trusted_path::rule::Writer;
use crate::sys::trusted_path::{open_named, open_to_read};
pub use again::{AwaitedName, seek};
use question::{NameAnswer, NameQuestion};
use questions::Asking;

/// Where programs are looked up when the server has no PATH.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The largest services database.
const MOST_SERVICES: u64 = 64 << 20;

/// How long all names of a configuration have, together, before what needs none is served
/// without them.
pub const AT_START: Duration = Duration::from_secs(2);
/// How long they have where nobody waits for being served.
pub const AT_LEISURE: Duration = Duration::from_secs(10);

/// How names are looked up while a configuration is read.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// What they were before: it holds for those that cannot be looked up now.
    pub before: Names,
    /// It holds for all, which are not asked for again.
    pub trusts: bool,
    /// How long all of them may take together.
    pub time: Duration,
    /// Whoever reads serves already.
    pub serves: bool,
}

impl Manner {
    /// So long, and nothing is known.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        Self { time, ..Self::default() }
    }
}

/// This machine. The services database is read when it is made, and what has been
/// asked is remembered.
#[derive(Debug, Default)]
pub struct System {
    services: Vec<KnownService>,
    asking: Asking,
    before: Names,
    trusts: bool,
    serves: bool,
    /// Names that are something, as far as anybody has asked.
    names: RefCell<Names>,
    texts: RefCell<HashMap<PathBuf, Vec<u8>>>,
    executables: Memo<PathBuf, Executable>,
    interpreters: Memo<PathBuf, Option<PathBuf>>,
    plain_texts: Memo<PathBuf, bool>,
    configuration: files::Budget,
    exposures: files::Exposures,
    ipv6: OnceCell<bool>,
    own_account: OnceCell<UserFacts>,
    search_path: OnceCell<Vec<PathBuf>>,
}

/// Answers that have been given.
#[derive(Debug, Clone)]
struct Memo<K, V>(RefCell<HashMap<K, V>>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(RefCell::new(HashMap::new()))
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Memo<K, V> {
    fn get(&self, key: &K, ask: impl FnOnce() -> V) -> V {
        if let Some(known) = self.0.borrow().get(key) {
            return known.clone();
        }
        let answer = ask();
        self.0.borrow_mut().insert(key.clone(), answer.clone());
        answer
    }
}

/// A line of /etc/services.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownService {
    /// The official name first.
    names: Vec<String>,
    port: u16,
    protocol: String,
}

impl System {
    /// This machine with the services database as it is now; make a new one for a reload.
    #[must_use]
    pub fn new() -> Self {
        let opened = open_to_read(Path::new("/etc/services"));
        let text = opened.and_then(|opened| files::bounded(opened.file, MOST_SERVICES));
        let text = text.unwrap_or_default();
        Self { services: services(&String::from_utf8_lossy(&text)), ..Self::default() }
    }

    /// Reads something that asks this machine, until it has asked for nothing that is not
    /// known; what nobody answers in time is not known, and not waited for. The same, and
    /// what the names in it are.
    pub fn read<T>(manner: Manner, read: impl Fn(&Self) -> T) -> (T, Names) {
        let asking = Asking::until(Instant::now() + manner.time);
        let Manner { before, trusts, serves, .. } = manner;
        let system = Self { asking, before, trusts, serves, ..Self::new() };
        loop {
            system.names.borrow_mut().clear();
            system.configuration.reset();
            let read = read(&system);
            if system.asking.settle() {
                return (read, system.names.take());
            }
        }
    }

    /// Notes what a name is.
    fn is(&self, name: &str, known: &Known) {
        self.names.borrow_mut().insert(name.to_owned(), known.clone());
    }

    fn text(&self, path: &Path, read: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        // It may be read several times, and a shell's `<(…)` gives its text but once.
        if let Some(known) = self.texts.borrow().get(path) {
            self.configuration.again(known)?;
            return Ok(known.clone());
        }
        let text = read()?;
        self.texts.borrow_mut().insert(path.to_owned(), text.clone());
        Ok(text)
    }
}

impl System {
    /// Whoever can write something, by name.
    fn name_of(&self, writer: Writer) -> String {
        let name = match writer {
            Writer::User(uid) => self.user_by_id(uid).map(|user| format!("user `{}`", user.name)),
            Writer::Group(gid) => self.group_name(gid).map(|name| format!("group `{name}`")),
            Writer::Everybody => None,
        };
        name.unwrap_or_else(|| writer.to_string())
    }
}

/// All lines that are right: `NAME PORT/PROTOCOL ALIAS… # comment`.
fn services(text: &str) -> Vec<KnownService> {
    text.lines().filter_map(service).collect()
}

fn service(line: &str) -> Option<KnownService> {
    let mut words = line.split('#').next()?.split_whitespace();
    let name = words.next()?;
    let (port, protocol) = words.next()?.split_once('/')?;
    let names = std::iter::once(name).chain(words).map(str::to_owned).collect();
    Some(KnownService { names, port: port.parse().ok()?, protocol: protocol.to_owned() })
}

fn facts(answer: Option<NameAnswer>) -> Option<UserFacts> {
    let Some(NameAnswer::User(Some((name, uid, gid, home, shell)))) = answer else { return None };
    Some(UserFacts { name, uid, gid, home, shell })
}

impl Lookup for System {
    fn is_own_address(&self, address: SocketAddr) -> bool {
        // Nothing is sent, and nothing can be received: any port will do.
        let any_port = SocketAddr::new(address.ip(), 0);
        address.ip().is_loopback() || UdpSocket::bind(any_port).is_ok()
    }

    fn why_unreachable(&self, path: &Path, account: &Account) -> Option<String> {
        reach::why_not(path, account)
    }

    fn user(&self, name: &str) -> Option<UserFacts> {
        facts(self.asking.ask(NameQuestion::User(name.to_owned())))
    }

    fn user_by_id(&self, uid: u32) -> Option<UserFacts> {
        facts(self.asking.ask(NameQuestion::UserById(uid)))
    }

    fn group(&self, name: &str) -> Option<u32> {
        match self.asking.ask(NameQuestion::Group(name.to_owned())) {
            Some(NameAnswer::Number(number)) => number,
            _ => None,
        }
    }

    fn group_name(&self, gid: u32) -> Option<String> {
        match self.asking.ask(NameQuestion::GroupById(gid)) {
            Some(NameAnswer::Name(name)) => name,
            _ => None,
        }
    }

    fn groups_of(&self, user: &str, gid: u32) -> Vec<u32> {
        match self.asking.ask(NameQuestion::GroupsOf(user.to_owned(), gid)) {
            Some(NameAnswer::Groups(groups)) => groups,
            _ => vec![gid],
        }
    }

    fn is_unanswered(&self, account: &str) -> bool {
        let user = || self.asking.is_unanswered(&NameQuestion::User(account.to_owned()));
        let group = || self.asking.is_unanswered(&NameQuestion::Group(account.to_owned()));
        user() || group() || self.asking.lacks_groups_of(account)
    }

    fn before(&self, name: &str) -> Option<Known> {
        let known = self.before.get(name)?.clone();
        self.is(name, &known);
        Some(known)
    }

    fn service(&self, name: &str, protocol: &str) -> Option<ServiceFacts> {
        let known = |service: &&KnownService| {
            service.protocol == protocol && service.names.iter().any(|known| known == name)
        };
        let service = self.services.iter().find(known)?;
        Some(ServiceFacts { name: service.names.first()?.clone(), port: service.port })
    }

    fn service_names(&self, protocol: &str) -> Vec<String> {
        let of = self.services.iter().filter(|service| service.protocol == protocol);
        of.flat_map(|service| service.names.iter().cloned()).collect()
    }

    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let before = self.before.get(host).filter(|_| self.trusts);
        let known = match before {
            Some(Known::Host(before)) => Ok(before.clone()),
            _ => match self.asking.ask(NameQuestion::Host(host.to_owned())) {
                Some(NameAnswer::Host(found)) => found,
                _ => Err("no answer in time".to_owned()),
            },
        };
        let known = known.map_err(io::Error::other)?;
        self.is(host, &Known::Host(known.clone()));
        Ok(known.into_iter().map(|(ip, _)| ip).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Whatever it is: a shell's `<(…)` is a pipe.
        self.text(path, || self.configuration.read(self.exposures.note(open_named(path))?))
    }

    fn read_found(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.text(path, || self.configuration.read(self.exposures.note(open_to_read(path))?))
    }

    fn read_up_to(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        files::bounded(self.exposures.note(open_to_read(path))?, most)
    }

    fn serves_already(&self) -> bool {
        self.serves
    }

    fn exposed(&self) -> Vec<(PathBuf, String)> {
        let all = self.exposures.all().into_iter();
        all.map(|(path, by)| (path, self.name_of(by))).collect()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let paths = glob::glob(pattern).map_err(|error| error.to_string())?;
        paths.map(|path| path.map_err(|error| error.to_string())).collect()
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    }

    fn executable(&self, path: &Path) -> Executable {
        self.executables.get(&path.to_owned(), || executable(path))
    }

    fn interpreter(&self, path: &Path) -> Option<PathBuf> {
        // Who may not read a program may run it all the same.
        let start = || files::start(open_to_read(path).ok()?.file, FIRST_LINE).ok();
        self.interpreters.get(&path.to_owned(), || interpreter_in(&start()?))
    }

    fn is_noexec(&self, path: &Path) -> bool {
        statvfs(path).is_ok_and(|facts| facts.flags().contains(FsFlags::ST_NOEXEC))
    }

    fn is_plain_text(&self, path: &Path) -> bool {
        let start = || files::start(open_to_read(path).ok()?.file, FIRST_LINE).ok();
        self.plain_texts
            .get(&path.to_owned(), || start().is_some_and(|start| is_plain_text(&start)))
    }

    fn closed_to(&self, who: &Who<'_>, path: &Path, root: Option<&Path>) -> Option<PathBuf> {
        let is_inside = |path: &&Path| root.is_none_or(|root| path.starts_with(root));
        let mut way: Vec<&Path> = path.ancestors().take_while(is_inside).collect();
        way.reverse();
        let is_closed = |path: &&Path| {
            let facts = path.metadata();
            facts.is_ok_and(|it| !who.may_execute(it.mode(), (it.uid(), it.gid())))
        };
        way.into_iter().find(is_closed).map(Path::to_owned)
    }

    fn search_path(&self) -> Vec<PathBuf> {
        let ask = || {
            let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
            std::env::split_paths(&path.unwrap_or_else(|| SEARCH_PATH.into())).collect()
        };
        self.search_path.get_or_init(ask).clone()
    }

    fn current_directory(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    fn device_index(&self, name: &str) -> Option<u32> {
        // A name that could leave the directory is not one of a device.
        if name.is_empty() || name.len() > 15 || name.contains(['/', '\0']) || name.starts_with('.')
        {
            return None;
        }
        let index = Path::new("/sys/class/net").join(name).join("ifindex");
        let index = std::fs::read_to_string(index).ok()?.trim().parse().ok()?;
        self.is(name, &Known::Device(index));
        Some(index)
    }

    fn has_vsock(&self) -> bool {
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Vsock, SockType::Stream, flags, None).is_ok()
    }

    fn has_ipv6(&self) -> bool {
        *self.ipv6.get_or_init(has_ipv6)
    }

    fn own_account(&self) -> UserFacts {
        if let Some(known) = self.own_account.get() {
            return known.clone();
        }
        let uid = Uid::effective().as_raw();
        let gid = Gid::effective().as_raw();
        let known = self.user_by_id(uid);
        let unknown = || UserFacts {
            name: uid.to_string(),
            uid,
            gid,
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
        };
        let is_known = known.is_some();
        let account = UserFacts { gid, ..known.unwrap_or_else(unknown) };
        if is_known {
            // Who is not known may still be asked about.
            return self.own_account.get_or_init(|| account).clone();
        }
        account
    }

    fn own_groups(&self) -> Vec<u32> {
        unistd::getgroups()
            .map(|groups| groups.into_iter().map(Gid::as_raw).collect())
            .unwrap_or_default()
    }

    fn real_path(&self, root: Option<&Path>, path: &Path) -> Option<PathBuf> {
        let Some(root) = root else { return path.canonicalize().ok() };
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let directory = open(root, flags | OFlag::O_DIRECTORY, Mode::empty()).ok()?;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let file = openat2(directory, path, how).ok()?;
        let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        name.ok().or_else(|| Some(root.join(path.strip_prefix("/").unwrap_or(path))))
    }

    fn has_landlock(&self) -> bool {
        use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
        // Before the third version of Landlock, files could be truncated all the same.
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V3))
            .and_then(Ruleset::create)
            .is_ok()
    }

    fn is_privileged(&self) -> bool {
        Uid::effective().is_root()
    }

    fn hard_limit(&self, resource: Resource) -> Option<u64> {
        let (_, hard) = getrlimit(system_name(resource)).ok()?;
        (hard != RLIM_INFINITY).then_some(hard)
    }
}

fn system_name(resource: Resource) -> nix::sys::resource::Resource {
    use nix::sys::resource::Resource as Name;
    match resource {
        Resource::As => Name::RLIMIT_AS,
        Resource::Core => Name::RLIMIT_CORE,
        Resource::Cpu => Name::RLIMIT_CPU,
        Resource::Data => Name::RLIMIT_DATA,
        Resource::Files => Name::RLIMIT_NOFILE,
        Resource::Fsize => Name::RLIMIT_FSIZE,
        Resource::Nproc => Name::RLIMIT_NPROC,
        Resource::Stack => Name::RLIMIT_STACK,
    }
}

/// IPv6 can be built in and switched off. Whether an address is there, the loopback's
/// included, is another question: it may come later.
fn has_ipv6() -> bool {
    let binds = |ip| UdpSocket::bind(SocketAddrV6::new(ip, 0, 0, 0)).is_ok();
    let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    let is_off = off.is_ok_and(|text| text.trim() == "1");
    binds(Ipv6Addr::LOCALHOST) || (!is_off && binds(Ipv6Addr::UNSPECIFIED))
}

fn executable(path: &Path) -> Executable {
    match path.metadata() {
        Ok(facts) if facts.is_dir() => Executable::No("is a directory".to_owned()),
        Ok(facts) if !facts.is_file() => Executable::No("is not a file".to_owned()),
        Ok(facts) if facts.permissions().mode() & 0o111 == 0 => {
            Executable::No("is not executable".to_owned())
        }
        Ok(_) => Executable::Yes,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Executable::Hidden,
        Err(_) => Executable::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::{System, services};
    use crate::config::Lookup;
    use crate::config::facts::Executable;

    #[test]
    fn the_services_database_has_aliases_and_comments() {
        let known = services(
            "# head\ndiscard 9/tcp sink null # nothing\n\nbad\nworse x/tcp\necho\t7/udp\n",
        );
        assert_eq!(known.len(), 2);
        let system = System { services: known, ..System::default() };
        let facts = system.service("null", "tcp").unwrap();
        assert_eq!((facts.name.as_str(), facts.port), ("discard", 9));
        assert_eq!(system.service("null", "udp"), None);
        assert_eq!(system.service_names("tcp"), ["discard", "sink", "null"]);
    }

    #[test]
    fn this_machine_has_what_every_machine_has() {
        let system = System::new();
        assert_eq!(system.user("root").unwrap().uid, 0);
        assert_eq!(system.user_by_id(0).unwrap().name, "root");
        assert_eq!(system.group("root"), Some(0));
        assert_eq!(system.user("no\0body"), None);
        assert!(system.groups_of("root", 0).contains(&0));
        assert_eq!(system.executable("/bin/sh".as_ref()), Executable::Yes);
        assert_eq!(system.executable("/no/such".as_ref()), Executable::Missing);
        assert!(matches!(system.executable("/etc".as_ref()), Executable::No(_)));
        assert!(matches!(system.executable("/etc/passwd".as_ref()), Executable::No(_)));
        assert!(system.device_index("lo").is_some());
        assert!(system.device_index("../net/lo").is_none());
        assert!(system.addresses("127.0.0.1").unwrap().iter().all(|ip| ip.is_loopback()));
        assert!(!system.search_path().is_empty());
    }
}
