//! Echo and discard: what comes is sent back, or is not.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::budgeted_stream::{Link, Outbox, TurnEnd};
use super::state_machine::{Finish, StateMachine, Wants};

/// RFC 862. While something is unwritten nothing is read, so that a client that
/// does not take its bytes is slowed down by its own kernel and costs us one buffer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Echo {
    outbox: Outbox,
}

impl StateMachine for Echo {
    fn turn<S: Read + Write>(
        &mut self,
        link: &mut Link<'_, S>,
        scratch: &mut [u8],
    ) -> Result<Finish, TurnEnd> {
        loop {
            self.outbox.flush(link)?;
            // The end is seen only when nothing is unwritten: a client that shuts
            // down its side has had everything back by then.
            let length = link.read(scratch)?;
            if length == 0 {
                return Ok(Finish::Done);
            }
            let bytes = scratch.get(..length).unwrap_or_default();
            self.outbox.send(link, bytes)?;
        }
    }

    fn wants(&self) -> Wants {
        let writable = !self.outbox.is_empty();
        Wants { readable: !writable, writable }
    }
}

/// RFC 863: reads until the end, says nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Discard;

impl StateMachine for Discard {
    fn turn<S: Read + Write>(
        &mut self,
        link: &mut Link<'_, S>,
        scratch: &mut [u8],
    ) -> Result<Finish, TurnEnd> {
        while link.read(scratch)? > 0 {}
        Ok(Finish::Done)
    }

    fn wants(&self) -> Wants {
        Wants { readable: true, writable: false }
    }
}
