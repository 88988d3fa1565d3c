//! A finding as people read it: the line itself with carets under the words, or
//! one line for a log. Nothing that a file contains reaches the terminal unescaped.

use std::fmt;
use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;

use super::{COMMAND_LINE, Diagnostic, Span};
use crate::log::visible::is_shown;

/// Columns between two tab stops, as terminals have them.
const TAB: usize = 8;
/// The widest excerpt of a line: beyond it, only what surrounds the carets is shown.
const WIDEST: usize = 120;
/// How many more places stand in one line.
const LISTED: usize = 12;
/// What is kept left of the carets when a line is cut.
const CONTEXT: usize = 30;
/// Bytes of a line that are looked at on each side of a place: more than are shown.
const AROUND: usize = 512;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.name(), escape(&self.message))?;
        let gutter = self.gutter();
        if let Some(span) = &self.span {
            write!(f, "\n{}", snippet(span, gutter))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:gutter$} = help: {}", "", escape(help))?;
        }
        if !self.also.is_empty() {
            let places: Vec<String> = self.also.iter().map(place).collect();
            write!(f, "\n{:gutter$} = also: {}", "", places.join(", "))?;
        }
        if let Some((span, label)) = &self.related {
            write!(f, "\nnote: {}\n{}", escape(label), snippet(span, gutter))?;
        }
        Ok(())
    }
}

impl Diagnostic {
    /// Several lines, as for a terminal; without a line end.
    #[must_use]
    pub fn render(&self) -> String {
        self.to_string()
    }

    /// `FILE:LINE:COL: error: message (help)`, for logs.
    #[must_use]
    pub fn one_line(&self) -> String {
        let place = match &self.span {
            Some(span) => format!("{}: ", place(span)),
            None => String::new(),
        };
        let help = match &self.help {
            Some(help) => format!(" ({})", escape(help)),
            None => String::new(),
        };
        let also = self.elsewhere();
        format!("{place}{}: {}{also}{help}", self.severity.name(), escape(&self.message))
    }

    /// Where else the same is to be said; a log has no room for hundreds of places.
    fn elsewhere(&self) -> String {
        let places: Vec<String> = self.also.iter().take(LISTED).map(place).collect();
        let and = if self.costs_a_service() { "; neither at" } else { "; so at" };
        let Some((last, first)) = places.split_last() else { return String::new() };
        match self.also.len().saturating_sub(places.len()) {
            0 if first.is_empty() => format!("{and} {last}"),
            0 => format!("{and} {} and {last}", first.join(", ")),
            more => format!("{and} {} and {more} more", places.join(", ")),
        }
    }

    /// Digits of the largest line number shown.
    fn gutter(&self) -> usize {
        let line = |span: &Span| span.position().0;
        let first = self.span.as_ref().map_or(0, line);
        let second = self.related.as_ref().map_or(0, |(span, _)| line(span));
        first.max(second).to_string().len()
    }
}

/// `FILE:LINE:COL`; what stands in no file, `command line` or an option: nobody counts there.
fn place(span: &Span) -> String {
    let (line, column) = span.position();
    let name = escape(&span.source.name);
    if name == COMMAND_LINE || name.starts_with("--") {
        return name;
    }
    format!("{name}:{line}:{column}")
}

/// The line of a span with its number, and carets under the span.
fn snippet(span: &Span, gutter: usize) -> String {
    let (line, _) = span.position();
    let (shown, carets) = excerpt(span);
    let marks = "^".repeat(carets.len().max(1));
    let before = " ".repeat(carets.start);
    let arrow = format!("{:gutter$}--> {}", "", place(span));
    let source = format!("{line:gutter$} | {shown}");
    let source = source.trim_end();
    format!("{arrow}\n{:gutter$} |\n{source}\n{:gutter$} | {before}{marks}", "", "")
}

/// The visible form of a span's first line, and the columns of the span in it.
fn excerpt(span: &Span) -> (String, Range<usize>) {
    let text = &span.source.text;
    let around = around(span);
    let mut cells = Cells::default();
    let mut carets = 0..0;
    for (at, character) in text.get(around.clone()).unwrap_or("").char_indices() {
        let at = around.start + at;
        if at == span.start {
            carets = cells.width..cells.width;
        }
        // Neither the end of a line that stands for `\r\n` nor a byte order mark is text.
        if !(character == '\r' && ends_at(text, at + 1) || character == '\u{feff}' && at == 0) {
            cells.push(character);
        }
        if at >= span.start && at < span.end {
            carets.end = cells.width;
        }
    }
    if span.start >= around.end {
        carets = cells.width..cells.width;
    }
    cells.cut(carets)
}

/// The line in which a span begins, or of a long one what surrounds that place: a line may
/// be all of a file, and have a finding everywhere.
fn around(span: &Span) -> Range<usize> {
    let text = &span.source.text;
    let (_, line) = span.source.line(span.start);
    let whole = |at: &usize| text.is_char_boundary(*at);
    let start = (line.max(span.start.saturating_sub(AROUND))..span.start).find(whole);
    let end = (span.start.saturating_add(AROUND)..text.len()).find(whole).unwrap_or(text.len());
    let rest = text.get(span.start..end).unwrap_or("");
    let end = rest.find('\n').map_or(end, |length| span.start + length);
    start.unwrap_or(span.start)..end
}

/// Whether a line ends before this byte.
fn ends_at(text: &str, at: usize) -> bool {
    text.get(at..).is_none_or(|rest| rest.is_empty() || rest.starts_with('\n'))
}

/// Text with the width of each character on the screen.
#[derive(Default)]
struct Cells {
    cells: Vec<(String, usize)>,
    width: usize,
}

