//! What a built-in service is: a state machine over the stream of one client, and what it may
//! come to.

use std::io::{Read, Write};

use super::budgeted_stream::{Link, TurnEnd};

/// What a client of tcpmux asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpmuxRequest {
    /// The name as the client wrote it: printable ASCII, perhaps empty.
    pub name: String,
}

impl TcpmuxRequest {
    /// Whether it asks for the list of names.
    pub fn is_help(&self) -> bool {
        self.name.eq_ignore_ascii_case("help")
    }
}

/// What readiness of its stream a conversation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// Something to read, or the end.
    pub readable: bool,
    /// Room to write.
    pub writable: bool,
}

/// How a machine comes to its end.
pub(super) enum Finish {
    Done,
    Handoff(TcpmuxRequest),
}

/// A service's state machine: goes on until the stream or the budget stops it.
pub(super) trait StateMachine {
    fn turn<S: Read + Write>(
        &mut self,
        link: &mut Link<'_, S>,
        scratch: &mut [u8],
    ) -> Result<Finish, TurnEnd>;

    fn wants(&self) -> Wants;
}
