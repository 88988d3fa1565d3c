//! A file: its bytes made text, and its lines as spans.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use crate::config::diagnostic::report::Report;
use crate::config::diagnostic::{SourceText, Span};

/// One line of a file, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u32,
    /// Its bytes in the file's text.
    pub(crate) range: Range<usize>,
}

/// A file that was read, line by line.
#[derive(Debug)]
pub(crate) struct File {
    /// The text that all spans share.
    pub(crate) source: Rc<SourceText>,
    /// The name that origins carry.
    pub(crate) name: Rc<str>,
    /// All lines.
    pub(crate) lines: Vec<Line>,
    /// The numbers of lines with characters that cannot be in a word.
    bad: BTreeSet<u32>,
}

impl File {
    /// Text that is known to be text.
    pub(crate) fn new(name: &str, text: String) -> Self {
        let lines = split(&text);
        let source = Rc::new(SourceText::new(name, text));
        Self { source, name: Rc::from(name), lines, bad: BTreeSet::new() }
    }

    /// Bytes from outside. What is not UTF-8 becomes U+FFFD and is reported, as
    /// are NUL bytes; in a comment neither does any harm.
    pub(crate) fn from_bytes(name: &str, bytes: &[u8], report: &mut Report) -> Self {
        let mut file = Self::new(name, String::from_utf8_lossy(bytes).into_owned());
        report.opened(name);
        let broken = std::str::from_utf8(bytes).is_err();
        if broken || bytes.contains(&0) {
            file.bad = file.report_characters(broken, report);
        }
        if bytes.contains(&b'\r') {
            let joined = file.report_joined(report);
            file.bad.extend(joined);
        }
        file
    }

    /// Whether a line has characters that cannot be in a word.
    pub(crate) fn is_bad(&self, line: u32) -> bool {
        self.bad.contains(&line)
    }

    /// A place in this file.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        Span { source: Rc::clone(&self.source), start: range.start, end: range.end }
    }

    /// The text of a range; empty if there is no such range.
    pub(crate) fn text(&self, range: Range<usize>) -> &str {
        self.source.text.get(range).unwrap_or("")
    }

    /// Lines that are several to somebody for whom a line ends with CR alone: one error for all.
    fn report_joined(&self, report: &mut Report) -> BTreeSet<u32> {
        let mut joined = BTreeSet::new();
        for line in &self.lines {
            let text = self.text(line.range.clone()).trim_end_matches(is_blank);
            let Some(at) = text.find('\r') else { continue };
            if joined.is_empty() {
                let start = line.range.start + at;
                report
                    .error(&self.span(start..start + 1), "a line ends with CR alone")
                    .help("lines end with LF, or CR and LF (`tr '\\r' '\\n'` makes LF of CR)");
            }
            joined.insert(line.number);
        }
        joined
    }

    /// One error a line for characters that cannot be in a word.
    fn report_characters(&self, broken: bool, report: &mut Report) -> BTreeSet<u32> {
        let mut bad = BTreeSet::new();
        for line in &self.lines {
            let text = self.text(line.range.clone());
            if is_comment(text) {
                continue;
            }
            let Some(at) = text.find(|c| c == '\0' || (broken && c == '\u{fffd}')) else {
                continue;
            };
            bad.insert(line.number);
            let rest = text.get(at..).unwrap_or("");
            let first = rest.chars().next().unwrap_or('\0');
            let length: usize = rest.chars().take_while(|c| *c == first).map(char::len_utf8).sum();
            let start = line.range.start + at;
            let span = self.span(start..start + length);
            if first == '\0' {
                report
                    .error(&span, "NUL byte in the file")
                    .help("no word of a configuration can have one: is this a text file in UTF-8?");
            } else {
                report.error(&span, "these bytes are not UTF-8").help(
                    "save the file as UTF-8 (`iconv -f latin1 -t utf8`), or keep such text in comments",
                );
            }
        }
        bad
    }
}

/// Whether a line says nothing.
pub(crate) fn is_comment(line: &str) -> bool {
    let text = line.trim_start_matches(is_blank);
    text.is_empty() || text.starts_with('#')
}

/// The characters between words.
pub(crate) fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// Lines end with `\n` or `\r\n`; a byte order mark at the front is no text.
fn split(text: &str) -> Vec<Line> {
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut lines = Vec::new();
    let mut number = 1_u32;
    for raw in text.get(start..).unwrap_or("").split_inclusive('\n') {
        let body = raw.strip_suffix('\n').unwrap_or(raw);
        let body = body.strip_suffix('\r').unwrap_or(body);
        lines.push(Line { number, range: start..start + body.len() });
        start += raw.len();
        number = number.saturating_add(1);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{File, Report};

    fn lines(bytes: &[u8]) -> (Vec<String>, usize) {
        let mut report = Report::default();
        let file = File::from_bytes("test", bytes, &mut report);
        let lines = file.lines.iter().map(|line| file.text(line.range.clone()).to_owned());
        (lines.collect(), report.errors())
    }

    #[test]
    fn every_kind_of_line_end_is_an_end() {
        assert_eq!(lines(b"a\nb\r\n\nc"), (vec!["a".into(), "b".into(), "".into(), "c".into()], 0));
        assert_eq!(lines(b""), (vec![], 0));
        assert_eq!(lines(b"\xef\xbb\xbfa\n"), (vec!["a".into()], 0));
    }

    #[test]
    fn bytes_that_are_no_text_are_errors_outside_comments() {
        assert_eq!(lines(b"a \xff\xfe b\n").1, 1);
        assert_eq!(lines(b"a \0 b\n\0").1, 2);
        assert_eq!(lines(b"# gr\xfc\xdfe\n  # \0\n").1, 0);
        assert_eq!(lines("a \u{fffd}\n".as_bytes()).1, 0);
    }

    #[test]
    fn a_line_that_ends_with_cr_alone_is_an_error_in_a_comment_too() {
        assert_eq!(lines(b"a\rb\nc\rd\n").1, 1, "once");
        assert_eq!(lines(b"# a\rb c\n").1, 1, "b would be a line");
        assert_eq!(lines(b"a \r\r\n  \r \n").1, 0);
    }
}