impl Cells {
    fn push(&mut self, character: char) {
        let (text, width) = match character {
            '\t' => {
                let width = TAB - self.width % TAB;
                (" ".repeat(width), width)
            }
            other if !is_shown(other) => {
                let text = escaped(other);
                let width = text.len();
                (text, width)
            }
            other => (other.to_string(), other.width().unwrap_or(1)),
        };
        self.width += width;
        self.cells.push((text, width));
    }

    /// The whole text, or, where that is very long, what surrounds the carets.
    fn cut(&self, carets: Range<usize>) -> (String, Range<usize>) {
        if self.width <= WIDEST {
            return (self.cells.iter().map(|(text, _)| text.as_str()).collect(), carets);
        }
        let first = carets.start.saturating_sub(CONTEXT);
        let mut shown = String::from(if first > 0 { "…" } else { "" });
        let mut column = 0;
        let mut from = None;
        for (text, width) in &self.cells {
            if column >= first && column + width <= first + WIDEST {
                from = from.or(Some(column));
                shown.push_str(text);
            }
            column += width;
        }
        if first + WIDEST < self.width {
            shown.push('…');
        }
        let shift = from.unwrap_or(first);
        let mark = usize::from(first > 0);
        let start = carets.start.saturating_sub(shift) + mark;
        let end = carets.end.min(first + WIDEST).saturating_sub(shift) + mark;
        (shown, start..end.max(start))
    }
}

/// Text of a file with everything escaped that a terminal would obey.
fn escape(text: &str) -> String {
    let mut escaped_text = String::with_capacity(text.len());
    for character in text.chars() {
        if !is_shown(character) {
            escaped_text.push_str(&escaped(character));
        } else {
            escaped_text.push(character);
        }
    }
    escaped_text
}

/// `\t`, `\n`, `\x1b`, `\u{202e}`.
fn escaped(character: char) -> String {
    match character {
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        other if other.is_ascii() => format!("\\x{:02x}", u32::from(other)),
        other => other.escape_unicode().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use crate::config::diagnostic::{Diagnostic, Severity, SourceText, Span, summary};

    fn diagnostic(text: &str, start: usize, end: usize) -> Diagnostic {
        let source = Rc::new(SourceText::new("etc/inetd.conf", text.to_owned()));
        Diagnostic {
            severity: Severity::Error,
            span: Some(Span { source, start, end }),
            message: "wrong".to_owned(),
            help: Some("do this".to_owned()),
            related: None,
            also: Vec::new(),
            contained: false,
            of_the_machine: false,
        }
    }

    fn carets(text: &str, start: usize, end: usize) -> (String, String) {
        let rendered = diagnostic(text, start, end).render();
        let lines: Vec<&str> = rendered.lines().collect();
        (lines[3].to_owned(), lines[4].to_owned())
    }

    #[test]
    fn a_finding_shows_place_line_carets_and_help() {
        let finding = diagnostic("one\ntwo three\n", 8, 13);
        assert_eq!(
            finding.render(),
            "error: wrong\n --> etc/inetd.conf:2:5\n  |\n2 | two three\n  |     ^^^^^\n  = help: do this"
        );
        assert_eq!(finding.one_line(), "etc/inetd.conf:2:5: error: wrong (do this)");
        assert_eq!(summary(&[finding]), (1, 0));
    }

    #[test]
    fn carets_stand_under_what_they_mean() {
        for (text, start, end, shown, under) in [
            ("a\tb", 2, 3, "1 | a       b", "  |         ^"),
            ("日本 b", 7, 8, "1 | 日本 b", "  |      ^"),
            ("x 日本", 2, 8, "1 | x 日本", "  |   ^^^^"),
            ("e\u{301} b", 4, 5, "1 | e\u{301} b", "  |   ^"),
            ("\x1b[31m b", 6, 7, "1 | \\x1b[31m b", "  |          ^"),
            ("abc", 3, 3, "1 | abc", "  |    ^"),
            ("", 0, 0, "1 |", "  | ^"),
            ("ab\r\ncd", 2, 2, "1 | ab", "  |   ^"),
            ("ab\ncd", 1, 5, "1 | ab", "  |  ^"),
        ] {
            assert_eq!(carets(text, start, end), (shown.to_owned(), under.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn very_long_lines_are_cut_around_the_carets() {
        let text = format!("{}WRONG{}", "x".repeat(5000), "y".repeat(5000));
        let (shown, under) = carets(&text, 5000, 5005);
        assert!(shown.chars().count() < 130, "{shown}");
        let at = under.find('^').unwrap();
        assert_eq!(shown.chars().skip(at).take(5).collect::<String>(), "WRONG");
        assert_eq!(under.matches('^').count(), 5);
    }

    #[test]
    fn a_line_of_nothing_but_mistakes_is_told_in_seconds() {
        let text = "\u{e9}".repeat(1 << 20);
        let source = Rc::new(SourceText::new("etc/inetd.conf", text));
        for start in (0..1 << 20).step_by(256) {
            let span = Span { source: Rc::clone(&source), start, end: start + 2 };
            let finding = Diagnostic { span: Some(span), ..diagnostic("", 0, 0) };
            assert!(finding.render().len() < 1000);
            assert!(
                finding.one_line().starts_with(&format!("etc/inetd.conf:1:{}:", start / 2 + 1))
            );
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_unescaped() {
        let mut finding = diagnostic("a \u{202e}b\u{7}", 2, 5);
        finding.message = "bad \x1b[2J\u{2028}".to_owned();
        for text in [finding.render(), finding.one_line()] {
            assert!(!text.contains(['\x1b', '\u{7}', '\u{202e}', '\u{2028}']), "{text:?}");
        }
    }
}
