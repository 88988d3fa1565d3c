//! What can happen, and when: poll's tokens, timers, tables by key.

pub(super) mod slab;
pub(super) mod timers;
pub(super) mod token;
pub(super) mod wake_up;
