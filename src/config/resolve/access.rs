//! Attributes whose values stand in other files: lists of addresses (`@FILE`) and
//! banners. Their names are relative to the file that says them; they are read while
//! the configuration is, and at every reload again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::attribute::lists::{AccessSpec, LastEmptied, List, ListChange, ListItem, wrong};
use crate::config::diagnostic::Span;
use crate::config::diagnostic::reading::{NO_FILE, reason};
use crate::config::diagnostic::report::Report;
use crate::config::model::{Banner, Prefix, parse_item};
use crate::config::syntax::entry::{Entry, Setting};
use crate::config::text::source::{File, is_comment};
use crate::config::text::words::{self, Word};

/// The largest file of addresses: a million of them.
const LARGEST_LIST: u64 = 32 << 20;
/// The largest banner.
const LARGEST_BANNER: u64 = 64 << 10;
/// Mistakes that are shown of one file of addresses.
const MOST_MISTAKES: usize = 10;

impl Resolver<'_> {
    /// Reads the files that a service's settings name.
    pub(super) fn read_what_is_said(&mut self, entry: &Entry, draft: &mut Draft) {
        let said = std::mem::take(&mut draft.said);
        let attributes = &mut draft.attributes;
        if let Some(list) = said.no_access {
            attributes.access.machines.1 = machines(&list.changes);
            attributes.access.no_access = self.prefixes(&list.changes);
        }
        if let Some(list) = said.only_from {
            attributes.access.machines.0 = machines(&list.changes);
            let mut who = self.only_from(&list, entry.broken);
            if entry.is_xinetds() {
                who = self.not_overruled((&who, &list.last), &attributes.access.no_access);
            }
            attributes.access.only_from = Some(who);
        }
        if let Some(list) = said.proxy_from {
            attributes.front.proxy_from = self.prefixes(&list.changes);
        }
        attributes.banners.all = said.banner.and_then(|word| self.banner(&word));
        attributes.banners.success = said.banner_success.and_then(|word| self.banner(&word));
        attributes.banners.fail = said.banner_fail.and_then(|word| self.banner(&word));
        draft.said = AccessSpec { tls: said.tls, tls_ca: said.tls_ca, ..AccessSpec::default() };
        self.read_tls(draft);
    }

    /// Who may connect; a warning if that is nobody and nothing else was said of why, as it was
    /// of an entry that is `broken`.
    fn only_from(&mut self, list: &List, broken: bool) -> Rc<[Prefix]> {
        let before = self.report.mark();
        let prefixes = self.prefixes(&list.changes);
        let nobody = prefixes.is_empty() && machines(&list.changes).is_empty();
        if nobody && !broken && !self.quiet && self.report.mark() == before {
            let LastEmptied { place, removes } = &list.last;
            let help = if *removes {
                "`-=` takes from those who may connect; say with `no_access` who may not"
            } else {
                "`only_from = 0.0.0.0/0 ::/0` is everybody; `disable = yes` is no service"
            };
            self.report.warning(place, "`only_from` is empty: nobody may connect").help(help);
        }
        prefixes
    }

    fn prefixes(&mut self, changes: &[ListChange]) -> Rc<[Prefix]> {
        // Nothing but one file, as is usual where lists are long: shared as it is.
        if let [ListChange { remove: false, item: ListItem::File(word) }] = changes {
            return self.list(word);
        }
        let mut prefixes = BTreeSet::new();
        for ListChange { remove, item } in changes {
            let read;
            let items = match item {
                ListItem::Prefixes(items) => items,
                ListItem::Machine(_) => continue,
                ListItem::File(word) => {
                    read = self.list(word);
                    &*read
                }
            };
            for prefix in items {
                if *remove {
                    prefixes.remove(prefix);
                } else {
                    prefixes.insert(*prefix);
                }
            }
        }
        prefixes.into_iter().collect()
    }

    /// The addresses of `@FILE`, sorted; none after an error, and then the service is
    /// not served.
    fn list(&mut self, word: &Word) -> Rc<[Prefix]> {
        let path = relative_to(&word.span, Path::new(&word.tail(1)));
        if let Some(known) = self.lists.get(&path) {
            return Rc::clone(known);
        }
        let bytes = match self.lookup.read_up_to(&path, LARGEST_LIST) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.cannot_read(word, &path, &error, LARGEST_LIST);
                return Rc::from([]);
            }
        };
        let before = self.report.errors();
        let file = File::from_bytes(&path.to_string_lossy(), &bytes, self.report);
        let mut prefixes = addresses(&file, self.report);
        prefixes.sort_unstable();
        prefixes.dedup();
        let list: Rc<[Prefix]> = prefixes.into();
        if self.report.errors() == before {
            self.lists.insert(path, Rc::clone(&list));
        }
        list
    }

    fn banner(&mut self, word: &Word) -> Option<Rc<Banner>> {
        let path = relative_to(&word.span, Path::new(&word.os));
        match self.lookup.read_up_to(&path, LARGEST_BANNER) {
            Ok(text) => Some(Rc::new(Banner { path, text })),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.cannot_read(word, &path, &error, LARGEST_BANNER);
                None
            }
            // A service is not worse without it.
            Err(error) => {
                if !self.quiet {
                    let why = reason(&error);
                    let message = format!("cannot read `{}`: {why}: left out", path.display());
                    self.report
                        .warning(&word.span, message)
                        .of_the_machine()
                        .help("the name is relative to the file that says it");
                }
                Some(Rc::new(Banner { path, text: Vec::new() }))
            }
        }
    }

    pub(super) fn cannot_read(&mut self, word: &Word, path: &Path, error: &io::Error, most: u64) {
        let path = path.display();
        if error.kind() == io::ErrorKind::FileTooLarge {
            let message = format!("`{path}` is larger than {} bytes", most);
            let finding = self.report.error(&word.span, message);
            finding.of_the_machine().help("name a smaller file");
            return;
        }
        let message = format!("cannot read `{path}`: {}", reason(error));
        let help = match error.kind() {
            io::ErrorKind::Other => NO_FILE,
            _ => "the name is relative to the file that says it",
        };
        self.lacks(&word.span, message, help);
    }

    /// A `wait` service on a stream: whoever connects is known to the program alone.
    pub(super) fn warn_of_unseen_sources(&mut self, entry: &Entry) {
        let is_rule =
            |setting: &&Setting| matches!(setting.attribute.name, "only_from" | "no_access");
        let said = entry.defaults.iter().chain(&entry.settings).filter(is_rule);
        for setting in said.collect::<Vec<_>>() {
            self.report
                .warning(
                    &setting.name.span,
                    format!(
                        "`{}` has no effect on `{}`: with `wait`, the program accepts its clients itself",
                        setting.name.text, entry.endpoint.text
                    ),
                )
                .help("write `nowait`, or let the program check its clients");
        }
    }
}

