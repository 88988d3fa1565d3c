//! A block as it stands in the file, and what can be asked of it.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use super::known;
use crate::config::attribute::value::Operator;
use crate::config::diagnostic::Span;
use crate::config::text::words::Word;

/// What a file says between its first and its last line.
#[derive(Debug)]
pub(super) enum BlockItem {
    /// `service NAME` or `defaults` and what stands in its braces.
    Block(Block),
    /// Comments above an include, and its line.
    Comments(u32, Vec<String>),
    /// `include FILE`.
    Include(Word),
    /// `includedir DIRECTORY`.
    IncludeDir(Word),
}

/// One block.
#[derive(Debug)]
pub(super) struct Block {
    /// The name of the service; None for `defaults`.
    pub(super) name: Option<Word>,
    /// The line that opens it.
    pub(super) head: Span,
    /// The file, as origins name it.
    pub(super) file: Rc<str>,
    /// The number of that line.
    pub(super) first: u32,
    /// The number of its last line.
    pub(super) last: u32,
    /// Its attributes, in the order of the file.
    pub(super) lines: Vec<BlockLine>,
    /// The comments above it.
    pub(super) comments: Vec<String>,
    /// The comments in it, behind values too.
    pub(super) inside: Vec<String>,
    /// What stands in it without a sign, which has been reported.
    pub(super) signless: Vec<Word>,
    /// Whether something was wrong already.
    pub(super) broken: bool,
    /// The marks in the report between which its attributes were found to be wrong.
    pub(super) mistakes: Vec<Range<usize>>,
}

/// One line of a block.
#[derive(Debug, Clone)]
pub(super) struct BlockLine {
    /// The attribute.
    pub(super) name: Word,
    /// The operator.
    pub(super) operator: Operator,
    /// The value.
    pub(super) values: Vec<Word>,
    /// Where the value is, or would be.
    pub(super) place: Span,
}

/// What a file says, and the comments behind all of it.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Blocks and includes, in the order of the file.
    pub(super) items: Vec<BlockItem>,
    /// Comments after the last block.
    pub(super) comments: Vec<String>,
    /// Words of what is not read and would hold for every service: names of attributes, perhaps.
    pub(super) lost: Vec<Word>,
}

impl Block {
    /// An attribute that has one value: the first time that it is said counts.
    pub(super) fn get(&self, name: &str) -> Option<&BlockLine> {
        self.lines.iter().find(|line| line.name.text == name)
    }

    /// Whether an attribute is in it, be it without a sign.
    pub(super) fn names(&self, name: &str) -> bool {
        let signless = self.signless.iter().any(|word| word.text == name);
        signless || self.get(name).is_some()
    }

    /// All words of an attribute that is said once: a second line of it is ignored.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Word> {
        self.get(name).into_iter().flat_map(|line| &line.values)
    }

    /// By what `enabled` and `disabled` name it.
    pub(super) fn id(&self) -> &str {
        let name = self.name.as_ref().map_or("", |name| name.text.as_str());
        let id = self.get("id").and_then(|line| line.values.first());
        id.map_or(name, |id| id.text.as_str())
    }

    /// Its service name, if that is not its id.
    pub(super) fn other_name(&self) -> Option<&str> {
        self.name.as_ref().map(|name| name.text.as_str()).filter(|name| *name != self.id())
    }

    /// Names said more than once that can be said once only: the first and the second.
    pub(super) fn twice(&self) -> Vec<(&BlockLine, &BlockLine)> {
        let mut seen = HashSet::new();
        let once =
            |line: &&BlockLine| known::find(&line.name.text).is_some_and(|known| !known.list);
        let again = self.lines.iter().filter(once).filter(|line| !seen.insert(&line.name.text));
        again
            .filter_map(|second| {
                let first = self.lines.iter().find(|line| line.name.text == second.name.text)?;
                Some((first, second))
            })
            .collect()
    }
}
