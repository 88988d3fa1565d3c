//! The program on disk goes on in the place of this one: tried out, handed everything, or taking it.

pub(super) mod preflight;
pub(super) mod restore;
pub(super) mod restore_served;
pub(super) mod save;
