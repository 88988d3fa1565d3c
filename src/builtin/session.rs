//! One client's connection to a built-in service.

use std::io::{self, ErrorKind, Read, Write};

use serde::{Deserialize, Serialize};

use super::budgeted_stream::{Link, TurnEnd};
use super::chargen::Chargen;
use super::echo::{Discard, Echo};
use super::one_shot::{Speech, daytime, time};
use super::state_machine::{Finish, StateMachine, TcpmuxRequest, Wants};
use super::tcpmux::Tcpmux;
use crate::config::model::{Builtin, SocketType};
use crate::sys::calendar::WallClock;

/// What a turn came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The stream would block: wait until it is ready again.
    Blocked,
    /// The turn's budget is used up: call again in the next turn of the loop,
    /// without waiting for the stream, which may never announce it.
    More,
    /// Nothing is left to do: close the stream (a greeted one goes to its program).
    Finished,
    /// tcpmux: a service's name was read, and not a byte after its line. The
    /// conversation is over; the stream is the server's again.
    Handoff(TcpmuxRequest),
}

/// A client's connection to a built-in service: what has to be remembered
/// between two turns. An idle one holds no buffer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Conversation {
    state: SessionState,
}

#[derive(Debug, Serialize, Deserialize)]
enum SessionState {
    Echo(Echo),
    Discard(Discard),
    Chargen(Chargen),
    Speech(Speech),
    Tcpmux(Tcpmux),
}

impl Conversation {
    /// A conversation that begins now. Daytime and time say what `clock` says,
    /// however long it takes the client to listen.
    ///
    /// On [`SocketType::SeqPacket`] a read is a packet and a write is a packet:
    /// chargen sends lines, echo sends back each packet as it came (up to the
    /// scratch buffer's length; an empty one cannot be told from the end).
    /// Tcpmux is for byte streams only.
    pub fn new(kind: Builtin, socket_type: SocketType, clock: WallClock) -> Self {
        let state = match kind {
            Builtin::Echo => SessionState::Echo(Echo::default()),
            Builtin::Discard => SessionState::Discard(Discard),
            Builtin::Chargen if socket_type == SocketType::SeqPacket => {
                SessionState::Chargen(Chargen::packets())
            }
            Builtin::Chargen => SessionState::Chargen(Chargen::stream()),
            Builtin::Daytime => SessionState::Speech(Speech::last(daytime(clock))),
            Builtin::Time => SessionState::Speech(Speech::last(time(clock).to_vec())),
            Builtin::Tcpmux => SessionState::Tcpmux(Tcpmux::default()),
        };
        Self { state }
    }

    /// Says something and finishes: tcpmux's refusals and its list of names.
    pub fn farewell(words: impl Into<Vec<u8>>) -> Self {
        Self { state: SessionState::Speech(Speech::last(words.into())) }
    }

    /// Says something and finishes without reading anything, so that whoever
    /// gets the stream next finds all that the client has sent.
    pub fn greeting(words: impl Into<Vec<u8>>) -> Self {
        Self { state: SessionState::Speech(Speech::greeting(words.into())) }
    }

    /// Goes on until the stream would block or the turn's budget (16 reads and
    /// writes, 1 MiB in and out together) is used up, as edge-triggered
    /// readiness asks for. A spurious call does no harm.
    ///
    /// `stream` must be nonblocking. `scratch` is free to be used by others
    /// between turns; it must not be empty and should be 64 KiB or more, the
    /// largest packet that echo sends back whole.
    ///
    /// # Errors
    /// The stream's own, except that a client that is gone (connection reset,
    /// broken pipe, timed out) is [`Progress::Finished`]. The stream is to be closed.
    pub fn turn<S: Read + Write>(
        &mut self,
        stream: &mut S,
        scratch: &mut [u8],
    ) -> io::Result<Progress> {
        let link = &mut Link::new(stream);
        let end = match &mut self.state {
            SessionState::Echo(machine) => machine.turn(link, scratch),
            SessionState::Discard(machine) => machine.turn(link, scratch),
            SessionState::Chargen(machine) => machine.turn(link, scratch),
            SessionState::Speech(machine) => machine.turn(link, scratch),
            SessionState::Tcpmux(machine) => machine.turn(link, scratch),
        };
        match end {
            Ok(Finish::Done) => Ok(Progress::Finished),
            Ok(Finish::Handoff(request)) => Ok(Progress::Handoff(request)),
            Err(TurnEnd::Blocked) => Ok(Progress::Blocked),
            Err(TurnEnd::Spent) => Ok(Progress::More),
            Err(TurnEnd::Failed(error)) if is_gone(&error) => Ok(Progress::Finished),
            Err(TurnEnd::Failed(error)) => Err(error),
        }
    }

    /// Whether it is one of tcpmux whose client has not said yet what he wants.
    pub fn awaits_name(&self) -> bool {
        matches!(&self.state, SessionState::Tcpmux(machine) if !machine.refuses())
    }

    /// What readiness it waits for after [`Progress::Blocked`]. A stream that is
    /// registered for both from the start works too, and costs no system calls.
    pub fn wants(&self) -> Wants {
        match &self.state {
            SessionState::Echo(machine) => machine.wants(),
            SessionState::Discard(machine) => machine.wants(),
            SessionState::Chargen(machine) => machine.wants(),
            SessionState::Speech(machine) => machine.wants(),
            SessionState::Tcpmux(machine) => machine.wants(),
        }
    }
}

/// Whether the error says no more than that the client has left.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
    )
}
