//! The grammar of xinetd.conf: blocks in braces, one attribute a line, and
//! `include` and `includedir` between them. Nothing is quoted and nothing goes on
//! in the next line.

use std::ops::Range;
use std::rc::Rc;

use super::block::{Block, BlockItem, Parsed};
use super::known;
use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;
use crate::config::diagnostic::suggest::nearest;
use crate::config::text::source::{File, Line, is_blank, is_comment};
use crate::config::text::words::Word;

/// Whether a file is written in this language: it has a block, or includes as
/// only this language does, before any line of the other.
pub(super) fn recognise(file: &File) -> bool {
    let says = |line: &&Line| !is_comment(file.text(line.range.clone()));
    let mut lines = file.lines.iter().filter(says).peekable();
    while let Some(line) = lines.next() {
        let text = file.text(line.range.clone()).trim();
        let head = text.split('{').next().unwrap_or("");
        let words: Vec<&str> = head.split_whitespace().collect();
        if text == "{" {
            return true;
        }
        let next = lines.peek().map(|next| file.text(next.range.clone()).trim());
        match words.as_slice() {
            words if is_line_of_inetd(words) => return false,
            [keyword] if is(keyword, "defaults") && opens(text, next) => return true,
            [keyword, _, ..] if is(keyword, "service") && opens(text, next) => return true,
            [keyword, path, ..] if is_include(keyword) && path.starts_with('/') => return true,
            _ => {}
        }
    }
    false
}

/// Whether these are the fields of an inetd.conf, which no line of a block can be taken for.
fn is_line_of_inetd(words: &[&str]) -> bool {
    let types = ["stream", "dgram", "seqpacket", "raw", "rdm"];
    words.len() > 5 && words.get(1).is_some_and(|second| types.contains(second))
}

/// The block that begins with a line of a file in the other language: its head, and the
/// number of lines up to its end.
pub(super) fn block_at(file: &File, index: usize) -> Option<(Range<usize>, usize)> {
    let text = |line: &Line| file.text(line.range.clone()).trim().to_owned();
    let lines = file.lines.get(index..)?;
    let first = lines.first()?;
    let head = text(first);
    let keyword = head.split([' ', '\t', '{']).next().unwrap_or_default();
    let next = lines.iter().skip(1).map(text).find(|text| !is_comment(text));
    let begins = is(keyword, "service") || is(keyword, "defaults");
    if !begins || !opens(&head, next.as_deref()) {
        return None;
    }
    let end = lines.iter().position(|line| text(line) == "}").map_or(lines.len(), |at| at + 1);
    Some((first.range.clone(), end))
}

/// Whether a line, or the one after it, has the brace that opens a block.
fn opens(text: &str, next: Option<&str>) -> bool {
    text.contains('{') || next.is_some_and(|next| next.starts_with('{'))
}

/// Keywords are known in any case.
fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

fn is_include(word: &str) -> bool {
    is(word, "include") || is(word, "includedir")
}

/// Splits a range of a file at blanks: quotes are letters here.
pub(super) fn words(file: &File, range: Range<usize>) -> Vec<Word> {
    let text = file.text(range.clone());
    let mut words = Vec::new();
    let mut at = 0;
    for part in text.split(is_blank) {
        if !part.is_empty() {
            let start = range.start + at;
            words.push(Word::new(part, file.span(start..start + part.len())));
        }
        // What separates words is one byte long.
        at += part.len() + 1;
    }
    words
}

/// Reads a file.
pub(super) fn parse(file: &File, report: &mut Report) -> Parsed {
    let parsed = Parsed::default();
    let mut reading =
        BlockParser { file, report, parsed, open: None, brace: true, stray: Stray::No };
    for line in &file.lines {
        reading.line(line);
    }
    reading.end();
    reading.parsed
}

pub(super) struct BlockParser<'a> {
    pub(super) file: &'a File,
    pub(super) report: &'a mut Report,
    parsed: Parsed,
    /// The block that is not closed yet.
    pub(super) open: Option<Block>,
    /// Whether its brace was there.
    brace: bool,
    stray: Stray,
}

/// What stands between blocks.
const KEYWORDS: [&str; 4] = ["service", "defaults", "include", "includedir"];

/// A block of no known kind: what stands in it is not looked at.
#[derive(PartialEq)]
enum Stray {
    No,
    Head,
    Inside,
}

