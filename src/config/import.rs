//! `oxinetd import`: what a file says, written as inetd.conf, with its comments and
//! with a note for everything that would be different.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::attribute::Shown;
use super::diagnostic::{Diagnostic, Severity};
use super::entry::Entry;
use super::facts::{Executable, Lookup, ServiceFacts, UserFacts};
use super::inetd::{Context, Reader};
use super::model::{Config, Resource};
use super::report::Report;
use super::xinetd::Place;
use super::{Loaded, Named, files, finish, print, unreadable};

/// What an import gives.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// The text of the new file.
    pub text: String,
    /// All findings; each is a note in the text too.
    pub diagnostics: Vec<Diagnostic>,
    /// How many services are in the text, the disabled ones included.
    pub services: usize,
}

/// Reads a file, or all that `includedir` would read of a directory, and writes it
/// as inetd.conf. Programs that this machine does not have, and users that only
/// root can become, are taken as they are: the text may be for another machine.
#[must_use]
pub fn import(path: &Path, lookup: &dyn Lookup) -> Imported {
    let mut report = Report::default();
    let (entries, places) = entries(path, lookup, &mut report);
    let absolute = |entry: &Entry| {
        let path = PathBuf::from(&entry.program.os);
        path.is_absolute().then_some(path)
    };
    let programs = entries.iter().filter_map(absolute).collect();
    let elsewhere = Elsewhere { lookup, programs };
    let Loaded { config, diagnostics } = finish(&entries, &elsewhere, report, None);
    let text = Writing { lookup: &elsewhere, places: &places, diagnostics: &diagnostics }
        .text(path, &config);
    Imported { text, diagnostics, services: config.services.len() + config.disabled.len() }
}

fn entries(path: &Path, lookup: &dyn Lookup, report: &mut Report) -> (Vec<Entry>, Vec<Place>) {
    let mut reader = Reader::new(lookup, report);
    let mut paths = files(&Named::new(path), &mut reader);
    if lookup.is_directory(path) {
        paths.extend(reader.files_of(path));
        super::include::sort(&mut paths);
    }
    for found in paths {
        match super::named(&found, found == path, lookup) {
            Ok(bytes) => reader.read(&found, &bytes, Context::default()),
            Err(error) => unreadable(&found, &error, reader.report),
        }
    }
    (reader.entries, reader.places)
}

/// File and line.
type At<'a> = (&'a str, u32);

/// The text being written.
struct Writing<'a> {
    lookup: &'a dyn Lookup,
    places: &'a [Place],
    diagnostics: &'a [Diagnostic],
}

impl Writing<'_> {
    fn text(&self, path: &Path, config: &Config) -> String {
        let mut services = self.services(config);
        let mut text =
            format!("# Written by `oxinetd import {}`.\n", one_line(&path.display().to_string()));
        let mut notes = self.notes();
        note_all(&mut text, notes.remove(&None));
        let common = common(services.values());
        if !common.is_empty() {
            text.push_str("\n.defaults\n");
            common.iter().for_each(|line| text.push_str(line));
        }
        for place in self.places {
            let notes = notes.get(&Some(place.at()));
            let part = part(place, notes.cloned(), services.remove(&place.at()), &common);
            if !part.is_empty() {
                text.push('\n');
                text.push_str(&part);
            }
        }
        // Entries of files that were inetd.conf already.
        services.values().for_each(|service| text.push_str(&without(service, &common)));
        text
    }

    /// Every service as it is printed, by its place.
    fn services<'c>(&self, config: &'c Config) -> BTreeMap<At<'c>, String> {
        let served = config.services.iter().map(|service| (service, false));
        let disabled = config.disabled.iter().map(|service| (service, true));
        let text = |(service, disabled)| {
            let shown = Shown { service, disabled, lookup: self.lookup };
            (place(service), print::entry(&shown))
        };
        fn place(service: &super::model::Service) -> At<'_> {
            (&service.origin.file, service.origin.line)
        }
        served.chain(disabled).map(|(service, disabled)| text((&**service, disabled))).collect()
    }

    /// The findings about each block, and those about none.
    fn notes(&self) -> Notes<'_> {
        let ends = self.places.iter().map(|place| (place.at(), place.last)).collect();
        let mut notes = Notes::new();
        for diagnostic in self.diagnostics {
            notes.entry(block_of(diagnostic, &ends)).or_default().push(diagnostic);
        }
        notes
    }
}

