//! The tokens of a key-value entry: words, signs, comments anywhere.

use crate::config::diagnostic::report::Report;
use crate::config::text::source::{File, is_blank};
use crate::config::text::words::{self, Word};

/// One `key = value`.
pub(super) struct Pair {
    /// The key.
    pub(super) key: Word,
    /// The words behind `=`.
    pub(super) values: Vec<Word>,
}

/// The text of an entry, token by token.
pub(super) struct Tokens<'a> {
    /// The file it is in.
    pub(super) file: &'a File,
    /// Where the rest starts.
    pub(super) at: usize,
    /// Where it ends.
    pub(super) end: usize,
}

impl Tokens<'_> {
    /// Past blanks, line ends and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.file.text(self.at..self.end);
            let text = rest.trim_start_matches(|c| is_blank(c) || c == '\n');
            self.at = self.end - text.len();
            if !text.starts_with('#') {
                return;
            }
            self.at += text.find('\n').unwrap_or(text.len());
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.skip();
        self.file.text(self.at..self.end).chars().next()
    }

    /// A word, which blanks, line ends and `stops` end.
    pub(super) fn word(&mut self, stops: &[char], report: &mut Report) -> Option<Word> {
        self.peek()?;
        let rest = self.file.text(self.at..self.end);
        let end = self.at + rest.find('\n').unwrap_or(rest.len());
        let ends = |c: char| is_blank(c) || stops.contains(&c);
        let word = words::one(self.file, self.at..end, &ends, report);
        self.at = word.span.end;
        (word.span.end > word.span.start).then_some(word)
    }

    /// All `key = value …`, up to the `;`.
    pub(super) fn pairs(&mut self, switch: &Word, report: &mut Report) -> Vec<Pair> {
        let mut pairs = Vec::new();
        loop {
            match self.peek() {
                None => {
                    report
                        .error(&switch.span, "the entry is not ended by `;`")
                        .help("write `;` behind the last value");
                    return pairs;
                }
                Some(';') => {
                    self.at += 1;
                    if self.peek().is_some() {
                        let rest = self.at..self.end;
                        report
                            .error(
                                &self.file.span(rest),
                                "nothing but a comment can follow the `;`",
                            )
                            .help("start the next entry on a line of its own");
                    }
                    return pairs;
                }
                Some(sign @ (',' | '=')) => {
                    let place = self.file.span(self.at..self.at + 1);
                    report
                        .error(&place, format!("a key is missing before `{sign}`"))
                        .help("write `key = value, key = value;`");
                    self.at += 1;
                }
                Some(_) => pairs.extend(self.pair(report)),
            }
        }
    }

    fn pair(&mut self, report: &mut Report) -> Option<Pair> {
        let key = self.word(&[',', ';', '='], report)?;
        if self.peek() != Some('=') {
            // On with what follows the next sign; that the value is missing is said later.
            while !matches!(self.peek(), None | Some(',' | ';' | '='))
                && self.word(&[',', ';', '='], report).is_some()
            {}
            self.at += usize::from(self.peek() == Some(','));
            return Some(Pair { key, values: Vec::new() });
        }
        self.at += 1;
        let mut values = Vec::new();
        loop {
            match self.peek() {
                Some(',') => {
                    self.at += 1;
                    return Some(Pair { key, values });
                }
                None | Some(';') => return Some(Pair { key, values }),
                Some(_) => values.extend(self.word(&[',', ';'], report)),
            }
        }
    }
}
