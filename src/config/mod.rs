//! The configuration language: text → entries with spans → validated model.
//!
//! Pure: everything it wants to know of the machine it asks through [`Lookup`],
//! so that every rule can be tested without root, DNS or a file system.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub mod attribute;
pub mod diagnostic;
pub mod facts;
#[doc(hidden)]
pub mod fake;
pub mod model;
pub mod print;

mod import;
pub mod lookup;
mod resolve;
pub(crate) mod syntax;
pub(crate) mod text;

pub(crate) use attribute::quantity::duration;
pub use diagnostic::{refusing, summary};
pub use facts::Lookup;
pub use import::{Imported, import};
pub use syntax::command_line::{RunSpec, from_command_line};
pub use syntax::dialect::Dialect;

use attribute::Draft;
use diagnostic::Diagnostic;
use diagnostic::cause::Cause;
use diagnostic::report::Report;
use model::{Config, Names};
use resolve::duplicates::Taken;
use resolve::unavailable::Costs;
use resolve::{Alike, EntryOutcome, Resolver};
use syntax::entry::{Entry, Indented, Setting};
use syntax::inetd::{Context, Reader};
use text::source::File;

/// What reading a configuration gives: as much of it as is right, and everything
/// there is to say about the rest.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The services.
    pub config: Config,
    /// All findings, by file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// What the names in it are, as far as that is known.
    pub names: Names,
}

/// A file or directory that a command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its path.
    pub path: PathBuf,
    /// What a directory stands for: `*.conf`, or `*` for every file in it; hidden files
    /// and what editors leave behind are never read.
    pub pattern: &'static str,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether the `defaults` of the xinetd.conf before it hold for its services.
    pub inherits: bool,
}

impl Named {
    /// A file that has to be there, or a directory for its `*.conf`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), pattern: "*.conf", optional: false, inherits: false }
    }
}

/// Reads a file, or the `*.conf` of a directory; `defaults` are `NAME=VALUE` from
/// the command line, which hold for every service that does not say otherwise.
#[must_use]
pub fn load(path: &Path, defaults: &[String], lookup: &dyn Lookup) -> Loaded {
    load_all(&[Named::new(path)], defaults, lookup)
}

/// Reads several files and directories into one configuration, as [`load`] reads one.
#[must_use]
pub fn load_all(places: &[Named], defaults: &[String], lookup: &dyn Lookup) -> Loaded {
    read_all(places, defaults, Dialect::Own, lookup, Report::default())
}

/// The same in the place of another server: what is wrong with an entry never keeps the
/// others from being served, not at a reload either.
#[must_use]
pub fn load_in_place(
    places: &[Named],
    defaults: &[String],
    dialect: Dialect,
    lookup: &dyn Lookup,
) -> Loaded {
    let mut report = Report::default();
    report.contain(true);
    read_all(places, defaults, dialect, lookup, report)
}

fn read_all(
    places: &[Named],
    defaults: &[String],
    dialect: Dialect,
    lookup: &dyn Lookup,
    mut report: Report,
) -> Loaded {
    let settings = command_line_settings("--default", defaults, &mut report);
    let wrong = report.since(0).iter().filter(|one| one.severity == diagnostic::Severity::Error);
    let causes = wrong.filter_map(Cause::of).map(Rc::new).collect();
    let context = Context { defaults: settings.into(), address: None, causes };
    let mut reader = Reader::new(lookup, &mut report);
    reader.dialect = dialect;
    for place in places {
        let context = if place.inherits { reader.inherited(&context) } else { context.clone() };
        for path in files(place, &mut reader) {
            match named(&path, place.path == path, lookup) {
                Ok(bytes) => reader.read(&path, &bytes, context.clone()),
                Err(error) if place.optional && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => unreadable(&path, &error, lookup.serves_already(), reader.report),
            }
        }
    }
    let entries = reader.entries;
    let loaded = finish(&entries, lookup, report, None);
    Loaded { diagnostics: diagnostic::gathering::gather(loaded.diagnostics), ..loaded }
}

