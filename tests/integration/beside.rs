//! Beside the servers whose place this one takes: both serve one file, at the same path, under
//! the same name, with the same options, each in a root of its own, and all that clients and
//! programs see is compared, after the start and after a reload.

pub(crate) mod accounts;
pub(crate) mod corpus;
mod imports;
mod inetd_changes;
mod inetd_differences;
mod inetd_programs;
mod inetd_surroundings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::awake::kept_awake;
use crate::common::daemon::BINARY;
use crate::common::peers::Peer;
use crate::common::procs::is_alive;
use crate::common::rooted::{Root, Running};
use crate::common::sight::{Sight, listens, look};
use crate::common::wait::{park, wait_until};

/// How long the two may take to come to the same.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an answer to a datagram may take before it counts as none.
const ANSWERED: Duration = Duration::from_secs(2);

/// Files of a configuration: a path in the root and its bytes; the first is the one that the
/// server is told of, or looks for.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// A server's root and the same for this one.
pub(crate) struct Twins {
    peer: Peer,
    theirs: Root,
    ours: Root,
}

/// Both of them at work.
pub(crate) struct Pair<'a> {
    twins: &'a Twins,
    theirs: Running,
    ours: Running,
    /// The port of the service that tells one configuration from the next.
    mark: u16,
}

impl Twins {
    /// None after a loud skip.
    #[track_caller]
    pub(crate) fn of(peer: Peer) -> Option<Self> {
        let program = peer.find()?;
        let root = |program: &Path| {
            let root = Root::new(program, peer.place());
            accounts::write(&root);
            root
        };
        Some(Self { peer, theirs: root(&program), ours: root(Path::new(BINARY)) })
    }

    /// Writes files into both, with the programs that they name.
    fn write(&self, files: &Files, mark: u16) {
        for root in [&self.theirs, &self.ours] {
            accounts::clear(root);
            put_programs(root, files);
            for (index, (path, bytes)) in files.iter().enumerate() {
                let marked = [self.mark(mark).as_bytes(), bytes].concat();
                root.write(path, if index == 0 { &marked } else { bytes });
            }
        }
    }

    /// A service that only says which configuration is served.
    fn mark(&self, port: u16) -> String {
        match (port, self.peer) {
            (0, _) => String::new(),
            (_, Peer::Xinetd) => format!(
                "service mark\n{{\n\ttype = UNLISTED\n\tport = {port}\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\tuser = root\n\tserver = /bin/mark\n}}\n"
            ),
            _ => format!("{port} stream tcp nowait root /bin/mark mark\n"),
        }
    }

    /// Starts both with these files.
    pub(crate) fn start(&self, files: &Files, mark: u16) -> Pair<'_> {
        self.write(files, mark);
        let arguments = self.peer.arguments();
        let (theirs, ours) = (self.theirs.start(arguments), self.ours.start(arguments));
        let pair = Pair { twins: self, theirs, ours, mark };
        pair.wait_mark();
        pair
    }
}

impl Pair<'_> {
    /// Has both read other files.
    pub(crate) fn reload(&mut self, files: &Files) {
        self.mark += 1;
        self.twins.write(files, self.mark);
        self.theirs.reload();
        self.ours.reload();
        if !self.theirs_goes_on() {
            // xinetd that has relayed ends of a reload now and then.
            *self = self.twins.start(files, self.mark);
        }
        self.wait_mark();
    }

    /// Whether the original has read them, and not ended of it.
    fn theirs_goes_on(&self) -> bool {
        let pid = self.theirs.pid();
        wait_until("the original to read it", || !is_alive(pid) || listens(pid, self.mark));
        is_alive(pid)
    }

    fn wait_mark(&self) {
        if self.mark != 0 {
            for one in [&self.theirs, &self.ours] {
                wait_until("the configuration to be served", || listens(one.pid(), self.mark));
            }
        }
    }

    /// What is different between the two, once that does not change any more; what is `known`
    /// is not waited for.
    pub(crate) fn differences(&self, known: &dyn Fn(&str) -> bool) -> Vec<String> {
        let servers = [(&self.twins.theirs, &self.theirs), (&self.twins.ours, &self.ours)];
        settle(servers, self.mark, &|text| self.without_known(text), known)
    }

    /// An answer without what is different in every service, and told in the manual.
    fn without_known(&self, text: &str) -> String {
        let is_kept = |line: &&str| match line.strip_prefix("variable ") {
            Some(variable) => {
                let name = variable.split('=').next().unwrap_or_default();
                let own = ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "PROTO"].contains(&name);
                let of_client =
                    ["TCP", "UDP", "UNIX", "REMOTE"].iter().any(|it| name.starts_with(it));
                self.twins.peer == Peer::Xinetd && !own && !of_client
            }
            None => true,
        };
        // GNU's has its log open in its programs.
        let text = text.replace("descriptors: 0s 1s 2s 10\n", "descriptors: 0s 1s 2s\n");
        text.lines().filter(is_kept).collect::<Vec<_>>().join("\n")
    }
}

