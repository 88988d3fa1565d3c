//! A relay between a client and another server: bytes both ways, ends carried over.
//!
//! Each direction reads only while nothing of it is unwritten, so a side that does
//! not read is not read for, and what is kept is bounded by [`CHUNK`] a direction;
//! an idle relay keeps nothing. The two ends are independent: the end of one side's
//! stream is passed on when everything before it has been written, and the other
//! direction goes on. A failure is never passed on as an end: see [`Relay::resets`].
//! What is said to a side that is gone is thrown away while something of it is still on
//! its way: whoever waits for us to take what he says takes nothing.
//!
//! The streams are nonblocking, their readiness edge-triggered.

pub(crate) mod connector;
mod direction;
mod duplex;
mod held;
mod socket;

use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

use direction::{Broken, Direction, DirectionState, RelayStep, Streams};
use duplex::Duplex;
pub(crate) use socket::{Dialled, RelaySocket, dial, is_busy};

/// Bytes that one call reads, and the most that a direction keeps.
pub(crate) const CHUNK: usize = 64 * 1024;

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Who connected to us.
    Client,
    /// To whom we connected.
    Target,
}

impl Side {
    /// As the log says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Target => "target",
        }
    }
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayProgress {
    /// Nothing can be done until a stream is ready again.
    Blocked,
    /// The turn's budget is used up: call again in the next turn of the loop,
    /// without waiting for readiness, which may never be announced again.
    More,
    /// The client seems to have ended, and somebody may know better ([`Relay::client_ends`]).
    ClientEnds,
    /// Both directions are over: close both streams.
    Finished,
}

/// Why a direction broke off.
#[derive(Debug, Serialize, Deserialize)]
pub struct RelayFailure {
    /// Whose stream failed.
    pub side: Side,
    /// What the system said.
    #[serde(with = "error_number")]
    pub error: io::Error,
}

/// What has to be remembered of a relay between two turns.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Relay {
    up: Direction,
    down: Direction,
    /// Announced again wherever it goes on.
    #[serde(skip)]
    client: Readiness,
    #[serde(skip)]
    target: Readiness,
    failure: Option<RelayFailure>,
}

impl Relay {
    /// A relay of which nothing is known to be ready yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same; the target is told this before anything that the client says. Where somebody
    /// stands before the client, its end is doubted: it is asked for, and not passed on before.
    #[must_use]
    pub fn beginning_with(bytes: Vec<u8>, doubted: bool) -> Self {
        let mut relay = Self::new();
        (relay.up.rest, relay.up.doubted) = (bytes, doubted);
        relay
    }

    /// What has been asked for: the end of the client is a proper one, or it has broken off.
    pub fn client_ends(&mut self, properly: bool) {
        (self.up.doubted, self.up.distrusted) = (false, !properly);
    }

    /// A side has been announced as ready, for reading, for writing or both.
    pub fn announced(&mut self, side: Side) {
        let ready = match side {
            Side::Client => &mut self.client,
            Side::Target => &mut self.target,
        };
        *ready = Readiness { read: true, write: true };
    }

    /// Moves bytes until nothing can be moved or the turn's budget (16 calls, 1 MiB
    /// in and out together) is used up. A spurious call does no harm.
    ///
    /// `scratch` is free for others between turns; `CHUNK` of it is used, and it
    /// must not be empty.
    pub fn turn<S: Duplex>(
        &mut self,
        client: &mut S,
        target: &mut S,
        scratch: &mut [u8],
    ) -> RelayProgress {
        let length = scratch.len().min(CHUNK);
        let scratch = scratch.get_mut(..length).unwrap_or_default();
        let ends = Streams {
            from: (&mut *client, &mut self.client.read),
            to: (&mut *target, &mut self.target.write),
        };
        let up = self.up.turn(ends, scratch);
        if matches!(up, Ok(RelayStep::Doubts)) {
            return RelayProgress::ClientEnds;
        }
        let mut more = !matches!(up, Ok(RelayStep::Blocked));
        if let Err(broken) = up {
            self.broke(Side::Client, broken);
        }
        if self.is_over() {
            return RelayProgress::Finished;
        }
        let ends =
            Streams { from: (target, &mut self.target.read), to: (client, &mut self.client.write) };
        let down = self.down.turn(ends, scratch);
        more |= !matches!(down, Ok(RelayStep::Blocked));
        if let Err(broken) = down {
            // The other direction may have something to find out.
            self.broke(Side::Target, broken);
        }
        match (self.is_over(), more) {
            (true, _) => RelayProgress::Finished,
            (false, true) => RelayProgress::More,
            (false, false) => RelayProgress::Blocked,
        }
    }