/// What is said of blocks.
type Notes<'a> = BTreeMap<Option<At<'a>>, Vec<&'a Diagnostic>>;

/// The block that a finding is about: the last one that begins before it, if that has not
/// ended there.
fn block_of<'a>(diagnostic: &'a Diagnostic, ends: &BTreeMap<At<'a>, u32>) -> Option<At<'a>> {
    let span = diagnostic.span.as_ref()?;
    let line = u32::try_from(span.position().0).ok()?;
    let file = span.source.name.as_str();
    let (block, end) = ends.range(..=(file, line)).next_back()?;
    (block.0 == file && line <= *end).then_some(*block)
}

/// A block with its comments and notes.
fn part(
    place: &Place,
    notes: Option<Vec<&Diagnostic>>,
    service: Option<String>,
    common: &[String],
) -> String {
    let mut text = String::new();
    for comment in &place.comments {
        let _ = writeln!(text, "{}", one_line(comment));
    }
    note_all(&mut text, notes);
    match (service, &place.name) {
        (Some(service), _) => text.push_str(&without(&service, common)),
        (None, Some(name)) => {
            let _ = writeln!(text, "# note: the service `{}` is not here", one_line(name));
        }
        (None, None) => {}
    }
    text
}

/// What can be said once for all services, if all say it.
const SHARED: [&str; 11] = [
    "only_from",
    "no_access",
    "instances",
    "at_limit",
    "per_source",
    "cps",
    "groups",
    "passenv",
    "log_on_success",
    "log_on_failure",
    "log_type",
];

/// The lines that every one of several services has.
fn common<'a>(mut services: impl Iterator<Item = &'a String>) -> Vec<String> {
    let (Some(first), Some(second)) = (services.next(), services.next()) else { return Vec::new() };
    let shared = |line: &&str| SHARED.contains(&line.split_whitespace().next().unwrap_or(""));
    let mut lines: Vec<String> =
        first.split_inclusive('\n').skip(1).filter(shared).map(str::to_owned).collect();
    for service in std::iter::once(second).chain(services) {
        lines.retain(|line| service.split_inclusive('\n').skip(1).any(|other| other == line));
    }
    lines
}

fn without(service: &str, common: &[String]) -> String {
    service.split_inclusive('\n').filter(|line| !common.iter().any(|one| one == line)).collect()
}

fn note_all(text: &mut String, diagnostics: Option<Vec<&Diagnostic>>) {
    for diagnostic in diagnostics.unwrap_or_default() {
        let _ = writeln!(text, "# note: {}", diagnostic.one_line());
    }
}

/// What must not become a second line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

impl Place {
    fn at(&self) -> At<'_> {
        (&self.origin.file, self.origin.line)
    }
}

impl Imported {
    /// Whether something could not be written.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|one| one.severity == Severity::Error)
    }
}

/// A machine on which all programs are there and root reads the file.
struct Elsewhere<'a> {
    lookup: &'a dyn Lookup,
    programs: BTreeSet<PathBuf>,
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
        self.lookup.user(name)
    }

    fn user_by_id(&self, uid: u32) -> Option<UserFacts> {
        self.lookup.user_by_id(uid)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.lookup.group(name)
    }

    fn group_name(&self, gid: u32) -> Option<String> {
        self.lookup.group_name(gid)
    }

    fn groups_of(&self, user: &str, gid: u32) -> Vec<u32> {
        self.lookup.groups_of(user, gid)
    }

    fn service(&self, name: &str, protocol: &str) -> Option<ServiceFacts> {
        self.lookup.service(name, protocol)
    }

    fn service_names(&self, protocol: &str) -> Vec<String> {
        self.lookup.service_names(protocol)
    }

    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.lookup.addresses(host)
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
