//! Checks of what a program is confined to: a service that could not run, or that
//! would be less confined than its lines look, is found when it is read.

use std::path::{Path, PathBuf};

use super::attribute::Draft;
use super::diagnostic::Span;
use super::entry::Entry;
use super::facts::Executable;
use super::model::{Action, Attributes};
use super::resolve::Resolver;

impl Resolver<'_> {
    /// Everything about `read_only` and `read_write` that this machine can tell.
    pub(super) fn check_paths(&mut self, entry: &Entry, draft: &Draft, action: Option<&Action>) {
        let attributes = &draft.attributes;
        let Some(Action::Program(program)) = action.filter(|_| attributes.is_path_confined())
        else {
            return;
        };
        if !attributes.path_confinement_is_optional() && !self.lookup.has_landlock() {
            let span = place(entry, "read_only").or(place(entry, "read_write"));
            let span = span.unwrap_or_else(|| entry.program.span.clone());
            let message = "this kernel cannot confine programs to paths";
            let help = "that needs Landlock (Linux 6.2); a `?` before the first path goes without";
            self.lacks(&span, message.to_owned(), help);
        }
        let lists = [("read_only", &attributes.read_only), ("read_write", &attributes.read_write)];
        for (name, paths) in lists {
            for path in &paths.list {
                self.check_is_there(entry, name, &inside(attributes, path));
            }
        }
        self.check_overlap(entry, attributes);
        let program_path = self.lookup.canonical(&inside(attributes, &program.path));
        let all = attributes.read_only.list.iter().chain(&attributes.read_write.list);
        let covers = |path: &PathBuf| {
            program_path.starts_with(self.lookup.canonical(&inside(attributes, path)))
        };
        if !all.into_iter().any(covers) {
            let shown = program.path.display();
            self.report
                .warning(
                    &entry.program.span,
                    format!("`{shown}` is in none of the paths of `read_only` and `read_write`: it will not start"),
                )
                .help("add its directory to `read_only`, and those of its libraries");
        }
    }

    fn check_is_there(&mut self, entry: &Entry, name: &str, path: &Path) {
        let missing =
            !self.lookup.is_directory(path) && self.lookup.executable(path) == Executable::Missing;
        if missing {
            let span = place(entry, name).unwrap_or_else(|| entry.program.span.clone());
            let message = format!("there is no `{}` for `{name}`", path.display());
            self.lacks(&span, message, "create it, or take it out of the list");
        }
    }

    /// Rights of Landlock add up: what lies below a writable directory is writable.
    fn check_overlap(&mut self, entry: &Entry, attributes: &Attributes) {
        let canonical = |path: &PathBuf| self.lookup.canonical(&inside(attributes, path));
        let writable: Vec<PathBuf> = attributes.read_write.list.iter().map(canonical).collect();
        let overlap = attributes.read_only.list.iter().find(|path| {
            let path = canonical(path);
            writable.iter().any(|above| path.starts_with(above))
        });
        if let Some(path) = overlap {
            let span = place(entry, "read_only").unwrap_or_else(|| entry.program.span.clone());
            let path = path.display();
            self.report
                .error(&span, format!("`{path}` would be writable: `read_write` has it too"))
                .help("rights add up: let `read_write` name what is to be written, and no more");
        }
    }
}

/// Where an attribute was said: for the entry, or by `.defaults`.
fn place(entry: &Entry, name: &str) -> Option<Span> {
    let said = entry.settings.iter().rev().chain(entry.defaults.iter().rev());
    let mut of = said.filter(|setting| setting.attribute.name == name);
    of.next().map(|setting| setting.place.clone())
}

/// A path as the server sees it.
fn inside(attributes: &Attributes, path: &Path) -> PathBuf {
    match &attributes.chroot {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    }
}
