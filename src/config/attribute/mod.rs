//! Attributes, in one table; and what somebody means who names none of them.

mod capability;
mod definition;
mod environment;
mod finding;
mod form;
mod keepalive;
mod limits;
pub(super) mod lists;
mod log_type;
mod logged;
mod meant;
mod print;
pub(super) mod quantity;
pub(super) mod redirect;
pub(super) mod relevance;
mod row;
mod table;
mod terminal;
mod tls;
pub(super) mod value;

pub use definition::{Attribute, Scope};
pub(crate) use definition::{Draft, Shown};
pub(crate) use finding::find;
pub use finding::{all, names};
pub(crate) use meant::{
    by_option, help_for_unknown, is_ours_alone, meant_by, narrows, set_by_arguments,
    setting_of_option, spelt_otherwise,
};
