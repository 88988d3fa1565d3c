//! A block becomes an entry: what xinetd takes for granted, what `defaults` say,
//! and what the block says itself, each as settings of the one table.

use std::rc::Rc;

use super::block::{Block, Said};
use super::fields::{self, Fields};
use super::known::{self, Kind, Known};
use crate::config::attribute;
use crate::config::diagnostic::Span;
use crate::config::entry::{Entry, Setting};
use crate::config::facts::Lookup;
use crate::config::inetd::Context;
use crate::config::model::Origin;
use crate::config::quantity::digits;
use crate::config::report::Report;
use crate::config::value::Operator;
use crate::config::words::Word;

/// What xinetd does where nothing is said, and this server would not.
const UNSAID: [(&str, &[&str]); 7] = [
    ("instances", &["unlimited"]),
    ("at_limit", &["refuse"]),
    ("cps", &["50", "10"]),
    ("groups", &["no"]),
    ("log_on_success", &[]),
    ("log_on_failure", &[]),
    ("stderr", &["socket"]),
];

/// What nearly no service can be without.
const NEEDED: [&str; 4] = ["socket_type", "wait", "user", "server"];

/// Words of the log that only xinetd has.
const NOT_LOGGED: [(&str, &str); 2] = [
    ("USERID", "nobody is asked who the client is (ident, RFC 1413)"),
    ("TRAFFIC", "bytes are not counted"),
];

/// Makes entries of the blocks of one configuration.
pub(super) struct Converter<'a> {
    pub(super) lookup: &'a dyn Lookup,
    pub(super) report: &'a mut Report,
    context: &'a Context,
    /// What `defaults` say, checked.
    pub(super) defaults: Vec<Setting>,
    /// `v6only` of `defaults`.
    pub(super) v6only: Option<Said>,
    /// The ids that are enabled, if any are said.
    pub(super) enabled: Option<Vec<Word>>,
    pub(super) disabled: Vec<Word>,
    /// What `defaults` say wrong of who may connect: whoever takes it from there is not served.
    pub(super) unsure: Vec<&'static str>,
    pub(super) broken: bool,
    /// What is not done and has been said: once is enough.
    told: Vec<&'static str>,
    /// Whether the block at hand is off.
    off: bool,
}

impl<'a> Converter<'a> {
    pub(super) fn new(
        lookup: &'a dyn Lookup,
        report: &'a mut Report,
        context: &'a Context,
        defaults: Option<&mut Block>,
    ) -> Self {
        let mut converter = Self {
            lookup,
            report,
            context,
            defaults: Vec::new(),
            v6only: None,
            enabled: None,
            disabled: Vec::new(),
            unsure: Vec::new(),
            broken: context.broken,
            told: Vec::new(),
            off: false,
        };
        if let Some(block) = defaults {
            converter.read_defaults(block);
        }
        converter
    }

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

    /// What holds for an attribute where a block says nothing: the file's own
    /// `defaults` before those that came from elsewhere.
    pub(super) fn default(&self, name: &str) -> Option<&Setting> {
        let all = self.context.defaults.iter().chain(&self.defaults);
        all.rev().find(|setting| setting.attribute.name == name)
    }

    /// Whether a service is off, by its block or by the lists.
    pub(super) fn is_disabled(&self, block: &Block) -> bool {
        let id = block.id();
        let lists = |word: &Word| word.text == id;
        let off = block.all("disable").any(|word| word.text.eq_ignore_ascii_case("yes"))
            || block.all("flags").any(|word| word.text.eq_ignore_ascii_case("DISABLE"));
        let not_on = self.enabled.as_ref().is_some_and(|ids| !ids.iter().any(lists));
        off || not_on || self.disabled.iter().any(lists)
    }

    fn entry(&mut self, block: &Block) -> Option<Entry> {
        if block.name.as_ref().is_none_or(|name| name.text.is_empty()) {
            return None;
        }
        self.off = self.is_disabled(block);
        let before = self.report.errors();
        let mark = self.report.mark();
        let fields = Fields::read(self, block, self.off);
        let settings = self.settings(block, &fields);
        let broken = block.broken
            || self.broken
            || self.takes_what_is_unsure(block)
            || self.report.errors() > before;
        if self.off {
            // Nobody is hurt by what is wrong with a service that is off.
            self.report.hush(mark);
            block.mistakes.iter().for_each(|marks| self.report.soften_some(marks.clone()));
        }
        let defaults = self.defaults_for(block, &fields, &settings);
        Some(Entry {
            origin: Origin { file: Rc::clone(&block.file), line: block.first },
            id: Some(block.id().into()),
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
            off: self.off,
            withheld: fields.withheld,
        })
    }

