//! Words of a line: blanks separate, quotes keep together, every word knows its place.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::source::{File, is_blank};
use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// What it says, quotes and escapes undone.
    pub(crate) text: String,
    /// The same for the system: differs from `text` only in bytes that are not UTF-8.
    pub(crate) os: OsString,
    /// Where it stands, quotes included.
    pub(crate) span: Span,
    /// Whether any of it was quoted.
    pub(crate) quoted: bool,
}

impl Word {
    /// A word that says `text` for what stands at `span`.
    pub(crate) fn new(text: &str, span: Span) -> Self {
        Self { text: text.to_owned(), os: OsString::from(text), span, quoted: false }
    }

    /// A field that is missing, which has been said: nothing more is said of it.
    pub(crate) fn missing(span: Span) -> Self {
        Self::new("", span)
    }

    /// Whether it stands for a field that is missing.
    pub(crate) fn is_missing(&self) -> bool {
        self.text.is_empty() && !self.quoted
    }

    /// The word, if it is one that somebody wrote.
    pub(crate) fn written(&self) -> Option<&Self> {
        (!self.is_missing()).then_some(self)
    }

    /// The place of a part of the text; the whole word where quotes shift the letters.
    pub(crate) fn part(&self, range: Range<usize>) -> Span {
        if self.quoted || self.span.end - self.span.start != self.text.len() {
            return self.span.clone();
        }
        let start = (self.span.start + range.start).min(self.span.end);
        let end = (self.span.start + range.end).clamp(start, self.span.end);
        Span { source: self.span.source.clone(), start, end }
    }

    /// A part of this word as a word of its own; `range` on character boundaries.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let text = self.text.get(range.clone()).unwrap_or("");
        Self { quoted: self.quoted, ..Self::new(text, self.part(range)) }
    }

    /// What stands behind the first `start` bytes, for the system.
    pub(crate) fn tail(&self, start: usize) -> OsString {
        let bytes = self.os.as_bytes();
        // The same offset in both: what precedes it came from text.
        OsStr::from_bytes(bytes.get(start..).unwrap_or_default()).to_owned()
    }
}

/// A word as it has to be written to be read back: quoted only where it must be.
pub(crate) fn quote(word: &OsStr) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b'#');
    if !word.is_empty() && word.as_bytes().iter().all(plain) {
        return word.to_string_lossy().into_owned();
    }
    quoted(word)
}

/// The same in quotes, whether it must be or not.
pub(crate) fn quoted(word: &OsStr) -> String {
    let mut quoted = String::from("\"");
    for chunk in word.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => quoted.extend(['\\', character]),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                '\r' => quoted.push_str("\\r"),
                other if other.is_ascii_control() => {
                    quoted.push_str(&format!("\\x{:02x}", u32::from(other)));
                }
                other => quoted.push(other),
            }
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

/// Splits a range of a file into words. What is wrong with quotes is reported.
pub(crate) fn split(file: &File, range: Range<usize>, report: &mut Report) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = range.start;
    loop {
        let rest = file.text(at..range.end);
        let blanks = rest.len() - rest.trim_start_matches(is_blank).len();
        at += blanks;
        if at >= range.end {
            return words;
        }
        let word = one(file, at..range.end, &is_blank, report);
        at = word.span.end.max(at + 1);
        words.push(word);
    }
}

/// The word at the start of a range, up to a character that ends it.
pub(crate) fn one(
    file: &File,
    range: Range<usize>,
    ends: &dyn Fn(char) -> bool,
    report: &mut Report,
) -> Word {
    let mut reading = WordReader { file, at: range.start, end: range.end, bytes: Vec::new() };
    let mut quoted = false;
    while let Some(character) = reading.peek() {
        match character {
            '\'' | '"' => {
                quoted = true;
                reading.quoted(character, report);
            }
            other if ends(other) => break,
            other => reading.take(other),
        }
    }
    let span = file.span(range.start..reading.at);
    let text = String::from_utf8_lossy(&reading.bytes).into_owned();
    Word { text, os: OsString::from_vec(reading.bytes), span, quoted }
}

