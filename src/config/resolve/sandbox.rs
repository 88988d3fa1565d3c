//! Checks of what a program is confined to: a service that could not run, or that
//! would be less confined than its lines look, is found when it is read.

use std::path::{Path, PathBuf};

use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::diagnostic::Span;
use crate::config::model::{Action, Attributes};
use crate::config::syntax::entry::Entry;

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
        let lists = [
            ("read_only", &attributes.sandbox.read_only),
            ("read_write", &attributes.sandbox.read_write),
        ];
        for (name, paths) in lists {
            for path in &paths.list {
                self.check_is_there(entry, name, attributes, path);
            }
        }
        self.check_overlap(entry, attributes);
        let all =
            attributes.sandbox.read_only.list.iter().chain(&attributes.sandbox.read_write.list);
        let all: Vec<PathBuf> = all.filter_map(|path| self.real(attributes, path)).collect();
        // What is missing has been said; what the program needs may be there.
        let program_path = self.real(attributes, &program.path).filter(|_| !self.lacking);
        if program_path.is_some_and(|program| !all.iter().any(|path| program.starts_with(path))) {
            let shown = program.path.display();
            let lists = "`read_only` and `read_write`";
            self.report
                .warning(
                    &entry.program.span,
                    format!("`{shown}` is in none of the paths of {lists}: it will not start"),
                )
                .help("add its directory to `read_only`, and those of its libraries");
        }
    }

    /// The root directory of a program, without which there is none either.
    pub(super) fn check_root(&mut self, entry: &Entry, attributes: &Attributes) -> Option<()> {
        let root =
            attributes.process.chroot.as_deref().filter(|root| !self.lookup.is_directory(root));
        let Some(root) = root else { return Some(()) };
        let span = place(entry, "chroot").unwrap_or_else(|| entry.program.span.clone());
        let message = format!("there is no directory `{}` to be the root", root.display());
        self.lacks(&span, message, "make it, with the program in it, or correct the path");
        None
    }

    /// The working directory of a program. It may come later, so the service is served.
    pub(super) fn check_directory(
        &mut self,
        entry: &Entry,
        attributes: &Attributes,
        action: Option<&Action>,
    ) {
        let written = attributes.process.chdir.as_deref().filter(|path| *path != Path::new("/"));
        let (Some(directory), Some(Action::Program(_)), false) = (written, action, self.quiet)
        else {
            return;
        };
        let real = self.real(attributes, directory);
        if real.is_some_and(|path| self.lookup.is_directory(&path)) {
            return;
        }
        let span = place(entry, "chdir").unwrap_or_else(|| entry.program.span.clone());
        let message = format!("there is no directory `{}`", directory.display());
        self.report
            .warning(&span, message)
            .of_the_machine()
            .help("make it: until then the program cannot be started");
    }

    /// Limits on all programs of a service together: without its group none is started. There may
    /// be one later, or where the server is started, so the service is served.
    pub(super) fn check_group(
        &mut self,
        entry: &Entry,
        attributes: &Attributes,
        action: Option<&Action>,
    ) {
        let limits = attributes.sandbox.group;
        let (Some(first), Some(Action::Program(_)), false) =
            (limits.names().first().copied(), action, self.quiet)
        else {
            return;
        };
        let Some(why) = self.lookup.why_no_group(&limits.controllers()) else { return };
        let said = limits.names().into_iter().find_map(|name| place(entry, name));
        let span = said.unwrap_or_else(|| entry.program.span.clone());
        let message = format!("`{first}` cannot hold here, and no program is started: {why}");
        self.report.warning(&span, message).of_the_machine().help(
            "start the server where it may make groups (cgroup v2; `Delegate=yes` in a unit); \
             `rlimit_as` and `rlimit_nproc` hold without one, for each process and each user",
        );
    }

    fn real(&self, attributes: &Attributes, path: &Path) -> Option<PathBuf> {
        self.lookup.real_path(attributes.process.chroot.as_deref(), path)
    }

    fn check_is_there(&mut self, entry: &Entry, name: &str, attributes: &Attributes, path: &Path) {
        if self.real(attributes, path).is_some() {
            return;
        }
        let span = place(entry, name).unwrap_or_else(|| entry.program.span.clone());
        let root = attributes.process.chroot.as_deref();
        let root = root.map_or(String::new(), |root| format!(" in `{}`", root.display()));
        let message = format!("there is no `{}`{root} for `{name}`", path.display());
        self.lacks(&span, message, "create it, or take it out of the list");
    }

    /// Rights of Landlock add up: what lies below a writable directory is writable.
    fn check_overlap(&mut self, entry: &Entry, attributes: &Attributes) {
        let writable = attributes.sandbox.read_write.list.iter();
        let writable: Vec<PathBuf> =
            writable.filter_map(|path| self.real(attributes, path)).collect();
        let overlap = attributes.sandbox.read_only.list.iter().find(|path| {
            let real = self.real(attributes, path);
            real.is_some_and(|path| writable.iter().any(|above| path.starts_with(above)))
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
    let written = entry.settings.iter().rev().chain(entry.defaults.iter().rev());
    let mut of = written.filter(|setting| setting.attribute.name == name);
    of.next().map(|setting| setting.place.clone())
}
