//! `defaults`, which hold for every service, and the lists of those that are on and off.

use std::collections::BTreeMap;

use super::block::Block;
use super::convert::Converter;
use super::known::Kind;
use crate::config::attribute::Draft;
use crate::config::entry::Setting;
use crate::config::suggest::nearest;
use crate::config::value::Operator;

impl Converter<'_> {
    /// Checks and keeps what the block says.
    pub(super) fn read_defaults(&mut self, block: &Block) {
        let before = self.report.errors();
        for said in &block.said {
            let Some(known) = self.known(said) else { continue };
            if !known.in_defaults {
                self.report
                    .warning(
                        &said.name.span,
                        format!("`{}` cannot be said in `defaults`: ignored", known.name),
                    )
                    .help("say it in the blocks of the services");
                continue;
            }
            match (known.kind, known.name) {
                (Kind::Lists, "enabled") => {
                    self.enabled.get_or_insert_default().extend(said.values.iter().cloned());
                }
                (Kind::Lists, _) => self.disabled.extend(said.values.iter().cloned()),
                (Kind::Field, _) => self.v6only = Some(said.clone()),
                _ => {
                    let Some(mut setting) = self.setting(said, known) else { continue };
                    // In `defaults`, lists that are said twice add up.
                    let earlier = |other: &Setting| other.attribute.name == setting.attribute.name;
                    let again = self.defaults.iter().any(earlier);
                    if again && !known.list {
                        continue;
                    }
                    if again {
                        setting.operator = match setting.operator {
                            Operator::Set => Operator::Add,
                            other => other,
                        };
                    }
                    setting.apply(&mut Draft::default(), self.report);
                    self.defaults.push(setting);
                }
            }
        }
        self.twice(block);
        self.broken |= self.report.errors() > before || block.broken;
    }

    /// Ids that two services share, and ids that none has.
    pub(super) fn check_ids(&mut self, blocks: &[Block]) {
        let mut ids: BTreeMap<&str, &Block> = BTreeMap::new();
        for block in blocks {
            let Some(first) = ids.get(block.id()) else {
                ids.insert(block.id(), block);
                continue;
            };
            self.report
                .warning(&block.head, format!("two services have the id `{}`", block.id()))
                .related(first.head.clone(), "the first one is here")
                .help("xinetd would leave this one out; give it an `id` of its own");
        }
        let lists = self.enabled.iter().flatten().chain(&self.disabled);
        for word in lists.filter(|word| !ids.contains_key(word.text.as_str())) {
            let help = match nearest(&word.text, ids.keys().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "the id of a service is its name, where it has no `id`".to_owned(),
            };
            self.report
                .warning(&word.span, format!("no service has the id `{}`", word.text))
                .help(help);
        }
    }
}
