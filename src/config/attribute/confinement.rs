//! What a program is confined to: sets of capabilities.

use super::Draft;
use super::capability;
use super::value::{Operator, Problem, Value};
use crate::config::model::ALL_CAPABILITIES;

/// `capabilities`: names, or `all` or `none` alone.
pub(super) fn set_capabilities(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let only = value.words.first().filter(|_| value.words.len() == 1 && !value.is_change());
    match only.map(|word| word.text.to_ascii_lowercase()).as_deref() {
        Some("all") => draft.attributes.capabilities = ALL_CAPABILITIES,
        Some("none") => draft.attributes.capabilities = 0,
        _ => {
            let said = value.capabilities()?;
            let before = capability::named(draft.attributes.capabilities);
            draft.attributes.capabilities = match value.operator {
                Operator::Set => said,
                // `all` has those already that have no name.
                Operator::Add if draft.attributes.capabilities == ALL_CAPABILITIES => {
                    ALL_CAPABILITIES
                }
                Operator::Add => before | said,
                Operator::Remove => before & !said,
            };
        }
    }
    Ok(())
}
