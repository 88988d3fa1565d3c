//! `defaults`, which hold for every service, and the lists of those that are on and off.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::block::{Block, BlockLine};
use super::converter::Converter;
use super::known::{self, Conversion, KnownAttribute};
use crate::config::attribute::Draft;
use crate::config::attribute::value::Operator;
use crate::config::diagnostic::cause::Cause;
use crate::config::diagnostic::suggest::did_you_mean;
use crate::config::syntax::entry::Setting;
use crate::config::text::words::Word;

impl Converter<'_> {
    /// Checks and keeps what the block says. What is wrong is left out, and costs no service
    /// anything, unless it says who may connect.
    pub(super) fn read_defaults(&mut self, block: &mut Block) {
        let wrong = |line: &BlockLine| known::find(&line.name.text).is_none();
        let misspelt = block.lines.iter().filter(|line| wrong(line)).map(|line| &line.name);
        let unread: Vec<Word> = misspelt.chain(&block.signless).cloned().collect();
        self.drop_ignored(block);
        self.doubt(&unread);
        for line in &block.lines {
            let Some(known) = known::find(&line.name.text) else { continue };
            if !known.in_defaults {
                self.report
                    .warning(
                        &line.name.span,
                        format!("`{}` cannot be said in `defaults`: ignored", known.name),
                    )
                    .help("say it in the blocks of the services");
                continue;
            }
            match (known.kind, known.name) {
                (Conversion::Lists, "enabled") => {
                    self.enabled.get_or_insert_default().extend(line.values.iter().cloned());
                }
                (Conversion::Lists, _) => self.disabled.extend(line.values.iter().cloned()),
                (Conversion::Field, _) => self.v6only = Some(line.clone()),
                _ => self.default_setting(line, known),
            }
        }
        if let Some(line) = block.get("enabled").filter(|_| self.enables_nothing()) {
            self.report
                .warning(&line.name.span, "`enabled` names nobody: no service is on")
                .help("write the ids of services behind it, or take the line out");
        }
        self.twice(block);
    }

    /// Holds back whoever takes what these words seem to say for all.
    pub(super) fn doubt(&mut self, unread: &[Word]) {
        for word in unread {
            let name = word.text.split(['=', ':']).next().unwrap_or_default();
            let name = name.trim_end_matches(['+', '-']);
            let cause = || Rc::new(Cause::unread(&word.text, &word.span));
            // Without a name it may be that.
            let any = || name.is_empty().then_some("only_from");
            let meant = known::who(name).or_else(|| known::which(name)).or_else(any);
            self.unsure.extend(meant.map(|attribute| (attribute, cause())));
        }
    }

    fn enables_nothing(&self) -> bool {
        self.enabled.as_ref().is_some_and(Vec::is_empty)
    }

    fn default_setting(&mut self, line: &BlockLine, known: KnownAttribute) {
        let (before, mark) = (self.report.errors(), self.report.mark());
        let Some(mut setting) = self.setting(line, known) else { return };
        // In `defaults`, lists that are said twice add up.
        let earlier = |other: &Setting| other.attribute.name == setting.attribute.name;
        let again = self.defaults.iter().any(earlier);
        if again && !known.list {
            return;
        }
        if again {
            setting.operator = match setting.operator {
                Operator::Set => Operator::Add,
                other => other,
            };
        }
        setting.apply(&mut Draft::default(), self.report);
        if self.report.errors() > before {
            let cause = Cause::since(self.report, mark).map(Rc::new);
            self.unsure.extend(known::who(known.name).zip(cause));
        } else {
            self.defaults.push(setting);
        }
    }

    /// Ids of the lists that no service has.
    pub(super) fn check_ids(&mut self, blocks: &[Block]) {
        let ids: BTreeSet<&str> = blocks.iter().map(Block::id).collect();
        let lists = self.enabled.iter().flatten().chain(&self.disabled);
        for word in lists.filter(|word| !ids.contains(word.text.as_str())) {
            let help = did_you_mean(&word.text, ids.iter().copied(), || {
                "the id of a service is its name, where it has no `id`".to_owned()
            });
            self.report
                .warning(&word.span, format!("no service has the id `{}`", word.text))
                .help(help);
        }
    }
}
