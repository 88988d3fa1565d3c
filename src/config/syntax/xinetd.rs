//! xinetd.conf: blocks become entries. A second spelling of the same entries, with
//! xinetd's own meanings where they differ; names, ports and programs are nobody's
//! business here.

mod addresses;
mod assignment;
mod block;
mod convert;
mod converter;
mod defaults;
mod fields;
mod grammar;
mod ignored;
mod known;
mod numbers;
mod refused;
mod values;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::entry::Entry;
use super::foreign;
use super::include::{is_regular_name, pattern_in, sort};
use super::reader::{Context, Reader, ServiceOrigin};
use crate::config::diagnostic::reading::{help_with_reading, reason};
use crate::config::diagnostic::report::Report;
use crate::config::model::Origin;
use crate::config::text::source::File;
use crate::config::text::words::Word;
use block::{Block, BlockItem};
use converter::Converter;

/// What all files together say, before `defaults` are known.
#[derive(Default)]
struct Collected {
    blocks: Vec<Block>,
    defaults: Option<Block>,
    /// What is not read, and may say who may connect.
    lost: Vec<Word>,
}

/// Whether a file is written in this language.
pub(super) fn recognise(file: &File) -> bool {
    grammar::recognise(file)
}

/// A block of this language in a file of the other: its head, and its lines.
pub(super) fn block_at(file: &File, index: usize) -> Option<(Range<usize>, usize)> {
    grammar::block_at(file, index)
}

impl Reader<'_> {
    /// Reads a file of xinetd with all that it includes.
    pub(in crate::config) fn xinetd(&mut self, file: &File, path: &Path, context: &Context) {
        let before = self.report.contain(true);
        let mut collected = Collected::default();
        self.collect(file, path, &mut collected);
        let Collected { mut blocks, mut defaults, lost } = collected;
        let mut converter = Converter::new(self.lookup, self.report, context, defaults.as_mut());
        converter.doubt(&lost);
        let causes = converter.unsure.iter().map(|(_, cause)| Rc::clone(cause)).collect();
        self.xinetd_defaults = (converter.defaults.clone(), causes);
        let entries: Vec<Entry> = converter.entries(&mut blocks);
        self.entries.extend(entries);
        self.report.contain(before);
    }

    fn collect(&mut self, file: &File, path: &Path, collected: &mut Collected) {
        self.open.push(self.lookup.canonical(path));
        let parsed = grammar::parse(file, self.report);
        collected.lost.extend(parsed.lost);
        for item in parsed.items {
            match item {
                BlockItem::Block(block) => {
                    self.places.push(place(&block));
                    if block.name.is_some() {
                        collected.blocks.push(block);
                    } else {
                        self.defaults(block, collected);
                    }
                }
                BlockItem::Comments(line, comments) => self.comments(file, line, comments),
                BlockItem::Include(name) => {
                    let directory = path.parent().unwrap_or(Path::new(""));
                    self.one(&directory.join(&name.os), (&name, true), collected);
                }
                BlockItem::IncludeDir(name) => self.directory(path, &name, collected),
            }
        }
        if !parsed.comments.is_empty() {
            self.comments(file, u32::MAX, parsed.comments);
        }
        self.open.pop();
    }

    /// Comments that are about no block.
    fn comments(&mut self, file: &File, line: u32, comments: Vec<String>) {
        let origin = Origin { file: Rc::clone(&file.name), line };
        let (name, id, inside) = (None, None, Vec::new());
        self.places.push(ServiceOrigin { origin, last: line, name, id, comments, inside });
    }

    fn defaults(&mut self, block: Block, collected: &mut Collected) {
        match &collected.defaults {
            Some(first) => self
                .report
                .warning(&block.head, "there is a block `defaults` already: this one is ignored")
                .related(first.head.clone(), "the first one is here")
                .help("put all defaults into one block"),
            None => collected.defaults = Some(block),
        }
    }

    /// `includedir`: every regular file without a dot and without a tilde at its end.
    fn directory(&mut self, from: &Path, name: &Word, collected: &mut Collected) {
        let directory = from.parent().unwrap_or(Path::new("")).join(&name.os);
        if !self.lookup.is_directory(&directory) {
            self.report
                .warning(&name.span, format!("there is no directory `{}`", directory.display()))
                .help("create it, or take the line out");
            return;
        }
        for path in self.files_of(&directory) {
            self.one(&path, (name, false), collected);
        }
    }

    /// The files of a directory that xinetd would read, in its order.
    pub(in crate::config) fn files_of(&self, directory: &Path) -> Vec<PathBuf> {
        let mut paths = self.lookup.glob(&pattern_in(directory, "*")).unwrap_or_default();
        paths.retain(|path| is_regular_name(path) && !self.lookup.is_directory(path));
        sort(&mut paths);
        paths
    }

    /// Of those, the files with blocks: what is meant by a directory such as /etc/xinetd.d.
    pub(in crate::config) fn blocks_in(&self, directory: &Path) -> Vec<PathBuf> {
        let mut paths = self.files_of(directory);
        paths.retain(|path| {
            let bytes = self.lookup.read_found(path).unwrap_or_default();
            // What is wrong with it is said when it is read.
            recognise(&File::from_bytes("", &bytes, &mut Report::default()))
        });
        paths
    }

    fn one(&mut self, path: &Path, (written, itself): (&Word, bool), collected: &mut Collected) {
        let name = path.display();
        if self.open.contains(&self.lookup.canonical(path)) {
            self.report
                .error(
                    &written.span,
                    format!("`{name}` is being read already: it would include itself"),
                )
                .help("take one of the lines that include it away");
            return;
        }
        match self.lookup.read_either(path, itself).and_then(foreign::refused) {
            Ok(bytes) => {
                let file = File::from_bytes(&path.to_string_lossy(), &bytes, self.report);
                self.collect(&file, path, collected);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.report
                    .warning(&written.span, format!("there is no `{name}`"))
                    .help("create it, or take the line out");
            }
            Err(error) => {
                self.report
                    .error(&written.span, format!("cannot read `{name}`: {}", reason(&error)))
                    .help(help_with_reading(&error, "correct the path, or take the line out"));
            }
        }
    }
}

fn place(block: &Block) -> ServiceOrigin {
    ServiceOrigin {
        origin: Origin { file: Rc::clone(&block.file), line: block.first },
        last: block.last,
        name: block.name.as_ref().map(|name| name.text.clone()),
        id: block.other_name().map(|_| block.id().to_owned()),
        comments: block.comments.clone(),
        inside: block.inside.clone(),
    }
}
