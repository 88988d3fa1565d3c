//! Services that follow each other are often alike, and share what is.

use std::rc::Rc;

use crate::config::model::{Account, Attributes};

/// Parts that a service shares with the one before it if they are equal.
#[derive(Default)]
pub(super) struct Alike {
    pub(super) account: LastShared<Account>,
    pub(super) attributes: LastShared<Attributes>,
}

/// What the one before had.
#[derive(Default)]
pub(super) struct LastShared<T>(Option<Rc<T>>);

impl<T: PartialEq> LastShared<T> {
    /// The value, as the one before if it is equal to that.
    pub(super) fn share(&mut self, value: T) -> Rc<T> {
        match &self.0 {
            Some(last) if **last == value => Rc::clone(last),
            _ => Rc::clone(self.0.insert(Rc::new(value))),
        }
    }
}
