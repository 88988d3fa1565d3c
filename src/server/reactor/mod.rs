//! What can happen, and when. It does not know what an event means.
//!
//! | file | what it does |
//! |---|---|
//! | `slab` | tables whose keys are never used again |
//! | `timers` | everything that is to happen later, the earliest first |
//! | `token` | what an event of poll is about |
//! | `wake_up` | what ends its sleep |

pub(super) mod slab;
pub(super) mod timers;
pub(super) mod token;
pub(super) mod wake_up;