/// A file that is named `itself`, or one that was found in a directory.
fn named(path: &Path, itself: bool, lookup: &dyn Lookup) -> io::Result<Vec<u8>> {
    if itself { lookup.read(path) } else { lookup.read_found(path) }
}

/// The files that a name on the command line means.
fn files(place: &Named, reader: &mut Reader<'_>) -> Vec<PathBuf> {
    let path = place.path.as_path();
    if !reader.lookup.is_directory(path) {
        return vec![path.to_owned()];
    }
    let pattern = syntax::include::pattern_in(path, place.pattern);
    let mut files = match reader.lookup.glob(&pattern) {
        Ok(files) => files,
        Err(problem) => {
            reader
                .report
                .error_without_place(format!("cannot read `{}`: {problem}", path.display()));
            return Vec::new();
        }
    };
    files.retain(|file| syntax::include::is_meant(file) && !reader.lookup.is_directory(file));
    syntax::include::sort(&mut files);
    if files.is_empty() && place.pattern != "*" {
        files = reader.blocks_in(path);
        if files.is_empty() && !place.optional {
            warn_of_nothing(path, reader);
        }
    }
    files
}

/// A directory in which no file is meant: some of another name may have been.
fn warn_of_nothing(path: &Path, reader: &mut Reader<'_>) {
    let others = reader.lookup.glob(&syntax::include::pattern_in(path, "*")).unwrap_or_default();
    let is_file = |file: &&PathBuf| {
        syntax::include::is_meant(file) && !reader.lookup.is_directory(file.as_path())
    };
    let help = match others.iter().find(is_file).and_then(|file| file.file_name()) {
        Some(name) => {
            let name = name.to_string_lossy();
            format!("only files whose names end in `.conf` are read: `{name}.conf` would be")
        }
        None => "put files there whose names end in `.conf`, and reload".to_owned(),
    };
    let message = format!("nothing is served from the directory `{}`", path.display());
    reader.report.warning_without_place(message).help(help);
}

fn unreadable(path: &Path, error: &io::Error, serves: bool, report: &mut Report) {
    let help = match (error.kind(), serves) {
        (io::ErrorKind::Other, _) => NO_FILE,
        (io::ErrorKind::NotFound, true) => {
            "put it back and reload again; until then everything goes on as it was"
        }
        (io::ErrorKind::PermissionDenied, true) => {
            "let the server's user read it and reload again; until then everything goes on as it was"
        }
        (_, true) => "put a file of services there and reload again",
        (io::ErrorKind::NotFound, false) => {
            "name a file that is there (`oxinetd etc/inetd.conf`), or serve one program without a file: `oxinetd run 8080 -- date`"
        }
        (io::ErrorKind::PermissionDenied, false) => {
            "start the server as a user that can read the file, or serve one program without a file: `oxinetd run 8080 -- date`"
        }
        (_, false) => "name a file of services: `oxinetd etc/inetd.conf`",
    };
    report
        .error_without_place(format!("cannot read `{}`: {}", path.display(), reason(error)))
        .help(help);
}

/// What the system says of an error, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// What helps against an error of reading a file that a configuration names.
fn help_with_reading(error: &io::Error, missing: &'static str) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => missing,
        io::ErrorKind::Other => NO_FILE,
        _ => "the server must be able to read every file of its configuration",
    }
}

/// What is read.
const NO_FILE: &str = "name a regular file; a link must belong to root or the server's user, in a directory that nobody else can write to";

/// What others can write decides what is served, and it is for whoever serves to know.
fn warn_of_exposed(lookup: &dyn Lookup, report: &mut Report) {
    for (path, by) in lookup.exposed() {
        let path = path.display();
        report
            .warning_without_place(format!(
                "{by} can write to `{path}`, and decides what the server reads there"
            ))
            .help(format!(
                "change its owner or mode (`chown root {path}`, `chmod go-w {path}`), or read another one"
            ));
    }
}