impl BlockParser<'_> {
    fn line(&mut self, line: &Line) {
        let text = self.file.text(line.range.clone());
        if is_comment(text) {
            let text = text.trim();
            if !text.is_empty() {
                let comments = match &mut self.open {
                    Some(block) => &mut block.inside,
                    None => &mut self.parsed.comments,
                };
                comments.push(text.to_owned());
            }
            return;
        }
        let words = words(self.file, line.range.clone());
        let Some(first) = words.first().cloned() else { return };
        let before = self.report.errors();
        self.words(line, &first, &words);
        let wrong = self.report.errors() > before || self.file.is_bad(line.number);
        if let (true, Some(block)) = (wrong, &mut self.open) {
            block.broken = true;
        }
    }

    fn words(&mut self, line: &Line, first: &Word, words: &[Word]) {
        let keyword = first.text.to_ascii_lowercase();
        let opens = matches!(keyword.as_str(), "service" | "defaults" | "defaults{")
            && !words.get(1).is_some_and(|word| matches!(word.text.as_str(), "=" | "+=" | "-="));
        match (&self.open, keyword.as_str()) {
            (Some(_), _) if opens => {
                self.missing_end(&first.span);
                self.head(line, words);
            }
            (None, _) if opens => {
                self.stray = Stray::No;
                self.head(line, words);
            }
            (None, "include" | "includedir") => {
                let comments = std::mem::take(&mut self.parsed.comments);
                if !comments.is_empty() {
                    self.parsed.items.push(BlockItem::Comments(line.number, comments));
                }
                self.include(first, words);
            }
            (None, "{") if self.stray == Stray::Head => self.stray = Stray::Inside,
            (None, text) if self.stray == Stray::Inside => {
                if text == "}" {
                    self.stray = Stray::No;
                }
                self.lose(words);
            }
            (None, _) => {
                self.stray(first, words);
                self.lose(words);
                // Whom it keeps out is kept out, though it is misspelt.
                if nearest(&first.text, KEYWORDS) == Some("defaults") {
                    self.stray = Stray::No;
                    return self.head(line, words);
                }
                self.stray = if words.iter().any(|word| word.text == "{") {
                    Stray::Inside
                } else {
                    Stray::Head
                };
            }
            (Some(_), text) if !self.brace && text.starts_with('{') => self.brace(line, words),
            (Some(_), "}") => self.close(line, words),
            (Some(_), _) => {
                self.require_brace(&first.span);
                let mark = self.report.mark();
                self.attribute(line, first);
                let marks = mark..self.report.mark();
                if let (Some(block), false) = (&mut self.open, marks.is_empty()) {
                    block.mistakes.push(marks);
                }
            }
        }
    }

    /// `service NAME` or `defaults`, with or without the brace.
    fn head(&mut self, line: &Line, words: &[Word]) {
        let file = self.file;
        let text = file.text(line.range.clone());
        let end = line.range.start + text.find('{').unwrap_or(text.len());
        let head = self::words(file, line.range.start..end);
        let start = head.first().map_or(line.range.start, |word| word.span.start);
        let stop = head.last().map_or(end, |word| word.span.end);
        let place = file.span(start..stop);
        let mut broken = false;
        // What else stands there, xinetd does not look at.
        let name = match head.as_slice() {
            [keyword, name, ..] if is(&keyword.text, "service") && is(&name.text, "defaults") => {
                self.report
                    .error(&place, "`defaults` are of no service")
                    .help("write `defaults` alone; they hold for every service");
                None
            }
            [keyword, name, ..] if is(&keyword.text, "service") => Some(name.clone()),
            [keyword] if is(&keyword.text, "service") => {
                self.report
                    .error(&place, "the name of the service is missing")
                    .help("write `service NAME`, and `{` on the next line");
                Some(Word::new("", place.clone()))
            }
            _ => None,
        };
        let keyword = head.first().map_or("", |word| word.text.as_str());
        let most = if is(keyword, "service") { 2 } else { 1 };
        self.extra_words(&head, most);
        // What is for one service costs that one.
        let extra = head.get(most..).unwrap_or_default();
        match name {
            Some(_) => broken = extra.iter().any(|word| known::who(word.text.as_str()).is_some()),
            None => self.lose(extra),
        }
        self.open = Some(Block {
            name,
            head: place,
            file: Rc::clone(&file.name),
            first: line.number,
            last: line.number,
            lines: Vec::new(),
            comments: std::mem::take(&mut self.parsed.comments),
            inside: Vec::new(),
            signless: Vec::new(),
            broken,
            mistakes: Vec::new(),
        });
        self.brace = false;
        if let Some(at) = words.iter().position(|word| word.text.contains('{')) {
            self.brace(line, words.get(at..).unwrap_or_default());
        }
    }

    /// What stands where it is not read, outside the block of a service: whom it was to keep
    /// out is kept out.
    fn lose(&mut self, words: &[Word]) {
        if self.open.as_ref().is_none_or(|block| block.name.is_none()) {
            let assigns = |word: &Word| word.text.contains(['=', ':']);
            let is_sign = |word: &Word| word.text.starts_with(['=', ':', '+', '-']);
            let pairs = words.iter().zip(words.iter().skip(1).map(Some).chain([None]));
            let named = pairs.filter(|(word, next)| assigns(word) || next.is_some_and(assigns));
            let names = named.map(|(word, _)| word).filter(|word| !is_sign(word));
            self.parsed.lost.extend(names.cloned());
        }
    }

    /// Words behind what a line can have.
    fn extra_words(&mut self, words: &[Word], most: usize) {
        if let Some(extra) = words.get(most) {
            self.report
                .warning(&extra.span, format!("`{}` is ignored: one word too many", extra.text))
                .help("take it out; blanks cannot be quoted");
        }
    }

    /// `{`, behind which nothing stands.
    fn brace(&mut self, line: &Line, words: &[Word]) {
        self.brace = true;
        let extra = match words {
            [first, ..] if !first.text.ends_with('{') => Some(first),
            [_, second, ..] => Some(second),
            _ => None,
        };
        if let Some(extra) = extra {
            self.lose(words);
            self.report
                .error(&extra.span, "nothing can stand behind the `{`")
                .help("write every attribute, and the `}`, on a line of its own");
            // All of it in one line: that is said, and nothing of it is read.
            if words.last().is_some_and(|last| last.text.ends_with('}'))
                && let Some(mut block) = self.open.take()
            {
                block.broken = true;
                block.last = line.number;
                self.parsed.items.push(BlockItem::Block(block));
            }
        }
    }

    fn require_brace(&mut self, place: &Span) {
        if !self.brace {
            self.brace = true;
            self.report
                .error(place, "a `{` is missing before this line")
                .help("write `{` on a line of its own after the name");
        }
    }

    fn close(&mut self, line: &Line, words: &[Word]) {
        self.require_brace(&words.first().map_or_else(|| self.file.span(0..0), |w| w.span.clone()));
        if let Some(extra) = words.get(1) {
            self.lose(words);
            self.report
                .error(&extra.span, "nothing can stand behind the `}`")
                .help("write `}` on a line of its own");
            if let Some(block) = &mut self.open {
                block.broken = true;
            }
        }
        if let Some(mut block) = self.open.take() {
            block.last = line.number;
            self.parsed.items.push(BlockItem::Block(block));
        }
    }

    fn missing_end(&mut self, place: &Span) {
        let Some(mut block) = self.open.take() else { return };
        let start = block.head.clone();
        self.report
            .error(place, "a `}` is missing before this line")
            .related(start, "it would close this block")
            .help("write `}` on a line of its own");
        block.broken = true;
        self.parsed.items.push(BlockItem::Block(block));
    }

    /// The end of the file, where every block is closed.
    fn end(&mut self) {
        let Some(mut block) = self.open.take() else { return };
        let message = match &block.name {
            Some(name) => format!("the block of `{}` is not closed", name.text),
            None => "the block `defaults` is not closed".to_owned(),
        };
        self.report.error(&block.head, message).help("write `}` on a line of its own at its end");
        block.broken = true;
        block.last = self.file.lines.last().map_or(block.first, |line| line.number);
        self.parsed.items.push(BlockItem::Block(block));
    }

    fn include(&mut self, keyword: &Word, words: &[Word]) {
        let Some(path) = words.get(1) else {
            let end = self.file.span(keyword.span.end..keyword.span.end);
            self.report
                .error(&end, format!("`{}` takes one path", keyword.text))
                .help(format!("write `{} /etc/xinetd.d`", keyword.text));
            return;
        };
        self.extra_words(words, 2);
        self.parsed.items.push(if is(&keyword.text, "include") {
            BlockItem::Include(path.clone())
        } else {
            BlockItem::IncludeDir(path.clone())
        });
    }

    /// A line between the blocks that belongs to none.
    fn stray(&mut self, first: &Word, words: &[Word]) {
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let help = match nearest(&first.text, KEYWORDS) {
            Some(near) => format!("did you mean `{near}`?"),
            None if is_line_of_inetd(&texts) => {
                "this is a line of an inetd.conf: put such lines into a file of their own"
                    .to_owned()
            }
            None if first.text == "}" => "no block is open here: take it out".to_owned(),
            None => {
                "between blocks there are `service NAME`, `defaults`, `include FILE` and `includedir DIRECTORY`"
                    .to_owned()
            }
        };
        self.report.error(&first.span, format!("`{}` stands in no block", first.text)).help(help);
    }
}
