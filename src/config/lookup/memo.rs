//! Answers that are asked for once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

/// Answers that have been given.
#[derive(Debug, Clone)]
pub(super) struct Memo<K, V>(RefCell<HashMap<K, V>>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(RefCell::new(HashMap::new()))
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Memo<K, V> {
    /// The answer, which is asked for once.
    pub(super) fn get(&self, key: &K, ask: impl FnOnce() -> V) -> V {
        if let Some(known) = self.0.borrow().get(key) {
            return known.clone();
        }
        let answer = ask();
        self.0.borrow_mut().insert(key.clone(), answer.clone());
        answer
    }
}
