//! `oxinetd import`: what a file says, written as inetd.conf, with its comments and
//! with a note for everything that would be different.

mod elsewhere;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::attribute::relevance::ServiceKind;
use super::attribute::{self, Shown};
use super::diagnostic::reading::unreadable;
use super::diagnostic::report::Report;
use super::diagnostic::{Diagnostic, Severity};
use super::facts::Lookup;
use super::loading::{Named, files};
use super::model::Config;
use super::print;
use super::resolve::resolve;
use super::syntax::entry::Entry;
use super::syntax::reader::{Context, Reader, ServiceOrigin};
use super::syntax::{foreign, include};
use crate::log::visible::is_shown;
use elsewhere::Elsewhere;

/// What an import gives.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// The text of the new file.
    pub text: String,
    /// All findings; each is a note in the text too.
    pub diagnostics: Vec<Diagnostic>,
    /// Whose services are in the text, those included that are off.
    pub config: Config,
}

/// Reads a file, or all that `includedir` would read of a directory, and writes it
/// as inetd.conf. Programs, users and groups that this machine does not have, and users that
/// only root can become, are taken as they are: the text may be for another machine.
#[must_use]
pub fn import(path: &Path, lookup: &dyn Lookup) -> Imported {
    let mut report = Report::default();
    let reading = Elsewhere::new(lookup, BTreeSet::new());
    let (entries, places) = entries(path, &reading, &mut report);
    let absolute = |entry: &Entry| {
        let path = PathBuf::from(&entry.program.os);
        path.is_absolute().then_some(path)
    };
    let programs = entries.iter().filter_map(absolute).collect();
    let elsewhere = Elsewhere::new(lookup, programs);
    let (config, diagnostics) = resolve(&entries, &elsewhere, report, None);
    let text = Writing { lookup: &elsewhere, places: &places, diagnostics: &diagnostics }
        .text(path, &config);
    Imported { text, diagnostics, config }
}

fn entries(
    path: &Path,
    lookup: &dyn Lookup,
    report: &mut Report,
) -> (Vec<Entry>, Vec<ServiceOrigin>) {
    let mut reader = Reader::new(lookup, report);
    // Whatever its files are called, what is in them is read below.
    let place = Named { optional: true, ..Named::new(path) };
    let mut paths = files(&place, &mut reader);
    if lookup.is_directory(path) {
        paths.extend(reader.files_of(path));
        include::sort(&mut paths);
    }
    for found in paths {
        match lookup.read_either(&found, found == path).and_then(foreign::refused) {
            Ok(bytes) => reader.read(&found, &bytes, Context::default()),
            Err(error) => unreadable(&found, &error, false, reader.report),
        }
    }
    (reader.entries, reader.places)
}

/// File and line.
type At<'a> = (&'a str, u32);

/// The text being written.
struct Writing<'a> {
    lookup: &'a dyn Lookup,
    places: &'a [ServiceOrigin],
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
    fn services<'c>(&self, config: &'c Config) -> BTreeMap<At<'c>, Printed> {
        let served = config.services.iter().map(|service| (service, false));
        let disabled = config.disabled.iter().map(|service| (service, true));
        let text = |(service, disabled)| {
            let shown = Shown::new(service, disabled, self.lookup);
            let kind = ServiceKind::of_service(service);
            (place(service), Printed { kind, text: print::entry(&shown) })
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
    place: &ServiceOrigin,
    notes: Option<Vec<&Diagnostic>>,
    service: Option<Printed>,
    common: &[String],
) -> String {
    let mut text = String::new();
    for comment in &place.comments {
        let _ = writeln!(text, "{}", one_line(comment));
    }
    note_all(&mut text, notes);
    match (service, &place.name) {
        (Some(service), name) => {
            let line = without(&service, common);
            // An `id` that is not another name is one of its lines.
            let called = name.as_ref().filter(|name| place.id.is_some() && !names(&line, name));
            if let Some(name) = called {
                let _ = writeln!(text, "# {}", one_line(name));
            }
            text.push_str(&line);
            for comment in &place.inside {
                let _ = writeln!(text, "    {}", one_line(comment));
            }
        }
        (None, Some(name)) => {
            let _ = writeln!(text, "# note: the service `{}` is not here", one_line(name));
        }
        (None, None) => {}
    }
    text
}

/// The lines that all of several services have for whom they mean something, in their order.
fn common<'a>(services: impl Iterator<Item = &'a Printed>) -> Vec<String> {
    let services: Vec<&Printed> = services.collect();
    let mut counted: HashMap<&str, usize> = HashMap::new();
    for service in &services {
        service.lines().for_each(|line| *counted.entry(line).or_default() += 1);
    }
    let mut common: Vec<&str> = Vec::new();
    for attribute in attribute::all().filter(|it| !OF_ONE.contains(&it.name)) {
        let concerned = services.iter().filter(|one| one.kind.matters(attribute.scope)).count();
        let is_all = |line: &&&str| {
            name_of(line) == attribute.name
                && concerned > 1
                && counted.get(**line) == Some(&concerned)
        };
        common.extend(counted.keys().find(is_all).copied());
    }
    common.into_iter().map(str::to_owned).collect()
}

/// Whether a line has the name of its service.
fn names(line: &str, name: &str) -> bool {
    let field = line.split_whitespace().next().unwrap_or_default();
    field.rsplit([':', '/', '+']).next() == Some(name)
}

/// What is said of one service only.
const OF_ONE: [&str; 3] = ["disable", "id", "redirect"];

fn name_of(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

fn without(service: &Printed, common: &[String]) -> String {
    let mut lines = service.text.split_inclusive('\n');
    let field = lines.next().unwrap_or_default();
    let is_own = |line: &&str| !service.concerns(line) || !common.iter().any(|one| one == line);
    std::iter::once(field).chain(lines.filter(is_own)).collect()
}

fn note_all(text: &mut String, diagnostics: Option<Vec<&Diagnostic>>) {
    for diagnostic in diagnostics.unwrap_or_default() {
        let _ = writeln!(text, "# note: {}", diagnostic.one_line());
    }
}

/// A service as it is printed.
struct Printed {
    kind: ServiceKind,
    text: String,
}

impl Printed {
    /// Those of the attributes that mean something for it.
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split_inclusive('\n').skip(1).filter(|line| self.concerns(line))
    }

    fn concerns(&self, line: &str) -> bool {
        attribute::find(name_of(line)).is_some_and(|it| self.kind.matters(it.scope))
    }
}

/// What must not become a second line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_shown(c) || c == '\t' { c } else { ' ' }).collect()
}

impl ServiceOrigin {
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