/// The machines of a list.
fn machines(changes: &[ListChange]) -> BTreeSet<u32> {
    let mut machines = BTreeSet::new();
    for ListChange { remove, item } in changes {
        match item {
            ListItem::Machine(cid) if *remove => _ = machines.remove(cid),
            ListItem::Machine(cid) => _ = machines.insert(*cid),
            ListItem::Prefixes(_) | ListItem::File(_) => {}
        }
    }
    machines
}

/// A name relative to the file that says it.
pub(super) fn relative_to(span: &Span, name: &Path) -> PathBuf {
    Path::new(&span.source.name).parent().unwrap_or(Path::new("")).join(name)
}

/// One item a line; the rest of a line may be a comment.
fn addresses(file: &File, report: &mut Report) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    let mut mistakes = 0;
    for line in &file.lines {
        let text = file.text(line.range.clone());
        if is_comment(text) || file.is_bad(line.number) {
            continue;
        }
        let end = text.find('#').map_or(line.range.end, |at| line.range.start + at);
        for word in words::split(file, line.range.start..end, report) {
            match parse_item(&word.text) {
                Ok(items) => prefixes.extend(items),
                Err(message) => {
                    let problem = wrong(&word.span, message);
                    report.error(&problem.span, problem.message).maybe_help(problem.help);
                    mistakes += 1;
                }
            }
        }
        if mistakes >= MOST_MISTAKES {
            break;
        }
    }
    prefixes
}