    /// The first failure; none while all is well, or after two proper ends.
    #[must_use]
    pub fn failure(&self) -> Option<&RelayFailure> {
        self.failure.as_ref()
    }

    /// Whether everything that the client had to say was passed on, and that it was all.
    #[must_use]
    pub fn client_has_ended(&self) -> bool {
        self.up.state == DirectionState::Ended
    }

    /// Whether the target has said anything.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.down.moved
    }

    /// The client, which has ended, takes no answer any more: there is nothing left to do.
    pub fn client_is_gone(&mut self, error: io::Error) {
        self.down.fail();
        self.failure.get_or_insert(RelayFailure { side: Side::Client, error });
    }

    /// Whether a side is to be closed with a reset, since what it was sent is not
    /// all that there would have been: with an ordinary close it would take a part
    /// for the whole. A target that was told nothing but an end has nothing to lose by it, and
    /// knows at once that nobody waits for its answer.
    #[must_use]
    pub fn resets(&self, side: Side) -> bool {
        let flow = match side {
            Side::Client => &self.down,
            Side::Target => &self.up,
        };
        let idle = side == Side::Target && self.failure.is_some() && !flow.moved;
        flow.state != DirectionState::Ended || idle
    }

    /// Whether a side has not got all that was said to it so far.
    #[must_use]
    pub fn owes(&self, side: Side) -> bool {
        let flow = match side {
            Side::Client => &self.down,
            Side::Target => &self.up,
        };
        flow.state == DirectionState::Failed || !flow.rest.is_empty()
    }

    fn is_over(&self) -> bool {
        self.up.state != DirectionState::Open && self.down.state != DirectionState::Open
    }

    /// A stream that cannot be read is gone, and both directions with it. One that
    /// cannot be written may have said something before it went: that is still read.
    fn broke(&mut self, from: Side, broken: Broken) {
        let (flow, back, to, ready) = match from {
            Side::Client => (&mut self.up, &mut self.down, Side::Target, &mut self.target),
            Side::Target => (&mut self.down, &mut self.up, Side::Client, &mut self.client),
        };
        flow.fail();
        let failure = match broken {
            Broken::Reading(error) => {
                back.fail();
                RelayFailure { side: from, error }
            }
            Broken::Writing(error) => {
                // The system has told its error and will now show an end. Only where
                // it says EPIPE has there been a proper end before.
                back.distrusted = error.kind() != ErrorKind::BrokenPipe;
                ready.read = true;
                RelayFailure { side: to, error }
            }
        };
        self.failure.get_or_insert(failure);
    }
}

/// An error of the system by its number; the few of our own as an input/output error.
mod error_number {
    use std::io;

    use nix::errno::Errno;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(error: &io::Error, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i32(error.raw_os_error().unwrap_or(Errno::EIO as i32))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<io::Error, D::Error> {
        i32::deserialize(from).map(io::Error::from_raw_os_error)
    }
}

/// What a stream can do, as far as is known: false once it would have blocked.
#[derive(Debug, Default, Clone, Copy)]
struct Readiness {
    read: bool,
    write: bool,
}

#[cfg(test)]
mod tests;
