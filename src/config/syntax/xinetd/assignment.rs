//! `name = value`: one line of a block, with blanks where people put them.

use super::block::BlockLine;
use super::grammar::{BlockParser, words};
use super::known;
use crate::config::attribute::value::Operator;
use crate::config::text::source::{Line, is_blank};
use crate::config::text::words::Word;

impl BlockParser<'_> {
    /// `name = value …`.
    pub(super) fn attribute(&mut self, line: &Line, first: &Word) {
        if let Some(sign) = signs().find(|sign| first.text.starts_with(sign.text())) {
            let end = first.span.start + sign.text().len();
            self.report
                .error(
                    &self.file.span(first.span.start..end),
                    format!("the name of the attribute is missing before `{}`", sign.text()),
                )
                .help("write `NAME = VALUE`");
            if let Some(block) = &mut self.open {
                block.signless.push(first.clone());
            }
            return;
        }
        let text = self.file.text(first.span.start..line.range.end);
        let Some(at) = text.find('=') else {
            self.report
                .error(&first.span, format!("`{}` has no `=` behind it", first.text))
                .help(format!("write `{} = VALUE`", first.text));
            if let Some(block) = &mut self.open {
                block.signless.push(first.clone());
            }
            return;
        };
        let (sign, before) = match text.get(..at).unwrap_or("") {
            head if head.ends_with('+') => (Operator::Add, at - 1),
            head if head.ends_with('-') => (Operator::Remove, at - 1),
            _ => (Operator::Set, at),
        };
        let head = text.get(..before).unwrap_or("");
        let name = head.trim_end_matches(is_blank);
        let start = first.span.start;
        let values = words(self.file, start + at + 1..line.range.end);
        let mut assigned = Word::new(name, self.file.span(start..start + name.len()));
        if name.contains(is_blank) {
            self.report
                .error(&assigned.span, format!("`{name}` is no attribute: its name is one word"))
                .help(format!("write `{} = VALUE`", first.text));
            if let Some(block) = &mut self.open {
                block.signless.push(assigned);
            }
            return;
        }
        if head.len() == name.len() {
            self.glued(&assigned, sign, &values, line);
        }
        assigned.text.make_ascii_lowercase();
        self.add_line(assigned, sign, &values);
    }

    /// `name=value` and `name= value`, which xinetd does not read.
    fn glued(&mut self, name: &Word, sign: Operator, values: &[Word], line: &Line) {
        let shown: Vec<&str> = values.iter().map(|word| word.text.as_str()).collect();
        let written = format!("{} {} {}", name.text, sign.text(), shown.join(" "));
        self.report
            .warning(
                &self.file.span(name.span.start..line.range.start + line.range.len()),
                format!("xinetd needs a blank before `{}`: it would not serve this", sign.text()),
            )
            .help(format!("write `{}`", written.trim_end()));
    }

    /// `= 10 # ten` is in files everywhere. xinetd goes on without the whole line, and so
    /// without the limit that it is; here it has the value that is meant.
    fn without_comment<'w>(
        &mut self,
        name: &Word,
        operator: Operator,
        values: &'w [Word],
    ) -> &'w [Word] {
        let comment = values.iter().position(is_comment_word).filter(|at| *at > 0);
        // Who is named before it may connect; none of the words behind it can make that more.
        let admits = name.text == "only_from" && operator != Operator::Remove;
        let is_one = admits || known::words_of(&name.text).is_some();
        let Some(at) = comment.filter(|_| is_one) else {
            if let Some(word) = values.iter().find(|word| is_comment_word(word)) {
                self.report
                    .warning(&word.span, "`#` inside a line is text, not the start of a comment")
                    .help("put a comment on a line of its own");
            }
            return values;
        };
        let (values, comment) = values.split_at(at);
        let value: Vec<&str> = values.iter().map(|word| word.text.as_str()).collect();
        let message = format!(
            "`#` inside a line starts no comment: `{}` is `{}` all the same",
            name.text,
            value.join(" ")
        );
        let help = if admits {
            "put the comment on a line of its own: xinetd takes what is an address in it for one"
        } else {
            "put the comment on a line of its own: xinetd ignores such a line altogether"
        };
        if let Some(block) = &mut self.open {
            let words: Vec<&str> = comment.iter().map(|word| word.text.as_str()).collect();
            block.inside.push(words.join(" "));
        }
        if let Some(word) = comment.first() {
            self.report.warning(&word.span, message).help(help);
        }
        values
    }

    fn add_line(&mut self, name: Word, operator: Operator, values: &[Word]) {
        let values = self.without_comment(&name, operator, values);
        let place = match (values.first(), values.last()) {
            (Some(first), Some(last)) => self.file.span(first.span.start..last.span.end),
            _ => self.file.span(name.span.end..name.span.end),
        };
        if let Some(block) = &mut self.open {
            block.lines.push(BlockLine { name, operator, values: values.to_vec(), place });
        }
    }
}

fn is_comment_word(word: &Word) -> bool {
    word.text.starts_with('#')
}

fn signs() -> impl Iterator<Item = Operator> {
    [Operator::Set, Operator::Add, Operator::Remove].into_iter()
}
