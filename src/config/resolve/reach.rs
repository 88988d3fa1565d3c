//! What keeps a program that is there from being started, as far as it can be seen before
//! anybody connects: the file system that it is on, what is in it, and the directories that
//! its user has to go through. All of it may change, so the service is served.

use std::path::{Path, PathBuf};

use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::diagnostic::Span;
use crate::config::facts::Who;
use crate::config::model::{Account, Action};
use crate::config::syntax::entry::Entry;

impl Resolver<'_> {
    /// Warns of what will be in the way of a program.
    pub(super) fn check_reach(
        &mut self,
        entry: &Entry,
        draft: &Draft,
        action: Option<&Action>,
        account: Option<&Account>,
    ) {
        let (Some(Action::Program(program)), false) = (action, self.quiet || self.lacking) else {
            return;
        };
        let root = draft.attributes.process.chroot.as_deref();
        let span = &entry.program.span;
        let real = |path: &Path| self.lookup.real_path(root, path);
        let Some(file) = real(&program.path) else { return };
        let interpreter = self.lookup.interpreter(&file).and_then(|path| real(&path));
        let directory = draft.attributes.process.chdir.as_deref().and_then(real);
        let runs: Vec<PathBuf> = std::iter::once(file.clone()).chain(interpreter).collect();
        if let Some(path) = runs.iter().find(|path| self.lookup.is_noexec(path)) {
            let message =
                format!("`{}` is on a file system that is mounted noexec", path.display());
            self.in_the_way(
                span,
                message,
                "nothing there can be executed: mount it with `exec`, or put the program elsewhere",
            );
        } else if self.lookup.is_plain_text(&file) {
            let message = format!("`{}` is a text without `#!`: exec format error", file.display());
            self.in_the_way(span, message, "a script needs a first line such as `#!/bin/sh`");
        }
        let Some(account) = account else { return };
        let who = Who { uid: account.uid, gid: account.gid, groups: &account.groups };
        let top = root.and_then(|root| self.lookup.real_path(None, root));
        let closed = |path: &Path| self.lookup.closed_to(&who, path, top.as_deref());
        let found = runs.iter().chain(&directory).find_map(|path| closed(path));
        if let Some(closed) = found {
            let message = format!("user `{}` may not enter `{}`", account.name, closed.display());
            self.in_the_way(span, message, "it needs the right to search (`x`) each directory on the way, and to execute the program");
        }
    }

    fn in_the_way(&mut self, span: &Span, message: String, help: &str) {
        self.report.warning(span, message).of_the_machine().help(help);
    }
}
