//! inetd.conf: lines become entries. Every dialect's way to arrange lines is known
//! here, and nothing of what a user or a port is.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use super::address::addresses;
use super::alignment::FIELDS;
use super::below::Below;
use super::dialect::Dialect;
use super::entry::{Entry, Indented, Setting, indented, set_by};
use super::line;
use super::meant;
use super::netbsd;
use super::reader::{Context, Reader};
use super::xinetd;
use crate::config::attribute::{Draft, narrows};
use crate::config::diagnostic::Span;
use crate::config::diagnostic::cause::Cause;
use crate::config::diagnostic::suggest::{nearest, one_of};
use crate::config::model::Origin;
use crate::config::text::source::{File, Line, is_blank, is_comment};
use crate::config::text::words;

/// The words after a dot.
const DIRECTIVES: [&str; 2] = [".defaults", ".include"];

/// What an indented line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Nothing,
    Entry,
    /// An entry that was not understood: what follows is checked all the same.
    Broken,
    Defaults,
    /// What was meant for others and was not understood: it and what follows.
    Lost,
}

impl Reader<'_> {
    /// Reads one file that is there.
    pub(in crate::config) fn read(&mut self, path: &Path, bytes: &[u8], context: Context) {
        let file = File::from_bytes(&path.to_string_lossy(), bytes, self.report);
        if xinetd::recognise(&file) {
            self.xinetd(&file, path, &context);
            return;
        }
        self.open.push(self.lookup.canonical(path));
        self.lines(&file, path, context);
        self.open.pop();
    }

    fn lines(&mut self, file: &File, path: &Path, mut context: Context) {
        let mut above = Above::Nothing;
        // Whether nothing stands directly above a line that it could go on.
        let mut is_apart = true;
        // The number of a line between that is an entry no more.
        let mut taken_out = None;
        let mut below = Below::default();
        let mut index = 0;
        while let Some(line) = file.lines.get(index) {
            index += 1;
            let text = file.text(line.range.clone());
            if is_comment(text) {
                if line::is_entry_taken_out(text) {
                    taken_out = Some(line.number);
                    below.taken();
                }
                is_apart = true;
                continue;
            }
            let (before, mark) = (self.report.errors(), self.report.mark());
            // There, others read an entry, and GNU's does so everywhere.
            let begins = (std::mem::take(&mut is_apart) || self.dialect == Dialect::Gnu)
                && line::is_entry(text);
            let goes_on = text.starts_with(is_blank) && !begins;
            let over = taken_out.take();
            if goes_on {
                self.indented(file, line, above, &mut context);
                self.warn_of_gap(file, line, above, over);
            } else if let Some(name) = sets(text) {
                self.not_indented(file, line, name, above);
            } else if text.starts_with('.') {
                above = self.directive(file, line, path, &mut context);
            } else if let Some((head, lines)) = xinetd::block_at(file, index - 1) {
                self.foreign_block(file, head);
                above = Above::Broken;
                index += lines.saturating_sub(1);
            } else if let Some(next) = netbsd::recognise(file, index - 1) {
                let entry = netbsd::read(file, index - 1, next, &context, self.report);
                above = self.push(entry);
                index = next.max(index);
            } else {
                above = self.line(file, line, &mut context);
            }
            if above == Above::Nothing && (goes_on || sets(text).is_some()) {
                above = Above::Lost;
            }
            match above {
                _ if goes_on => {}
                Above::Defaults => below.defaults(without_blanks(file, line)),
                Above::Entry | Above::Broken => below.taken(),
                _ if text.starts_with(".include") => below.taken(),
                _ => {}
            }
            let wrong = self.report.errors() > before || file.is_bad(line.number);
            let cause = Cause::since(self.report, mark);
            self.charge(above, (wrong, cause), (file, line), &mut context);
        }
        below.say(self.open.len() > 1 || self.is_one_of_several, self.report);
    }

    /// What a line costs that is wrong, for some cause, or goes unheard.
    fn charge(
        &mut self,
        above: Above,
        (wrong, cause): (bool, Option<Cause>),
        (file, line): (&File, &Line),
        context: &mut Context,
    ) {
        let text = file.text(line.range.clone());
        match (above, self.entries.last_mut()) {
            (Above::Entry, Some(last)) if wrong => {
                last.broken = true;
                last.why = last.why.take().or(cause);
            }
            (Above::Defaults, _) if wrong => self.withhold(text, cause, context),
            (Above::Lost, _) => {
                let unheard = || Cause::unheard(file.span(line.range.clone()));
                self.withhold(text, Some(cause.unwrap_or_else(unheard)), context);
            }
            _ => {}
        }
    }

    /// A line that holds for those below it is wrong, or goes unheard: they are not served. In
    /// the place of another server, which lets no line cost others, they are unless something
    /// was to be narrowed.
    fn withhold(&mut self, line: &str, cause: Option<Cause>, context: &mut Context) {
        if self.report.contains() && !narrows(line) {
            return;
        }
        let known = context.causes.iter().cloned();
        context.causes = known.chain(cause.map(Rc::new)).collect();
    }

    /// A block of xinetd's among lines: what stands in it is not looked at.
    fn foreign_block(&mut self, file: &File, head: Range<usize>) {
        self.report
            .error(&file.span(head), "this is a block of xinetd's in an inetd.conf")
            .help("put blocks into a file of their own, for `.include`, or write what `oxinetd import` makes of them");
    }

    fn push(&mut self, entry: Option<Entry>) -> Above {
        match entry {
            Some(mut entry) => {
                entry.families = self.dialect.families(&entry.protocol.text);
                self.entries.push(entry);
                Above::Entry
            }
            None => Above::Broken,
        }
    }

    /// A line of fields, or a default address.
    fn line(&mut self, file: &File, line: &Line, context: &mut Context) -> Above {
        let words = words::split(file, line.range.clone(), self.report);
        line::warn_of_comment(&words, self.report);
        if let [only] = words.as_slice()
            && let Some(address) = only.text.strip_suffix(':')
            && !only.quoted
        {
            context.address = (address != "*").then(|| only.slice(0..address.len()));
            let address = only.slice(0..address.len());
            // What takes a wrong address from here says the same again, which is shown once.
            let _ = addresses(&address, self.report);
            return Above::Nothing;
        }
        if let [only] = words.as_slice()
            && let Some(help) = line::meant_for_others(only)
        {
            self.report
                .error(&only.span, format!("`{}` alone means nothing", only.text))
                .help(help);
            return Above::Lost;
        }
        let origin = Origin { file: Rc::clone(&file.name), line: line.number };
        let entry = line::entry(&words, origin, context, (self.lookup, &mut *self.report));
        meant::judge_arguments(words.get(FIELDS.len()..).unwrap_or_default(), self.report);
        self.push(entry)
    }

    /// A line that belongs to the one above it.
    fn indented(&mut self, file: &File, line: &Line, above: Above, context: &mut Context) {
        let place = without_blanks(file, line);
        if above == Above::Nothing {
            self.report
                .error(&place, "nothing stands above this line that it could belong to")
                .help("a line that starts with blanks belongs to the entry above it, or to `.defaults` for all below; take the blanks away to start an entry");
            return;
        }
        match indented(file, line.range.clone(), self.report) {
            Indented::Wrong => {}
            Indented::Setting(setting) => {
                line::warn_of_comment(&setting.values, self.report);
                self.setting(setting, above, context);
            }
            Indented::Words(words) if above == Above::Defaults => {
                self.report
                    .error(&place, "only attributes can follow `.defaults`")
                    .help(meant::help_with_attribute(&words));
            }
            Indented::Words(words) => {
                meant::judge_argument_line(&words, &place, self.report);
                if let (Above::Entry, Some(entry)) = (above, self.entries.last_mut()) {
                    entry.arguments.extend(words);
                }
            }
        }
    }

    /// An attribute at the start of a line: what it was to narrow is not served.
    fn not_indented(&mut self, file: &File, line: &Line, name: &str, above: Above) {
        let place = file.span(line.range.start..line.range.start + name.len());
        let (message, help) = match above {
            Above::Nothing | Above::Lost => (
                format!("`{name}` belongs to no entry"),
                "for all entries below, put a line `.defaults` above it, and blanks in front of it",
            ),
            _ => (
                format!("`{name}` is not indented: the line does not belong to the entry above it"),
                "put blanks in front of it",
            ),
        };
        let more = match set_by(file.text(line.range.clone())) {
            Some(_) => String::new(),
            None => {
                let words = words::split(file, line.range.clone(), self.report);
                format!("; {}", meant::help_with_attribute(&words))
            }
        };
        self.report.error(&place, message).help(format!("{help}{more}"));
    }

    /// An entry was taken out, and perhaps not the lines that belong to it.
    fn warn_of_gap(&mut self, file: &File, line: &Line, above: Above, over: Option<u32>) {
        let (Some(comment), Above::Entry, Some(entry)) = (over, above, self.entries.last()) else {
            return;
        };
        let message = format!(
            "this belongs to the entry in line {}, over the comment in line {comment}",
            entry.origin.line
        );
        self.report
            .warning(&without_blanks(file, line), message)
            .help("if it is the comment's, make it a comment, too; else put it above that");
    }

    fn setting(&mut self, setting: Setting, above: Above, context: &mut Context) {
        match (above, self.entries.last_mut()) {
            (Above::Entry, Some(entry)) => entry.settings.push(setting),
            (Above::Defaults, _) => {
                let before = self.report.errors();
                setting.apply(&mut Draft::default(), self.report);
                if self.report.errors() == before {
                    let known = context.defaults.iter().cloned();
                    context.defaults = known.chain(std::iter::once(setting)).collect();
                }
            }
            _ => setting.apply(&mut Draft::default(), self.report),
        }
    }

    /// A line that starts with a dot.
    fn directive(&mut self, file: &File, line: &Line, path: &Path, context: &mut Context) -> Above {
        let words = words::split(file, line.range.clone(), self.report);
        line::warn_of_comment(&words, self.report);
        let Some((name, rest)) = words.split_first() else { return Above::Nothing };
        match (name.text.as_str(), rest) {
            (".defaults", []) => return Above::Defaults,
            (".defaults", [first, ..]) => {
                self.report
                    .error(&first.span, "`.defaults` stands alone on its line")
                    .help("write each attribute on an indented line below it: `    name = value`");
                return Above::Defaults;
            }
            (".include", [pattern]) => self.include(pattern, path, context),
            (".include", []) => {
                let end = file.span(name.span.end..name.span.end);
                self.report
                    .error(&end, "`.include` needs the name of a file")
                    .help("write `.include conf.d/*.conf`");
            }
            (".include", [_, second, ..]) => {
                self.report
                    .error(&second.span, "`.include` takes one pattern")
                    .help("write a line for each, and quotes around a name with blanks");
            }
            _ => {
                self.report
                    .error(&name.span, format!("unknown directive `{}`", name.text))
                    .help(one_of(&name.text, DIRECTIVES));
                if nearest(&name.text, DIRECTIVES) != Some(".include") {
                    return Above::Lost;
                }
            }
        }
        Above::Nothing
    }
}

/// The name of the attribute that a line sets which is not indented, or was to set.
fn sets(line: &str) -> Option<&str> {
    set_by(line).or_else(|| meant::set_without_sign(line))
}

/// The place of a line without the blanks around it.
fn without_blanks(file: &File, line: &Line) -> Span {
    let text = file.text(line.range.clone());
    let start = line.range.start + text.len() - text.trim_start_matches(is_blank).len();
    file.span(start..line.range.start + text.trim_end_matches(is_blank).len())
}
