//! A machine made of fixed facts, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use oxinetd::config::facts::{Executable, Lookup, ServiceFacts, UserFacts, interpreter_in};
use oxinetd::config::model::{Known, Names, Resource};

/// Names, port, protocol.
const SERVICES: &[(&[&str], u16, &str)] = &[
    (&["tcpmux"], 1, "tcp"),
    (&["echo"], 7, "tcp"),
    (&["echo"], 7, "udp"),
    (&["discard", "sink", "null"], 9, "tcp"),
    (&["discard", "sink", "null"], 9, "udp"),
    (&["daytime"], 13, "tcp"),
    (&["daytime"], 13, "udp"),
    (&["chargen", "ttytst", "source"], 19, "tcp"),
    (&["chargen", "ttytst", "source"], 19, "udp"),
    (&["ftp"], 21, "tcp"),
    (&["telnet"], 23, "tcp"),
    (&["time", "timserver"], 37, "tcp"),
    (&["time", "timserver"], 37, "udp"),
    (&["tftp"], 69, "udp"),
    (&["finger"], 79, "tcp"),
    (&["http", "www"], 80, "tcp"),
    (&["pop3", "pop-3"], 110, "tcp"),
    (&["auth", "authentication", "tap", "ident"], 113, "tcp"),
    (&["nntp", "readnews"], 119, "tcp"),
    (&["netbios-ssn"], 139, "tcp"),
    (&["shell", "cmd"], 514, "tcp"),
    (&["ntalk"], 518, "udp"),
];

/// All programs there are.
const PROGRAMS: &[&str] = &[
    "/bin/date",
    "/bin/cat",
    "/bin/ps",
    "/bin/cal",
    "/usr/bin/cal",
    "/usr/bin/nc",
    "/usr/sbin/tcpd",
    "/usr/libexec/ftpd",
    "/usr/libexec/rshd",
    "/usr/libexec/tftpd",
    "/usr/sbin/in.ntalkd",
    "/usr/lib/news/nnrpd",
    "/opt/my prog",
    "/jail/bin/cat",
    "/home/me/serve",
    "/usr/bin/test_server",
];