/// What two servers do that is different, once that does not change any more.
pub(crate) fn settle(
    servers: [(&Root, &Running); 2],
    mark: u16,
    tidy: &dyn Fn(&str) -> String,
    known: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let [theirs, ours] = look_at_both(servers, mark);
        let differences = apart(&theirs, &ours, tidy);
        let unknown = differences.iter().any(|difference| !known(difference));
        if !unknown || begun.elapsed() > PATIENCE {
            return differences;
        }
        // More than 50 connections in a second close a port of xinetd's.
        park(ANSWERED / 4);
    }
}

/// What each gives to clients, at the same time.
fn look_at_both(servers: [(&Root, &Running); 2], mark: u16) -> [Sight; 2] {
    std::thread::scope(|scope| {
        let looks = servers.map(|(root, server)| {
            scope.spawn(move || kept_awake(server.pid(), || look(root, server, mark, ANSWERED)))
        });
        looks.map(|look| look.join().unwrap())
    })
}

/// What is not the same, each with everywhere it is so.
fn apart(theirs: &Sight, ours: &Sight, tidy: &dyn Fn(&str) -> String) -> Vec<String> {
    let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let mut apart: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for key in keys {
        let said = |sight: &Sight| sight.get(key).map_or("not there".to_owned(), |it| tidy(it));
        let (theirs, ours) = (said(theirs), said(ours));
        if theirs != ours {
            let (kind, address) = key.split_once(' ').unwrap_or_default();
            let (host, port) = address.rsplit_once(':').unwrap_or(("", address));
            let what = format!("{kind} {port}: {}", lines_apart(&theirs, &ours));
            apart.entry(what).or_default().push(host);
        }
    }
    apart.into_iter().map(|(what, hosts)| format!("{what} ({})", hosts.join(" "))).collect()
}

/// Of two answers, the lines that only one has.
fn lines_apart(theirs: &str, ours: &str) -> String {
    let short = |text: &str| match text.lines().find(|line| line.starts_with("argv: ")) {
        Some(line) => line.to_owned(),
        None => format!("{text:?}"),
    };
    if !theirs.contains("argv: ") || !ours.contains("argv: ") {
        return format!("there {}, here {}", short(theirs), short(ours));
    }
    let only = |one: &str, other: &str| {
        let lines = one.lines().filter(|line| !other.lines().any(|it| it == *line));
        lines.collect::<Vec<_>>().join(" / ")
    };
    format!("there {}, here {}", only(theirs, ours), only(ours, theirs))
}

/// Puts the reporter where files say that programs are; not where they say `nosuch`.
fn put_programs(root: &Root, files: &Files) {
    let mut paths = BTreeSet::from(["/bin/mark".to_owned()]);
    for (_, bytes) in files {
        let text = String::from_utf8_lossy(bytes);
        let words = text.split(|c: char| c.is_whitespace() || "=,;\"'".contains(c));
        let not_programs = ["/etc/", "/var/", "/dev/", "/proc/", "/run/", "/tmp/"];
        let is_program = |word: &&str| {
            word.starts_with('/')
                && !word.ends_with('/')
                && !word.contains("nosuch")
                && !not_programs.iter().any(|folder| word.starts_with(folder))
        };
        paths.extend(words.filter(is_program).map(str::to_owned));
    }
    // What is in a folder before what has the folder's name.
    paths.iter().rev().for_each(|path| root.put_program(path));
}
