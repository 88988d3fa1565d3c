//! A block becomes an entry: what xinetd takes for granted, what `defaults` say,
//! and what the block says itself, each as settings of the one table.

use std::rc::Rc;

use super::block::{Block, BlockLine};
use super::converter::{Converter, setting};
use super::fields::BlockFields;
use super::known::{self, Conversion, KnownAttribute};
use crate::config::attribute::value::Operator;
use crate::config::attribute::{self, Draft};
use crate::config::diagnostic::Severity;
use crate::config::diagnostic::cause::Cause;
use crate::config::model::Origin;
use crate::config::syntax::entry::{Entry, Setting};

/// What xinetd does where nothing is said, and this server would not.
const UNSAID: [(&str, &[&str]); 8] = [
    ("instances", &["unlimited"]),
    ("at_limit", &["refuse"]),
    ("cps", &["50", "10"]),
    ("groups", &["no"]),
    ("log_on_success", &[]),
    ("log_on_failure", &[]),
    ("stderr", &["socket"]),
    ("linger", &["no"]),
];

impl Converter<'_> {
    /// The entries of all blocks.
    pub(super) fn entries(mut self, blocks: &mut [Block]) -> Vec<Entry> {
        for block in &mut *blocks {
            let mark = self.report.mark();
            self.drop_ignored(block);
            block.mistakes.push(mark..self.report.mark());
        }
        self.check_ids(blocks);
        self.check_libwrap(blocks);
        blocks.iter().filter_map(|block| self.entry(block)).collect()
    }

    fn entry(&mut self, block: &Block) -> Option<Entry> {
        if block.name.as_ref().is_none_or(|name| name.text.is_empty()) {
            return None;
        }
        self.off = self.is_disabled(block);
        let before = self.report.errors();
        let mark = self.report.mark();
        let fields = BlockFields::read(self, block, self.off);
        let settings = self.settings(block, &fields);
        let because = self.causes(block);
        let broken = block.broken || !because.is_empty() || self.report.errors() > before;
        let why = Cause::since(self.report, mark).or_else(|| self.earlier(block));
        if self.off {
            // Nobody is hurt by what is wrong with a service that is off.
            self.report.hush(mark);
            block.mistakes.iter().for_each(|marks| self.report.soften_some(marks.clone()));
        }
        let defaults = self.defaults_for(block, &fields, &settings);
        Some(Entry {
            origin: Origin { file: Rc::clone(&block.file), line: block.first },
            id: Some(block.id().into()),
            name: block.other_name().map(Into::into),
            endpoint: fields.endpoint,
            socket_type: fields.socket_type,
            protocol: fields.protocol,
            wait: fields.wait,
            user: fields.user,
            program: fields.program,
            arguments: fields.arguments,
            settings,
            defaults,
            default_address: None,
            broken,
            why,
            because,
            off: self.off,
            families: None,
            withheld: fields.withheld,
        })
    }

    /// What the block itself says, and its flags.
    fn settings(&mut self, block: &Block, fields: &BlockFields) -> Vec<Setting> {
        let mut settings: Vec<Setting> = Vec::new();
        for assigned in &block.lines {
            if let Some(known) = known::find(&assigned.name.text) {
                settings.extend(self.setting_of_service(assigned, known, fields));
            }
        }
        self.twice(block);
        drop_repeated(&mut settings);
        if self.off {
            settings.retain(|setting| setting.attribute.name != "disable");
            settings.extend(Setting::implied("disable", "yes", &block.head));
        }
        settings.extend(fields.implied.iter().cloned());
        settings
    }

    /// What was wrong with a block when it was read.
    fn earlier(&self, block: &Block) -> Option<Cause> {
        let errors = block.mistakes.iter().flat_map(|marks| self.report.between(marks.clone()));
        errors.filter(|one| one.severity == Severity::Error).find_map(Cause::of)
    }

    /// What others say wrong and this block takes: who may connect depends on it.
    fn causes(&self, block: &Block) -> Rc<[Rc<Cause>]> {
        let own = |name: &str| {
            let names = match name {
                "bind" | "interface" => ["bind", "interface"],
                name => [name, name],
            };
            let is_it = |line: &&BlockLine| names.contains(&line.name.text.as_str());
            block.lines.iter().find(is_it).is_some_and(|first| first.operator == Operator::Set)
        };
        let taken = self.unsure.iter().filter(|(name, _)| !own(name)).map(|(_, cause)| cause);
        self.context.causes.iter().chain(taken).cloned().collect()
    }

    /// What holds where the block says nothing: xinetd's own, the command line's,
    /// and those of the file, as far as they mean something for such a service.
    fn defaults_for(&self, block: &Block, fields: &BlockFields, own: &[Setting]) -> Rc<[Setting]> {
        let assigned = |name: &str| {
            own.iter().chain(&self.defaults).any(|setting| setting.attribute.name == name)
        };
        let unsaid = UNSAID.iter().copied();
        let everything = (!assigned("passenv")).then_some(("passenv", ["*"].as_slice()));
        unsaid
            .chain(everything)
            .filter_map(|(name, values)| setting(name, values, &block.head))
            .chain(self.context.defaults.iter().cloned())
            .chain(self.defaults.iter().cloned())
            // Every address is what an entry without one has.
            .filter(|setting| !(fields.any_address && setting.attribute.name == "interface"))
            .collect()
    }

    /// As in xinetd, the first one counts.
    pub(super) fn twice(&mut self, block: &Block) {
        for (first, second) in block.twice() {
            self.report
                .warning(
                    &second.name.span,
                    format!("`{}` is said twice: this one is ignored", second.name.text),
                )
                .related(first.name.span.clone(), "this one counts")
                .help("take one of them away");
        }
    }

    fn setting_of_service(
        &mut self,
        assigned: &BlockLine,
        known: KnownAttribute,
        fields: &BlockFields,
    ) -> Option<Setting> {
        match known.kind {
            Conversion::Field => None,
            Conversion::Lists => {
                self.report
                    .warning(
                        &assigned.name.span,
                        format!("`{}` can be said in `defaults` only: ignored", known.name),
                    )
                    .help("write `disable = yes` or `disable = no` for one service");
                None
            }
            Conversion::Named("interface") if fields.any_address => None,
            _ => {
                let setting = self.setting(assigned, known)?;
                self.forgiven(setting)
            }
        }
    }

    /// Other servers have never heard of what is only ours, and ignore its line whatever it
    /// says: so is a wrong one here, where that takes nobody's rights away or gives them.
    fn forgiven(&mut self, setting: Setting) -> Option<Setting> {
        if !setting.attribute.is_ours_and_harmless() {
            return Some(setting);
        }
        let mark = self.report.mark();
        let before = self.report.errors();
        setting.apply(&mut Draft::default(), self.report);
        let is_right = self.report.errors() == before;
        self.report.soften_some(mark..self.report.mark());
        is_right.then_some(setting)
    }

    /// The setting of the table that an attribute is.
    pub(super) fn setting(
        &mut self,
        assigned: &BlockLine,
        known: KnownAttribute,
    ) -> Option<Setting> {
        let name = match known.kind {
            Conversion::Named(name) => name,
            Conversion::Ignored(why) => {
                let harmless = known.name == "mdns"
                    && assigned.values.iter().all(|word| word.text.eq_ignore_ascii_case("no"));
                if !harmless && self.is_news(known.name) {
                    self.report
                        .warning(&assigned.name.span, format!("`{}` is ignored", known.name))
                        .help(why);
                }
                return None;
            }
            _ => known.name,
        };
        let attribute = attribute::find(name)?;
        if self.is_no_limit(assigned) {
            return None;
        }
        let values = self.values(assigned, known.name);
        Some(Setting {
            attribute,
            name: assigned.name.clone(),
            operator: assigned.operator,
            values,
            place: assigned.place.clone(),
        })
    }
}

/// Of what can be said once, the first.
fn drop_repeated(settings: &mut Vec<Setting>) {
    let mut seen: Vec<&'static str> = Vec::new();
    settings.retain(|setting| {
        let attribute = setting.attribute;
        let again = !attribute.list && seen.contains(&attribute.name);
        seen.push(attribute.name);
        !again
    });
}
