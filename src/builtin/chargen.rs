//! The character generator, RFC 864: lines of 72 characters out of a ring of the
//! 95 printable ones, each line one character further, without end.

use std::io::{Read, Write};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::budgeted_stream::{Link, TurnEnd};
use super::state_machine::{Finish, StateMachine, Wants};

/// Characters in the ring: space to tilde.
const RING: u8 = 95;
/// Characters in a line, without CRLF.
const LINE: u8 = 72;
/// Bytes in a line, with CRLF.
const LINE_BYTES: usize = 74;
/// Bytes after which everything repeats: a line for each first character.
const PERIOD: usize = LINE_BYTES * 95;
/// Periods laid out one after another, so that a write from anywhere in the
/// first is at least 100 KiB long.
const PERIODS: usize = 16;
/// Calls a turn may spend on throwing away what the client sends.
const DRAINS: u32 = 4;

/// Made on the first use: most servers never have one.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let line = |first: u8| {
        let characters = (0..LINE).map(move |at| b' ' + (first + at) % RING);
        characters.chain(*b"\r\n")
    };
    let period: Vec<u8> = (0..RING).flat_map(line).collect();
    period.repeat(PERIODS)
});

/// The pattern from its beginning, `length` bytes (fewer if it is beyond 100 KiB).
pub(super) fn pattern(length: usize) -> &'static [u8] {
    PATTERN.get(..length).unwrap_or(&PATTERN)
}

/// What a client sends is read and thrown away, as the RFC has it; once it has
/// shut down its side it goes on being served until it is gone altogether.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chargen {
    /// Where in the period the next byte is.
    position: usize,
    /// Most bytes in a write: a line where writes are packets.
    most: usize,
    /// The client has shut down its side.
    ended: bool,
}

impl Chargen {
    pub(super) fn stream() -> Self {
        Self { position: 0, most: PERIOD * PERIODS, ended: false }
    }

    pub(super) fn packets() -> Self {
        Self { most: LINE_BYTES, ..Self::stream() }
    }

    /// Reads what is there; whether something may be left.
    fn drain<S: Read + Write>(
        &mut self,
        link: &mut Link<'_, S>,
        scratch: &mut [u8],
    ) -> Result<bool, TurnEnd> {
        for _ in 0..DRAINS {
            if self.ended {
                return Ok(false);
            }
            match link.read(scratch) {
                Ok(length) => self.ended = length == 0,
                Err(TurnEnd::Blocked) => return Ok(false),
                Err(stop) => return Err(stop),
            }
        }
        Ok(!self.ended)
    }

    /// Writes until something stops it.
    fn fill<S: Read + Write>(&mut self, link: &mut Link<'_, S>) -> TurnEnd {
        loop {
            let rest = PATTERN.get(self.position..).unwrap_or_default();
            match link.write(rest.get(..self.most).unwrap_or(rest)) {
                Ok(written) => self.position = (self.position + written) % PERIOD,
                Err(stop) => return stop,
            }
        }
    }
}

impl StateMachine for Chargen {
    fn turn<S: Read + Write>(
        &mut self,
        link: &mut Link<'_, S>,
        scratch: &mut [u8],
    ) -> Result<Finish, TurnEnd> {
        let more_to_read = self.drain(link, scratch)?;
        match self.fill(link) {
            // Readiness is announced once: what is left to read would be forgotten.
            TurnEnd::Blocked if more_to_read => Err(TurnEnd::Spent),
            stop => Err(stop),
        }
    }

    fn wants(&self) -> Wants {
        Wants { readable: !self.ended, writable: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_that_of_the_rfc() {
        let text = std::str::from_utf8(pattern(2 * PERIOD)).unwrap();
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(
            lines[0],
            " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg"
        );
        assert!(lines[1].starts_with("!\"#") && lines[1].ends_with("gh"));
        assert!(lines[94].starts_with("~ !\""));
        assert_eq!(lines[0], lines[95]);
        assert!(lines.iter().all(|line| line.len() == 72));
    }
}
