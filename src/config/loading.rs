//! What a command line names becomes a configuration: which files that is, and in whose place
//! they are read.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::attribute::Draft;
use super::diagnostic::cause::Cause;
use super::diagnostic::gathering::gather;
use super::diagnostic::reading::unreadable;
use super::diagnostic::report::Report;
use super::diagnostic::{Diagnostic, Severity};
use super::facts::Lookup;
use super::model::{Config, Names};
use super::resolve::resolve;
use super::syntax::command_line::{self, RunSpec};
use super::syntax::dialect::Dialect;
use super::syntax::entry::{Indented, Setting, indented};
use super::syntax::reader::{Context, Reader};
use super::syntax::typed::typed;
use super::syntax::{foreign, include};
use super::text::source::File;

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

impl Loaded {
    /// Whether something cannot be meant.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|one| one.severity == Severity::Error)
    }
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

/// The service of a command line.
#[must_use]
pub fn from_command_line(spec: &RunSpec, lookup: &dyn Lookup) -> Loaded {
    let mut report = Report::default();
    let Some(entry) = command_line::entry_of(spec, lookup, &mut report) else {
        return Loaded { diagnostics: as_typed(report.into_sorted()), ..Loaded::default() };
    };
    let mut base = Draft::default();
    base.attributes.process.umask = None;
    base.attributes.process.chdir = None;
    base.attributes.process.inherit_environment = true;
    let (config, found) = resolve(&[entry], lookup, report, Some(base));
    Loaded { config, diagnostics: as_typed(found), names: Names::new() }
}

/// Findings of a command line, with what helps in its words.
fn as_typed(mut findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    for finding in &mut findings {
        finding.help = finding.help.take().map(|help| typed(&help));
    }
    findings
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
    let wrong = report.since(0).iter().filter(|one| one.severity == Severity::Error);
    let causes = wrong.filter_map(Cause::of).map(Rc::new).collect();
    let context = Context { defaults: settings.into(), address: None, causes };
    let mut reader = Reader::new(lookup, &mut report);
    reader.dialect = dialect;
    for place in places {
        let context = if place.inherits { reader.inherited(&context) } else { context.clone() };
        let files = files(place, &mut reader);
        reader.is_one_of_several = files.len() > 1;
        for path in files {
            let read = lookup.read_either(&path, place.path == path);
            match read.and_then(foreign::refused) {
                Ok(bytes) => reader.read(&path, &bytes, context.clone()),
                Err(error) if place.optional && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => unreadable(&path, &error, lookup.serves_already(), reader.report),
            }
        }
    }
    let entries = reader.entries;
    let (config, found) = resolve(&entries, lookup, report, None);
    Loaded { config, diagnostics: gather(found), names: Names::new() }
}

/// The files that a name on the command line means.
pub(super) fn files(place: &Named, reader: &mut Reader<'_>) -> Vec<PathBuf> {
    let path = place.path.as_path();
    if !reader.lookup.is_directory(path) {
        return vec![path.to_owned()];
    }
    let pattern = include::pattern_in(path, place.pattern);
    let mut files = match reader.lookup.glob(&pattern) {
        Ok(files) => files,
        Err(problem) => {
            reader
                .report
                .error_without_place(format!("cannot read `{}`: {problem}", path.display()));
            return Vec::new();
        }
    };
    files.retain(|file| include::is_meant(file) && !reader.lookup.is_directory(file));
    include::sort(&mut files);
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
    let others = reader.lookup.glob(&include::pattern_in(path, "*")).unwrap_or_default();
    let is_file =
        |file: &&PathBuf| include::is_meant(file) && !reader.lookup.is_directory(file.as_path());
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

/// What is wrong with `NAME=VALUE` of the command line.
#[must_use]
pub fn wrong_defaults(texts: &[String]) -> Vec<Diagnostic> {
    let mut report = Report::default();
    command_line_settings("--default", texts, &mut report);
    let mut found = report.into_sorted();
    found.retain(|one| one.severity == Severity::Error);
    found
}

/// `NAME=VALUE` from the command line as settings; wrong ones are reported and left out.
fn command_line_settings(option: &str, texts: &[String], report: &mut Report) -> Vec<Setting> {
    let mut settings = Vec::new();
    for text in texts {
        let file = File::new(option, text.clone());
        report.opened(option);
        let before = report.errors();
        match indented(&file, 0..text.len(), report) {
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
