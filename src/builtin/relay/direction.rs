//! One direction of a relay: what one side says, until the other side has it.

use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

use super::duplex::Duplex;

/// Reads and writes of a direction in one turn: with [`CHUNK`](super::CHUNK), 1 MiB for both.
pub(super) const CALLS: u32 = 8;

/// Bytes that are thrown away at most: more than the system holds between two programs, so
/// that they come to an end if they want to.
pub(super) const THROWN: usize = 64 * 1024 * 1024;

/// How far a direction is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DirectionState {
    #[default]
    Open,
    /// The end has been passed on.
    Ended,
    Failed,
}

/// One direction.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Direction {
    /// What was read and not yet written; allocated only while there is something.
    #[serde(with = "crate::upgrade::hex")]
    pub(super) rest: Vec<u8>,
    /// How much of it has been written meanwhile; of a direction that has failed, how much
    /// has been thrown away since.
    pub(super) sent: usize,
    pub(super) state: DirectionState,
    /// An end of its source would not be a proper one.
    pub(super) distrusted: bool,
    /// Whether it would is to be asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) doubted: bool,
    /// Its source has said something; so it is taken to be where that is not known.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub(super) moved: bool,
}

fn yes() -> bool {
    true
}

/// The two streams of a direction, each with what it can do.
pub(super) struct Streams<'a, S> {
    pub(super) from: (&'a mut S, &'a mut bool),
    pub(super) to: (&'a mut S, &'a mut bool),
}

/// Why it does not go on now.
pub(super) enum RelayStep {
    Blocked,
    Spent,
    /// Its source has ended, and that is doubted.
    Doubts,
}

/// Which call on a stream has failed.
pub(super) enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

impl Direction {
    /// Nothing more is passed on.
    pub(super) fn fail(&mut self) {
        if self.state == DirectionState::Open {
            *self = Self { state: DirectionState::Failed, moved: self.moved, ..Self::default() };
        }
    }

    /// Moves bytes until one of the streams would block or the turn's share is used up.
    pub(super) fn turn<S: Duplex>(
        &mut self,
        ends: Streams<'_, S>,
        scratch: &mut [u8],
    ) -> Result<RelayStep, Broken> {
        let Streams { from: (from, readable), to: (to, writable) } = ends;
        if self.state == DirectionState::Failed {
            return self.throw_away((from, readable), scratch);
        }
        let mut calls = CALLS;
        while self.state == DirectionState::Open {
            if let Some(unsent @ [_, ..]) = self.rest.get(self.sent..) {
                let Some(written) =
                    attempt(&mut calls, writable, || to.write(unsent)).map_err(Broken::Writing)?
                else {
                    return Ok(step(calls, *writable));
                };
                self.wrote(written)?;
                continue;
            }
            let Some(length) =
                attempt(&mut calls, readable, || from.read(scratch)).map_err(Broken::Reading)?
            else {
                return Ok(step(calls, *readable));
            };
            match scratch.get(..length) {
                // The end is found again when nobody doubts it any more.
                None | Some([]) if self.doubted => return Ok(RelayStep::Doubts),
                None | Some([]) => self.end(to)?,
                Some(bytes) => {
                    self.moved = true;
                    self.pass(bytes, to, (&mut calls, writable))?;
                }
            }
        }
        Ok(RelayStep::Blocked)
    }

    /// Reads for a side that is gone, as long as the other direction goes on.
    fn throw_away<S: Duplex>(
        &mut self,
        (from, readable): (&mut S, &mut bool),
        scratch: &mut [u8],
    ) -> Result<RelayStep, Broken> {
        let mut calls = CALLS;
        while let Some(length) =
            attempt(&mut calls, readable, || from.read(scratch)).map_err(Broken::Reading)?
        {
            self.sent = self.sent.saturating_add(length);
            if self.sent > THROWN {
                return Err(Broken::Reading(ErrorKind::ConnectionAborted.into()));
            }
            // At the end there is nothing more to read.
            *readable = length > 0;
        }
        Ok(step(calls, *readable))
    }

    /// Writes what has been read, and keeps what does not fit.
    fn pass<S: Duplex>(
        &mut self,
        bytes: &[u8],
        to: &mut S,
        (calls, writable): (&mut u32, &mut bool),
    ) -> Result<(), Broken> {
        let written = attempt(calls, writable, || to.write(bytes)).map_err(Broken::Writing)?;
        if written == Some(0) {
            return Err(Broken::Writing(ErrorKind::WriteZero.into()));
        }
        let rest = bytes.get(written.unwrap_or(0)..).unwrap_or_default();
        // Exactly as long as it must be; an empty one is no allocation.
        (self.rest, self.sent) = (rest.to_vec(), 0);
        Ok(())
    }

    fn wrote(&mut self, written: usize) -> Result<(), Broken> {
        if written == 0 {
            return Err(Broken::Writing(ErrorKind::WriteZero.into()));
        }
        self.sent = self.sent.saturating_add(written);
        if self.sent >= self.rest.len() {
            (self.rest, self.sent) = (Vec::new(), 0);
        }
        Ok(())
    }

    /// Everything has been read and written.
    fn end<S: Duplex>(&mut self, to: &mut S) -> Result<(), Broken> {
        if self.distrusted {
            return Err(Broken::Reading(ErrorKind::ConnectionReset.into()));
        }
        to.end_writing().map_err(Broken::Writing)?;
        self.state = DirectionState::Ended;
        Ok(())
    }
}

/// Why a direction does not go on: its stream would block, or it has had its share.
fn step(calls: u32, ready: bool) -> RelayStep {
    if calls == 0 && ready { RelayStep::Spent } else { RelayStep::Blocked }
}

/// One call on a stream that may be ready; None if it is not, or nothing is left of
/// the budget.
fn attempt(
    calls: &mut u32,
    ready: &mut bool,
    mut call: impl FnMut() -> io::Result<usize>,
) -> io::Result<Option<usize>> {
    while *ready && *calls > 0 {
        *calls -= 1;
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => *ready = false,
            other => return other.map(Some),
        }
    }
    Ok(None)
}
