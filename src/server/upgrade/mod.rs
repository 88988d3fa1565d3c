//! The program on disk goes on in the place of this one.
//!
//! | file | what it does |
//! |---|---|
//! | `places` | keys, as they are handed over |
//! | `handed` | who is handed over with something that he does not know |
//! | `examining` | whether a state can be gone on with |
//! | `preflight` | the program on disk: tried out, then executed in our place |
//! | `restore` | going on with that |
//! | `restore_served` | whoever was served |
//! | `save` | what it is handed |

pub(super) mod examining;
mod handed;
pub(super) mod places;
pub(super) mod preflight;
pub(super) mod restore;
pub(super) mod restore_served;
pub(super) mod save;

#[cfg(test)]
mod handed_tests;
