//! The facts of this machine: users and groups from NSS, names of services from
//! /etc/services, hosts from the resolver. May block, so only while a
//! configuration is read. Each question is put to the machine once per reading: ten
//! thousand services have few users.
//!
//! | file | what it does |
//! |---|---|
//! | `question` | what is asked of name services |
//! | `worker` | who asks them: processes that can be killed |
//! | `questions` | what has been asked in a reading, and the one deadline of all |
//! | `again` | looking up again what a server waits for |
//! | `services` | the services database |
//! | `files` | files, bounded |
//! | `programs` | programs and paths |
//! | `reach` | who may connect to a unix socket |
//! | `machine` | what the kernel can do |
//! | `manner` | how long names are waited for, and what holds without an answer |
//! | `memo` | answers that are asked for once |

mod again;
mod files;
mod machine;
mod manner;
mod memo;
mod programs;
mod question;
mod questions;
mod reach;
mod services;
mod worker;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{self, Gid, Uid};

use crate::config::facts::{
    Executable, Lookup, ServiceFacts, UserFacts, Who, interpreter_in, is_plain_text,
};
use crate::config::model::{Account, FileIdentity, Known, Names, Resource};
use crate::front::identity::identity_of;
use crate::net::own_address;
use crate::sys::cgroup;
use crate::sys::trusted_path::rule::Writer;
use crate::sys::trusted_path::{open_named, open_to_read};
pub use again::{AwaitedName, seek};
pub use manner::{AT_LEISURE, AT_START, Manner};
use memo::Memo;
use question::{NameAnswer, NameQuestion};
use questions::Asking;
use services::ServiceNames;

/// This machine. The services database is read when it is made, and what has been
/// asked is remembered.
#[derive(Debug, Default)]
pub struct System {
    services: ServiceNames,
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
    groups: Memo<Vec<&'static str>, Option<String>>,
    configuration: files::Budget,
    exposures: files::Exposures,
    ipv6: OnceCell<bool>,
    own_account: OnceCell<UserFacts>,
    search_path: OnceCell<Vec<PathBuf>>,
}

/// The user that the command line names for what stands in front of services.
static FRONT_USER: OnceLock<String> = OnceLock::new();

/// To be told of that before anything is read.
pub fn set_front_user(name: Option<&str>) {
    if let Some(name) = name {
        FRONT_USER.get_or_init(|| name.to_owned());
    }
}

impl System {
    /// This machine with the services database as it is now; make a new one for a reload.
    pub fn new() -> Self {
        Self { services: ServiceNames::read(), ..Self::default() }
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

fn facts(answer: Option<NameAnswer>) -> Option<UserFacts> {
    let Some(NameAnswer::User(Some((name, uid, gid, home, shell)))) = answer else { return None };
    Some(UserFacts { name, uid, gid, home, shell })
}

impl Lookup for System {
    fn is_own_address(&self, address: SocketAddr) -> bool {
        own_address::is_own(address.ip())
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
        self.services.find(name, protocol)
    }

    fn service_names(&self, protocol: &str) -> Vec<String> {
        self.services.names(protocol)
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

    fn file_facts(&self, path: &Path) -> Option<(FileIdentity, u32)> {
        let facts = std::fs::metadata(path).ok()?;
        Some((identity_of(&facts), facts.mode()))
    }

    fn front_user(&self) -> Option<String> {
        FRONT_USER.get().cloned()
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
        self.executables.get(&path.to_owned(), || programs::executable(path))
    }

    fn interpreter(&self, path: &Path) -> Option<PathBuf> {
        let ask = || programs::start(path).and_then(|start| interpreter_in(&start));
        self.interpreters.get(&path.to_owned(), ask)
    }

    fn is_noexec(&self, path: &Path) -> bool {
        statvfs(path).is_ok_and(|facts| facts.flags().contains(FsFlags::ST_NOEXEC))
    }

    fn is_plain_text(&self, path: &Path) -> bool {
        let ask = || programs::start(path).is_some_and(|start| is_plain_text(&start));
        self.plain_texts.get(&path.to_owned(), ask)
    }

    fn closed_to(&self, who: &Who<'_>, path: &Path, root: Option<&Path>) -> Option<PathBuf> {
        programs::closed_to(who, path, root)
    }

    fn search_path(&self) -> Vec<PathBuf> {
        self.search_path.get_or_init(programs::search_path).clone()
    }

    fn current_directory(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    fn device_index(&self, name: &str) -> Option<u32> {
        let index = machine::device_index(name)?;
        self.is(name, &Known::Device(index));
        Some(index)
    }

    fn has_vsock(&self) -> bool {
        machine::has_vsock()
    }

    fn has_ipv6(&self) -> bool {
        *self.ipv6.get_or_init(machine::has_ipv6)
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
        programs::real_path(root, path)
    }

    fn has_landlock(&self) -> bool {
        machine::has_landlock()
    }

    fn why_no_group(&self, controllers: &[&'static str]) -> Option<String> {
        self.groups.get(&controllers.to_vec(), || cgroup::obstacle(controllers))
    }

    fn is_privileged(&self) -> bool {
        Uid::effective().is_root()
    }

    fn hard_limit(&self, resource: Resource) -> Option<u64> {
        machine::hard_limit(resource)
    }

    fn most_descriptors(&self) -> Option<u64> {
        machine::most_descriptors()
    }
}

#[cfg(test)]
mod tests {
    use super::System;
    use crate::config::facts::{Executable, Lookup};

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