    /// What the block itself says, and its flags.
    fn settings(&mut self, block: &Block, fields: &Fields) -> Vec<Setting> {
        let mut settings: Vec<Setting> = Vec::new();
        for said in &block.said {
            if let Some(known) = known::find(&said.name.text) {
                settings.extend(self.setting_of_service(said, known, fields));
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

    /// Whether who may connect depends on what `defaults` say wrong.
    fn takes_what_is_unsure(&self, block: &Block) -> bool {
        let own = |name: &str| {
            let mut lines = block.said.iter().filter(|said| said.name.text == name);
            lines.next().is_some_and(|first| first.operator == Operator::Set)
        };
        self.unsure.iter().any(|name| !own(name))
    }

    /// What holds where the block says nothing: xinetd's own, the command line's,
    /// and those of the file, as far as they mean something for such a service.
    fn defaults_for(&self, block: &Block, fields: &Fields, own: &[Setting]) -> Rc<[Setting]> {
        let said = |name: &str| {
            own.iter().chain(&self.defaults).any(|setting| setting.attribute.name == name)
        };
        let unsaid = UNSAID.iter().copied();
        let everything = (!said("passenv")).then_some(("passenv", ["*"].as_slice()));
        unsaid
            .chain(everything)
            .filter_map(|(name, values)| setting(name, values, &block.head))
            .chain(self.context.defaults.iter().cloned())
            .chain(self.defaults.iter().cloned())
            // Every address is what an entry without one has.
            .filter(|setting| !(fields.any_address && setting.attribute.name == "interface"))
            .collect()
    }

    /// Takes the lines out of a block that xinetd ignores, with a word of each: attributes
    /// that it does not know, operators that mean nothing, and too few or too many values.
    /// Where such a line seems to say who may connect, the block is broken instead.
    pub(super) fn drop_ignored(&mut self, block: &mut Block) {
        let mut broken = false;
        let signless = &mut block.signless;
        block.said.retain(|said| match known::find(&said.name.text) {
            Some(known) => {
                let is_right = self.is_well_formed(said, known);
                if !is_right {
                    signless.push(said.name.clone());
                }
                is_right
            }
            None => {
                broken |= self.unknown(said);
                false
            }
        });
        block.broken |= broken;
    }

    /// True if nothing of the block can be trusted any more.
    fn unknown(&mut self, said: &Said) -> bool {
        let name = said.name.text.as_str();
        let who = known::says_who(name);
        let finding = if who {
            self.report.error(&said.name.span, format!("unknown attribute `{name}`"))
        } else {
            self.report.warning(&said.name.span, format!("unknown attribute `{name}`: ignored"))
        };
        finding.help(known::help_for_unknown(name));
        who
    }

    fn is_well_formed(&mut self, said: &Said, known: Known) -> bool {
        let name = known.name;
        if said.operator != Operator::Set && !known.list {
            self.report
                .warning(
                    &said.name.span,
                    format!("`{name}` has one value: `{}` is ignored", said.operator.text()),
                )
                .help(format!("write `{name} = …`"));
            return false;
        }
        let Some(wanted) = known::words_of(name) else { return true };
        let (found, place) = (said.values.len(), &said.place);
        // What xinetd has not: a second of its own, and the name of a unix socket.
        let fewer = found == 1 && (name == "cps" || said.values.first().is_some_and(is_unix_name));
        if found == wanted || fewer {
            return true;
        }
        let values = |count| if count == 1 { "1 value" } else { "2 values" };
        let message = match found {
            0 => format!("`{name}` has no value"),
            _ => format!("`{name}` has {found} values, not {wanted}"),
        };
        let help = match name {
            "server" => "write the arguments of the program behind `server_args =`".to_owned(),
            _ => format!("write {}; blanks cannot be quoted in this file", values(wanted)),
        };
        if NEEDED.contains(&name) {
            self.report.error(place, message).help(help);
        } else {
            self.report.warning(place, format!("{message}: ignored")).help(help);
        }
        false
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
        said: &Said,
        known: Known,
        fields: &Fields,
    ) -> Option<Setting> {
        match known.kind {
            Kind::Field => None,
            Kind::Lists => {
                self.report
                    .warning(
                        &said.name.span,
                        format!("`{}` can be said in `defaults` only: ignored", known.name),
                    )
                    .help("write `disable = yes` or `disable = no` for one service");
                None
            }
            Kind::Named("interface") if fields.any_address => None,
            _ => self.setting(said, known),
        }
    }

    /// The setting of the table that an attribute is.
    pub(super) fn setting(&mut self, said: &Said, known: Known) -> Option<Setting> {
        let name = match known.kind {
            Kind::Named(name) => name,
            Kind::Ignored(why) => {
                let harmless = known.name == "mdns"
                    && said.values.iter().all(|word| word.text.eq_ignore_ascii_case("no"));
                if !harmless && self.is_news(known.name) {
                    self.report
                        .warning(&said.name.span, format!("`{}` is ignored", known.name))
                        .help(why);
                }
                return None;
            }
            _ => known.name,
        };
        let attribute = attribute::find(name)?;
        let values = self.values(said, known.name);
        Some(Setting {
            attribute,
            name: said.name.clone(),
            operator: said.operator,
            values,
            place: said.place.clone(),
        })
    }

    /// The words of a value, as the table writes them.
    fn values(&mut self, said: &Said, name: &str) -> Vec<Word> {
        let mut values = said.values.clone();
        match name {
            "log_on_success" | "log_on_failure" => {
                values.retain(|word| !self.is_not_logged(word));
                values.iter_mut().filter(|word| is_logged(word)).for_each(upper);
            }
            "disable" | "groups" => {
                values.iter_mut().for_each(|word| word.text.make_ascii_lowercase());
            }
            "nice" => values.iter_mut().for_each(|word| self.clamp(word)),
            "cps" if values.first().is_some_and(|word| digits(&word.text) == Some(0)) => {
                values.truncate(1);
                values.iter_mut().for_each(|word| "unlimited".clone_into(&mut word.text));
            }
            "log_type" => log_type(&mut values),
            "only_from" | "no_access" => {
                values = values.into_iter().flat_map(fields::item).collect();
                self.check_addresses(&values);
                values.retain(|word| !fields::is_name(&word.text));
            }
            _ => {}
        }
        values
    }

    fn is_not_logged(&mut self, word: &Word) -> bool {
        let known = NOT_LOGGED.iter().find(|(name, _)| word.text.eq_ignore_ascii_case(name));
        if let Some((name, why)) = known
            && self.is_news(name)
        {
            self.report.warning(&word.span, format!("`{name}` is not logged")).help(*why);
        }
        known.is_some()
    }

    /// Whether what is not done has still to be said: once for all services that are on.
    pub(super) fn is_news(&mut self, name: &'static str) -> bool {
        let is_news = !self.off && !self.told.contains(&name);
        if is_news {
            self.told.push(name);
        }
        is_news
    }

    /// As setpriority(2) does, of which xinetd asks it.
    fn clamp(&mut self, word: &mut Word) {
        let Ok(niceness) = word.text.parse::<i32>() else { return };
        let most = niceness.clamp(-20, 19);
        if most != niceness {
            self.report
                .warning(&word.span, format!("`{niceness}` is out of range: it is {most}"))
                .help("a niceness is a number from -20 to 19");
            word.text = most.to_string();
        }
    }

    /// Names are not looked up: neither hosts, nor domains, nor networks.
    fn check_addresses(&mut self, values: &[Word]) {
        for word in values.iter().filter(|word| fields::is_name(&word.text)) {
            let what = if word.text.starts_with('.') { "domain" } else { "host or network" };
            let help = match self.lookup.addresses(&word.text) {
                Ok(found) if !found.is_empty() => {
                    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                    format!("its addresses are now: `{}`", found.join(" "))
                }
                _ => "write addresses or prefixes: `192.0.2.7 10.0.0.0/8 2001:db8::/32`".to_owned(),
            };
            self.report
                .error(
                    &word.span,
                    format!(
                        "`{}` is the name of a {what}: clients are known by address alone",
                        word.text
                    ),
                )
                .help(help);
        }
    }
}

/// A word of the table, in any case.
fn is_logged(word: &Word) -> bool {
    ["PID", "HOST", "EXIT", "DURATION", "ATTEMPT"]
        .iter()
        .any(|name| word.text.eq_ignore_ascii_case(name))
}

fn upper(word: &mut Word) {
    word.text.make_ascii_uppercase();
}

/// What `redirect` can name besides a host and a port.
fn is_unix_name(word: &Word) -> bool {
    word.text.starts_with(['/', '@'])
}

/// In xinetd, its words are known in any case, and a first limit of 0 is none.
fn log_type(values: &mut Vec<Word>) {
    let Some((kind, rest)) = values.split_first_mut() else { return };
    kind.text.make_ascii_uppercase();
    match (kind.text.as_str(), rest) {
        ("SYSLOG", rest) => rest.iter_mut().for_each(|word| word.text.make_ascii_lowercase()),
        ("FILE", [_, soft, ..]) if digits(&soft.text) == Some(0) => values.truncate(2),
        _ => {}
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

/// A setting that nobody wrote; None where the table has no use for it.
pub(super) fn setting(name: &str, values: &[&str], place: &Span) -> Option<Setting> {
    let attribute = attribute::find(name)?;
    let word = |text: &&str| Word::new(text, place.clone());
    Some(Setting {
        attribute,
        name: Word::new(name, place.clone()),
        operator: Operator::Set,
        values: values.iter().map(word).collect(),
        place: place.clone(),
    })
}