/// A machine: change any fact before you ask.
#[derive(Debug, Clone)]
pub(crate) struct FakeLookup {
    /// name, uid, gid.
    pub(crate) users: Vec<(&'static str, u32, u32)>,
    /// name, gid.
    pub(crate) groups: Vec<(&'static str, u32)>,
    /// Names (the first is official), port, protocol.
    pub(crate) services: Vec<(&'static [&'static str], u16, &'static str)>,
    /// Host names and their addresses.
    pub(crate) hosts: BTreeMap<&'static str, Vec<IpAddr>>,
    /// What names were before.
    pub(crate) before: Names,
    /// Files and their bytes.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    /// Programs.
    pub(crate) programs: BTreeSet<PathBuf>,
    /// Whether every other absolute path is one as well.
    pub(crate) every_program: bool,
    /// Network devices and their indices.
    pub(crate) devices: BTreeMap<&'static str, u32>,
    /// Whether there is IPv6.
    pub(crate) ipv6: bool,
    /// Whether there are virtual sockets.
    pub(crate) vsock: bool,
    /// Whether programs can be confined to paths.
    pub(crate) landlock: bool,
    /// Why no group of processes can be made, if that is so.
    pub(crate) no_group: Option<String>,
    /// Who runs the server; 0 is root.
    pub(crate) own_uid: u32,
    /// What it may have at most, where there is a limit.
    pub(crate) hard_limits: BTreeMap<Resource, u64>,
}

impl Default for FakeLookup {
    /// A machine as it is fresh from the installer, run by root.
    fn default() -> Self {
        let ip = |text: &str| text.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        Self {
            users: vec![
                ("root", 0, 0),
                ("daemon", 1, 1),
                ("news", 9, 9),
                ("nobody", 65534, 65534),
                ("me", 1000, 1000),
                ("telnetd", 101, 101),
                ("guest", 102, 102),
                ("john.doe", 103, 103),
                ("user", 104, 104),
            ],
            groups: vec![
                ("root", 0),
                ("daemon", 1),
                ("tty", 5),
                ("news", 9),
                ("users", 100),
                ("nogroup", 65534),
                ("me", 1000),
                ("group", 105),
            ],
            services: SERVICES.to_vec(),
            hosts: BTreeMap::from([
                ("localhost", vec![ip("::1"), ip("127.0.0.1")]),
                ("server", vec![ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1")]),
                ("four", vec![ip("192.0.2.4")]),
            ]),
            before: Names::new(),
            files: BTreeMap::new(),
            programs: PROGRAMS.iter().map(PathBuf::from).collect(),
            every_program: false,
            devices: BTreeMap::from([("lo", 1), ("eth0", 2)]),
            ipv6: true,
            vsock: true,
            landlock: true,
            no_group: None,
            own_uid: 0,
            hard_limits: BTreeMap::from([(Resource::Core, 0), (Resource::Files, 4096)]),
        }
    }
}

impl FakeLookup {
    /// A machine with one file on it.
    pub(crate) fn with_file(path: &str, text: impl AsRef<[u8]>) -> Self {
        let mut fake = Self::default();
        fake.files.insert(PathBuf::from(path), text.as_ref().to_vec());
        fake
    }

    fn facts(user: (&str, u32, u32)) -> UserFacts {
        let (name, uid, gid) = user;
        let home = format!("/home/{name}");
        UserFacts { name: name.to_owned(), uid, gid, home, shell: "/bin/sh".to_owned() }
    }
}

impl Lookup for FakeLookup {
    fn user(&self, name: &str) -> Option<UserFacts> {
        self.users.iter().find(|user| user.0 == name).copied().map(Self::facts)
    }

    fn user_by_id(&self, uid: u32) -> Option<UserFacts> {
        self.users.iter().find(|user| user.1 == uid).copied().map(Self::facts)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|group| group.0 == name).map(|group| group.1)
    }

    fn group_name(&self, gid: u32) -> Option<String> {
        self.groups.iter().find(|group| group.1 == gid).map(|group| group.0.to_owned())
    }

    fn groups_of(&self, _user: &str, gid: u32) -> Vec<u32> {
        vec![gid, 100]
    }

    fn service(&self, name: &str, protocol: &str) -> Option<ServiceFacts> {
        let known =
            self.services.iter().find(|(names, _, of)| names.contains(&name) && *of == protocol)?;
        let name = known.0.first()?;
        Some(ServiceFacts { name: (*name).to_owned(), port: known.1 })
    }

    fn service_names(&self, protocol: &str) -> Vec<String> {
        let of = self.services.iter().filter(|(_, _, of)| *of == protocol);
        of.flat_map(|(names, _, _)| names.iter().map(|name| (*name).to_owned())).collect()
    }

    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.hosts.get(host).cloned().ok_or_else(|| io::Error::other("Name or service not known"))
    }

    fn before(&self, name: &str) -> Option<Known> {
        self.before.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, "No such file or directory (os error 2)");
        self.files.get(path).cloned().ok_or_else(missing)
    }

    fn read_up_to(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let bytes = self.read(path)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(bytes)
    }

    fn is_directory(&self, path: &Path) -> bool {
        let files = self.files.keys().chain(&self.programs);
        // A root directory of programs, be it empty.
        path == Path::new("/jail") || files.into_iter().any(|it| it != path && it.starts_with(path))
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let pattern = glob::Pattern::new(pattern).map_err(|error| error.to_string())?;
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        Ok(self
            .files
            .keys()
            .filter(|file| pattern.matches_path_with(file, options))
            .cloned()
            .collect())
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn executable(&self, path: &Path) -> Executable {
        match path.to_str() {
            Some("/bin" | "/usr/bin" | "/etc") => Executable::No("is a directory".to_owned()),
            Some("/etc/passwd") => Executable::No("is not executable".to_owned()),
            _ if self.programs.contains(path) => Executable::Yes,
            _ if self.every_program && path.is_absolute() => Executable::Yes,
            Some(path) if path.starts_with("/root/") => Executable::Hidden,
            _ => Executable::Missing,
        }
    }

    fn interpreter(&self, path: &Path) -> Option<PathBuf> {
        interpreter_in(self.files.get(path)?)
    }

    fn search_path(&self) -> Vec<PathBuf> {
        ["/usr/bin", "/bin", "/root/bin", "/usr/sbin"].map(PathBuf::from).to_vec()
    }

    fn current_directory(&self) -> Option<PathBuf> {
        Some(PathBuf::from("/home/me"))
    }

    fn device_index(&self, name: &str) -> Option<u32> {
        self.devices.get(name).copied()
    }

    fn has_vsock(&self) -> bool {
        self.vsock
    }

    fn has_ipv6(&self) -> bool {
        self.ipv6
    }

    fn own_account(&self) -> UserFacts {
        self.user_by_id(self.own_uid).unwrap_or_default()
    }

    fn own_groups(&self) -> Vec<u32> {
        vec![100]
    }

    fn real_path(&self, root: Option<&Path>, path: &Path) -> Option<PathBuf> {
        let path = match root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        };
        let known = self.files.keys().chain(&self.programs).any(|file| file.starts_with(&path));
        known.then_some(path)
    }

    fn why_no_group(&self, _: &[&'static str]) -> Option<String> {
        self.no_group.clone()
    }
    fn has_landlock(&self) -> bool {
        self.landlock
    }

    fn is_privileged(&self) -> bool {
        self.own_uid == 0
    }

    fn hard_limit(&self, resource: Resource) -> Option<u64> {
        self.hard_limits.get(&resource).copied()
    }
}
