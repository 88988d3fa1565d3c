//! What making entries of blocks needs: what `defaults` say for all of them, and what has been
//! said of it.

use std::rc::Rc;

use super::block::{Block, BlockLine};
use crate::config::attribute;
use crate::config::attribute::value::Operator;
use crate::config::diagnostic::Span;
use crate::config::diagnostic::cause::Cause;
use crate::config::diagnostic::report::Report;
use crate::config::facts::Lookup;
use crate::config::syntax::entry::Setting;
use crate::config::syntax::reader::Context;
use crate::config::text::words::Word;

/// Makes entries of the blocks of one configuration.
pub(super) struct Converter<'a> {
    pub(super) lookup: &'a dyn Lookup,
    pub(super) report: &'a mut Report,
    pub(super) context: &'a Context,
    /// What `defaults` say, checked.
    pub(super) defaults: Vec<Setting>,
    /// `v6only` of `defaults`.
    pub(super) v6only: Option<BlockLine>,
    /// The ids that are enabled, if any are said.
    pub(super) enabled: Option<Vec<Word>>,
    pub(super) disabled: Vec<Word>,
    /// What `defaults` say wrong of who may connect: whoever takes it from there is not served.
    pub(super) unsure: Vec<(&'static str, Rc<Cause>)>,
    /// What is not done and has been said: once is enough.
    pub(super) told: Vec<&'static str>,
    /// Whether the block at hand is off.
    pub(super) off: bool,
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
            told: Vec::new(),
            off: false,
        };
        if let Some(block) = defaults {
            converter.read_defaults(block);
        }
        converter
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
