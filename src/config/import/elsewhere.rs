//! The machine that an import is for: the file may be read on another one than the text is
//! for, so all programs, users and groups are there, and root reads it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::facts::{Executable, Lookup, ServiceFacts, UserFacts};
use crate::config::model::Resource;

/// See above. Who is not here has a number all the same, from the end of them, which no
/// system gives anybody, and is printed by name.
pub(super) struct Elsewhere<'a> {
    lookup: &'a dyn Lookup,
    programs: BTreeSet<PathBuf>,
    strangers: RefCell<Vec<String>>,
}

/// The last number that a user or a group can have is two below that of nobody at all.
const LAST: u32 = u32::MAX - 2;

impl<'a> Elsewhere<'a> {
    /// Like the machine that `lookup` asks, with these programs.
    pub(super) fn new(lookup: &'a dyn Lookup, programs: BTreeSet<PathBuf>) -> Self {
        Self { lookup, programs, strangers: RefCell::default() }
    }

    /// The number of somebody, or of a group, that is not here.
    fn number(&self, name: &str) -> Option<u32> {
        // Numbers are what they are everywhere.
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut strangers = self.strangers.borrow_mut();
        let known = strangers.iter().position(|one| one == name);
        let index = known.unwrap_or_else(|| {
            strangers.push(name.to_owned());
            strangers.len() - 1
        });
        u32::try_from(index).ok().and_then(|index| LAST.checked_sub(index))
    }

    fn name(&self, number: u32) -> Option<String> {
        let index = usize::try_from(LAST.checked_sub(number)?).ok()?;
        self.strangers.borrow().get(index).cloned()
    }

    fn stranger(&self, name: &str) -> Option<UserFacts> {
        let number = self.number(name)?;
        Some(UserFacts { name: name.to_owned(), uid: number, gid: number, ..UserFacts::default() })
    }
}

/// A service that the database here does not have is printed by its name, and has no port
/// that another one could have.
fn unknown_service(name: &str) -> Option<ServiceFacts> {
    let is_name = name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte));
    is_name.then(|| ServiceFacts { name: name.to_owned(), port: 0 })
}

impl Lookup for Elsewhere<'_> {
    fn interpreter(&self, _path: &Path) -> Option<PathBuf> {
        None
    }

    fn executable(&self, path: &Path) -> Executable {
        if self.programs.contains(path) { Executable::Yes } else { self.lookup.executable(path) }
    }

    fn is_privileged(&self) -> bool {
        true
    }

    fn has_vsock(&self) -> bool {
        true
    }

    fn has_ipv6(&self) -> bool {
        true
    }

    fn has_landlock(&self) -> bool {
        true
    }

    fn real_path(&self, root: Option<&Path>, path: &Path) -> Option<PathBuf> {
        self.lookup.real_path(root, path)
    }

    fn user(&self, name: &str) -> Option<UserFacts> {
        self.lookup.user(name).or_else(|| self.stranger(name))
    }

    fn user_by_id(&self, uid: u32) -> Option<UserFacts> {
        self.lookup.user_by_id(uid).or_else(|| self.stranger(&self.name(uid)?))
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.lookup.group(name).or_else(|| self.number(name))
    }

    fn group_name(&self, gid: u32) -> Option<String> {
        self.lookup.group_name(gid).or_else(|| self.name(gid))
    }

    fn groups_of(&self, user: &str, gid: u32) -> Vec<u32> {
        self.lookup.groups_of(user, gid)
    }

    fn service(&self, name: &str, protocol: &str) -> Option<ServiceFacts> {
        self.lookup.service(name, protocol).or_else(|| unknown_service(name))
    }

    fn service_names(&self, protocol: &str) -> Vec<String> {
        self.lookup.service_names(protocol)
    }

    fn is_unanswered(&self, account: &str) -> bool {
        self.lookup.is_unanswered(account)
    }

    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // A name is printed as a name: its addresses may be others where the text is for.
        self.lookup.addresses(host).and(Err(io::Error::from(io::ErrorKind::NotFound)))
    }

    fn tells_of(&self, host: &str) -> bool {
        self.lookup.addresses(host).is_err()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.lookup.read(path)
    }

    fn read_found(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.lookup.read_found(path)
    }

    fn read_up_to(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.lookup.read_up_to(path, most)
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.lookup.is_directory(path)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        self.lookup.glob(pattern)
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        self.lookup.canonical(path)
    }

    fn search_path(&self) -> Vec<PathBuf> {
        self.lookup.search_path()
    }

    fn current_directory(&self) -> Option<PathBuf> {
        self.lookup.current_directory()
    }

    fn device_index(&self, name: &str) -> Option<u32> {
        self.lookup.device_index(name)
    }

    fn own_account(&self) -> UserFacts {
        self.lookup.own_account()
    }

    fn own_groups(&self) -> Vec<u32> {
        self.lookup.own_groups()
    }

    fn hard_limit(&self, _resource: Resource) -> Option<u64> {
        None
    }
}
