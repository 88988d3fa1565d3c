//! The configuration language: text → entries with spans → validated model.
//!
//! Pure: everything it wants to know of the machine it asks through [`Lookup`],
//! so that every rule can be tested without root, DNS or a file system.
//!
//! | room | what it does |
//! |---|---|
//! | [`model`] | what a configuration means |
//! | [`diagnostic`] | what is wrong with one, with its place |
//! | `text` | lines and words that know their places |
//! | [`facts`] | what is asked of the machine; [`lookup`] answers |
//! | [`attribute`] | the one table of attributes |
//! | `syntax` | each spelling of a file becomes entries |
//! | `resolve` | entries become services |
//! | [`mod@print`] | services as inetd.conf |
//! | `loading`, `import` | all of that for what a command line names |
//!
//! Each names those above it only.

pub mod attribute;
pub mod diagnostic;
pub mod facts;
#[cfg(test)]
#[path = "tests/fake.rs"]
pub(crate) mod fake;
pub mod lookup;
pub mod model;
pub mod print;

mod import;
mod loading;
mod resolve;
pub(crate) mod syntax;
pub(crate) mod text;

pub(crate) use attribute::quantity::duration;
pub(crate) use attribute::setting_of_option;
pub use diagnostic::{refusing, summary};
pub use facts::Lookup;
pub use import::{Imported, import};
pub use loading::{
    Loaded, Named, from_command_line, load, load_all, load_in_place, wrong_defaults,
};
pub use syntax::command_line::RunSpec;
pub use syntax::dialect::Dialect;
