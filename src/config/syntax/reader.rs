//! What reading files into entries needs, and what comes of it. Each spelling says in a file of
//! its own how it is read.

use std::path::PathBuf;
use std::rc::Rc;

use super::dialect::Dialect;
use super::entry::{Entry, Setting};
use crate::config::diagnostic::cause::Cause;
use crate::config::diagnostic::report::Report;
use crate::config::facts::Lookup;
use crate::config::model::Origin;
use crate::config::text::words::Word;

/// What holds for the entries that follow; a file that is included has its own copy.
#[derive(Debug, Clone)]
pub(in crate::config) struct Context {
    /// What `.defaults` said.
    pub(in crate::config) defaults: Rc<[Setting]>,
    /// What an `ADDRESS:` line said: where it is wrong, so is what takes it.
    pub(in crate::config) address: Option<Word>,
    /// Defaults that were wrong: what they hold for is not served.
    pub(in crate::config) causes: Rc<[Rc<Cause>]>,
}

impl Default for Context {
    fn default() -> Self {
        Self { defaults: Rc::from([]), address: None, causes: Rc::from([]) }
    }
}

/// Where a service stands in the file that it was read from, and what was said
/// about it in comments.
#[derive(Debug, Clone)]
pub(in crate::config) struct ServiceOrigin {
    /// File and first line; equal to the origin of its entry.
    pub(in crate::config) origin: Origin,
    /// The last line.
    pub(in crate::config) last: u32,
    /// The name of the service; None for `defaults` and the end of a file.
    pub(in crate::config) name: Option<String>,
    /// Its `id`, if that is another name.
    pub(in crate::config) id: Option<String>,
    /// The comments above it.
    pub(in crate::config) comments: Vec<String>,
    /// The comments in it.
    pub(in crate::config) inside: Vec<String>,
}

/// Reads files into entries.
pub(in crate::config) struct Reader<'a> {
    pub(in crate::config) lookup: &'a dyn Lookup,
    pub(in crate::config) report: &'a mut Report,
    /// In whose place it reads.
    pub(in crate::config) dialect: Dialect,
    /// All entries so far.
    pub(in crate::config) entries: Vec<Entry>,
    /// The files being read, outermost first, by their one name.
    pub(in crate::config) open: Vec<PathBuf>,
    /// Whether the file at hand is one of a directory's.
    pub(in crate::config) is_one_of_several: bool,
    /// Where the blocks of xinetd's files stand.
    pub(in crate::config) places: Vec<ServiceOrigin>,
    /// What the `defaults` of the last of xinetd's files said, and what was wrong with them.
    pub(super) xinetd_defaults: (Vec<Setting>, Vec<Rc<Cause>>),
}

impl<'a> Reader<'a> {
    /// Nothing is read yet.
    pub(in crate::config) fn new(lookup: &'a dyn Lookup, report: &'a mut Report) -> Self {
        Self {
            lookup,
            report,
            dialect: Dialect::Own,
            entries: Vec::new(),
            open: Vec::new(),
            is_one_of_several: false,
            places: Vec::new(),
            xinetd_defaults: (Vec::new(), Vec::new()),
        }
    }

    /// A context with the `defaults` of xinetd's files so far added to it.
    pub(in crate::config) fn inherited(&self, context: &Context) -> Context {
        let (settings, causes) = &self.xinetd_defaults;
        let defaults = context.defaults.iter().chain(settings).cloned().collect();
        let causes = context.causes.iter().chain(causes).cloned().collect();
        Context { defaults, causes, ..context.clone() }
    }
}