/// What is wrong with `NAME=VALUE` of the command line.
#[must_use]
pub fn wrong_defaults(texts: &[String]) -> Vec<Diagnostic> {
    let mut report = Report::default();
    command_line_settings("--default", texts, &mut report);
    let mut found = report.into_sorted();
    found.retain(|one| one.severity == diagnostic::Severity::Error);
    found
}

/// `NAME=VALUE` from the command line as settings; wrong ones are reported and left out.
fn command_line_settings(option: &str, texts: &[String], report: &mut Report) -> Vec<Setting> {
    let mut settings = Vec::new();
    for text in texts {
        let file = File::new(option, text.clone());
        report.opened(option);
        let before = report.errors();
        match syntax::entry::indented(&file, 0..text.len(), report) {
            Indented::Setting(setting) => {
                setting.apply(&mut Draft::default(), report);
                if report.errors() == before {
                    settings.push(setting);
                }
            }
            Indented::Wrong => {}
            Indented::Words(_) => {
                report
                    .error(&file.span(0..text.len()), format!("`{text}` is not NAME=VALUE"))
                    .help(format!("write something like `{option} instances=20`"));
            }
        }
    }
    settings
}

/// Entries become the configuration.
fn finish(
    entries: &[Entry],
    lookup: &dyn Lookup,
    mut report: Report,
    command_line: Option<Draft>,
) -> Loaded {
    let keeps_account = command_line.is_some();
    let mut config = Config::default();
    let mut taken = Taken::default();
    let mut relays = resolve::relay_loops::Relays::new();
    let mut resolver = Resolver {
        lookup,
        report: &mut report,
        keeps_account,
        base: command_line.unwrap_or_default(),
        said_no_ipv6: keeps_account,
        lacking: false,
        quiet: false,
        lists: resolve::access::Lists::new(),
        alike: Alike::default(),
        causes: resolve::naming::Causes::default(),
    };
    let all = resolver.report.contains();
    let mut outcomes = Vec::with_capacity(entries.len());
    let mut reasons = Vec::with_capacity(entries.len());
    let mut costs = Costs::default();
    for entry in entries {
        // That is a file of xinetd.
        resolver.report.contain(all || entry.id.is_some());
        let mark = resolver.report.mark();
        resolver.causes.next();
        let outcome = resolver.resolve(entry);
        reasons.push(resolver.reason(entry, &outcome, mark, &mut costs));
        if entry.off {
            resolver.report.hush(mark);
        }
        outcomes.push(outcome);
    }
    resolver.say_causes();
    costs.say(resolver.report);
    syntax::dialect::leave_ipv4(entries, &mut outcomes);
    resolve::duplicates::give_way(entries, &mut outcomes);
    if all {
        resolve::duplicates::last_counts(entries, &mut outcomes, &mut report);
    }
    for ((entry, outcome), reason) in entries.iter().zip(outcomes).zip(reasons) {
        let mark = report.mark();
        let contained = all || entry.id.is_some();
        report.contain(contained);
        match taken.claim(entry, outcome, &mut report) {
            EntryOutcome::Service(service) => {
                if matches!(service.action, model::Action::Relay(_)) {
                    relays.push((config.services.len(), entry.endpoint.span.clone(), contained));
                }
                config.services.push(service.into());
            }
            other => {
                let twice = || Cause::since(&report, mark).map(|cause| cause.told());
                config.does_without(entry, other, reason.or_else(twice));
            }
        }
    }
    resolve::relay_loops::check(&mut config, &relays, lookup, &mut report);
    let served: Vec<_> = config.services.iter().map(|service| service.action.clone()).collect();
    taken.check_tcpmux(&served, &mut report);
    warn_of_exposed(lookup, &mut report);
    Loaded { config, diagnostics: report.into_sorted(), names: Names::new() }
}
