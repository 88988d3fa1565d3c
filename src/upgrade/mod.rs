//! What a server hands over to the program that goes on in its place (`oxinetd upgrade`).
//!
//! | file | what it does |
//! |---|---|
//! | `state` | the state as data: what is open, what was counted |
//! | `front` | the same, of what stands between clients and programs |
//! | `moment`, `hex` | moments and bytes, as they mean the same before and after |
//! | `snapshot`, `variable` | the state in memory that outlives exec(2), and how it is announced |
//! | `executable` | the program on disk: tried out as a child, then executed in place |
//! | `refusal` | why it does not go on |
//!
//! The process stays the same one, and with it its id, its children and whatever is
//! open. The new program starts as any server does, finds the parcel, and goes on from
//! there with the configuration as it is then: as after a reload. The state is data of
//! a format with a number; a program that does not know the number says so when it is
//! tried out, and the old one goes on.

pub(crate) mod executable;
pub(crate) mod front;
pub(crate) mod hex;
pub(crate) mod moment;
pub(crate) mod refusal;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod variable;

pub(crate) use executable::Image;
pub(crate) use moment::Moment;
pub(crate) use refusal::UpgradeRefusal;
pub(crate) use snapshot::{Invitation, Snapshot};