/// A word being read.
struct WordReader<'a> {
    file: &'a File,
    at: usize,
    end: usize,
    bytes: Vec<u8>,
}

impl WordReader<'_> {
    fn peek(&self) -> Option<char> {
        self.file.text(self.at..self.end).chars().next()
    }

    fn skip(&mut self, character: char) {
        self.at += character.len_utf8();
    }

    fn take(&mut self, character: char) {
        self.bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.skip(character);
    }

    /// From the opening quote to behind the closing one.
    fn quoted(&mut self, quote: char, report: &mut Report) {
        let start = self.at;
        self.skip(quote);
        loop {
            match self.peek() {
                None => {
                    let span = self.file.span(start..self.end);
                    let other = if quote == '"' { '\'' } else { '"' };
                    report.error(&span, format!("the quote {quote} is not closed")).help(format!(
                        "close it, or write {other}{quote}{other} for the character itself"
                    ));
                    return;
                }
                Some(character) if character == quote => return self.skip(quote),
                Some('\\') if quote == '"' => self.escape(report),
                Some(character) => self.take(character),
            }
        }
    }

    /// `\` and what follows it inside double quotes.
    fn escape(&mut self, report: &mut Report) {
        let start = self.at;
        self.skip('\\');
        let Some(character) = self.peek() else { return };
        self.skip(character);
        let byte = match character {
            '\\' | '"' | '\'' | '$' | '`' => character.encode_utf8(&mut [0; 4]).bytes().next(),
            'n' => Some(b'\n'),
            't' => Some(b'\t'),
            'r' => Some(b'\r'),
            'x' => self.hexadecimal(),
            _ => None,
        };
        match byte {
            Some(byte) if byte != 0 => self.bytes.push(byte),
            _ => {
                let span = self.file.span(start..self.at);
                report
                    .error(&span, format!("unknown escape `{}`", self.file.text(start..self.at)))
                    .help(r#"inside "…" there are \\ \" \' \n \t \r and \xHH (not \x00); `\\` is one backslash"#);
            }
        }
    }

    /// Two hexadecimal digits.
    fn hexadecimal(&mut self) -> Option<u8> {
        let digits = self.file.text(self.at..(self.at + 2).min(self.end));
        if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let byte = u8::from_str_radix(digits, 16).ok()?;
        self.at += 2;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::{File, Report, split};

    fn words(text: &str) -> (Vec<String>, usize) {
        let file = File::new("test", text.to_owned());
        let mut report = Report::default();
        let words = split(&file, 0..text.len(), &mut report);
        for word in &words {
            assert!(text.get(word.span.start..word.span.end).is_some());
        }
        (words.into_iter().map(|word| word.text).collect(), report.errors())
    }

    #[test]
    fn quotes_keep_together_and_vanish() {
        for (text, expected) in [
            ("a  b\tc", vec!["a", "b", "c"]),
            (r#"'a b' "c d""#, vec!["a b", "c d"]),
            (r#"X='a b'c"d""#, vec!["X=a bcd"]),
            (r#""a\"b\\\n\t\x41""#, vec!["a\"b\\\n\tA"]),
            (r"'a\b' c\d", vec![r"a\b", r"c\d"]),
            ("''", vec![""]),
            ("  ", vec![]),
            ("ä 'ö ü'", vec!["ä", "ö ü"]),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(words(text), (expected, 0), "{text}");
        }
    }

    #[test]
    fn wrong_quoting_is_reported_and_does_not_end_the_reading() {
        for text in ["'a", "\"a", r#""\q""#, r#""\x4""#, r#""\x00""#, r#""\"#, r#""\xä""#] {
            assert!(words(text).1 > 0, "{text}");
        }
    }
}
