//! The services of our own: echo, discard, chargen, daytime, time and tcpmux.
//!
//! They are state machines over any nonblocking stream ([`Conversation`]) and a
//! function over datagrams ([`answer`]); they know no event loop, read no clock
//! and do not fork. Whoever has the sockets calls them when there is something
//! to do. [`Guard`] decides which datagrams are answered at all.

mod buckets;
mod budgeted_stream;
mod chargen;
mod datagram;
mod echo;
mod guard;
mod one_shot;
pub(crate) mod relay;
pub(crate) mod session;
mod state_machine;
pub mod tcpmux;
#[cfg(test)]
mod tests;

pub use crate::sys::calendar::WallClock;
pub use datagram::answer;
pub(crate) use guard::{Guard, Share};
pub(crate) use session::{Conversation, Progress};
pub use state_machine::TcpmuxRequest;
