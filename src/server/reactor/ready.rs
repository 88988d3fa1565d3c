//! What is to be done in the turns of the loop, in the order in which it was announced: each
//! once, however often that was.

use std::collections::{HashSet, VecDeque};

use super::token::Owner;

/// Owners whose turn it is next.
#[derive(Debug, Default)]
pub(in crate::server) struct ReadyQueue {
    order: VecDeque<Owner>,
    all: HashSet<Owner>,
}

impl ReadyQueue {
    pub(in crate::server) fn push(&mut self, owner: Owner) {
        if self.all.insert(owner) {
            self.order.push_back(owner);
        }
    }

    /// Whether somebody has a turn to come.
    pub(in crate::server) fn has(&self, owner: Owner) -> bool {
        self.all.contains(&owner)
    }

    /// The next one, who may be put here again from now on.
    pub(in crate::server) fn pop(&mut self) -> Option<Owner> {
        let owner = self.order.pop_front()?;
        self.all.remove(&owner);
        Some(owner)
    }

    pub(in crate::server) fn len(&self) -> usize {
        self.order.len()
    }

    pub(in crate::server) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_turn_until_it_had_it() {
        let mut ready = ReadyQueue::default();
        for owner in [Owner::Trial, Owner::Signals, Owner::Trial] {
            ready.push(owner);
        }
        assert_eq!(
            (ready.len(), ready.has(Owner::Trial), ready.has(Owner::Ends)),
            (2, true, false)
        );
        assert_eq!(ready.pop(), Some(Owner::Trial));
        ready.push(Owner::Trial);
        assert_eq!(
            [ready.pop(), ready.pop(), ready.pop()],
            [Some(Owner::Signals), Some(Owner::Trial), None]
        );
        assert!(ready.is_empty());
    }
}
