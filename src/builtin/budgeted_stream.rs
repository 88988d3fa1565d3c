//! A nonblocking stream seen by a service for one turn: reads and writes that
//! count, and that stop the turn when nothing more can be or should be done.

use std::io::{self, ErrorKind, Read, Write};

use serde::{Deserialize, Serialize};

/// Reads and writes in a turn.
const CALLS: u32 = 16;
/// Bytes moved in a turn, in and out together, before it ends.
const BYTES: usize = 1 << 20;

/// Why a turn ends before the service is finished.
#[derive(Debug)]
pub(super) enum TurnEnd {
    /// The stream would block.
    Blocked,
    /// The turn's budget is used up.
    Spent,
    /// The stream failed.
    Failed(io::Error),
}

/// The stream and what is left of the turn's budget.
pub(super) struct Link<'a, S> {
    stream: &'a mut S,
    calls: u32,
    bytes: usize,
}

impl<'a, S: Read + Write> Link<'a, S> {
    pub(super) fn new(stream: &'a mut S) -> Self {
        Self { stream, calls: CALLS, bytes: BYTES }
    }

    /// Reads once; 0 is the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TurnEnd> {
        self.counted(|stream| stream.read(buffer))
    }

    /// Writes once; some of it, never nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, TurnEnd> {
        match self.counted(|stream| stream.write(bytes))? {
            0 => Err(TurnEnd::Failed(ErrorKind::WriteZero.into())),
            written => Ok(written),
        }
    }

    fn counted(
        &mut self,
        mut call: impl FnMut(&mut S) -> io::Result<usize>,
    ) -> Result<usize, TurnEnd> {
        loop {
            if self.calls == 0 || self.bytes == 0 {
                return Err(TurnEnd::Spent);
            }
            self.calls -= 1;
            match call(self.stream) {
                Ok(moved) => {
                    self.bytes = self.bytes.saturating_sub(moved);
                    return Ok(moved);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(TurnEnd::Blocked);
                }
                Err(error) => return Err(TurnEnd::Failed(error)),
            }
        }
    }
}

/// Bytes on their way out. Nothing is kept while everything fits into the stream.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Outbox {
    #[serde(with = "crate::upgrade::hex")]
    rest: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// With these bytes to write.
    pub(super) fn with(bytes: Vec<u8>) -> Self {
        Self { rest: bytes, sent: 0 }
    }

    /// Whether everything has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Writes what is left, and frees it.
    pub(super) fn flush<S: Read + Write>(&mut self, link: &mut Link<'_, S>) -> Result<(), TurnEnd> {
        while let Some(unsent @ [_, ..]) = self.rest.get(self.sent..) {
            self.sent += link.write(unsent)?;
        }
        *self = Self::default();
        Ok(())
    }

    /// Writes all the bytes, or keeps what did not fit. Only for an empty outbox.
    pub(super) fn send<S: Read + Write>(
        &mut self,
        link: &mut Link<'_, S>,
        mut bytes: &[u8],
    ) -> Result<(), TurnEnd> {
        while !bytes.is_empty() {
            match link.write(bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(stop) => {
                    *self = Self::with(bytes.to_vec());
                    return Err(stop);
                }
            }
        }
        Ok(())
    }
}
