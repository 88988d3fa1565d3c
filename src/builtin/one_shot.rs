//! Services that only say something: daytime, time, and tcpmux's own answers.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::budgeted_stream::{Link, Outbox, TurnEnd};
use super::state_machine::{Finish, StateMachine, Wants};
use crate::sys::calendar::WallClock;

/// Seconds from 1900-01-01, where RFC 868 counts from, to 1970-01-01.
const SINCE_1900: i64 = 2_208_988_800;

/// RFC 867, as inetd says it: `Sun Nov 22 22:48:09 2026` in local time, and CRLF.
pub(super) fn daytime(clock: WallClock) -> Vec<u8> {
    format!("{}\r\n", clock.local()).into_bytes()
}

/// RFC 868: seconds since 1900 in UTC, big-endian. They begin again at 0 in
/// February 2036; the protocol has no way to say more.
pub(super) fn time(clock: WallClock) -> [u8; 4] {
    let seconds = clock.utc_seconds.wrapping_add(SINCE_1900);
    let [_, _, _, _, low @ ..] = seconds.to_be_bytes();
    low
}

/// Says it and is done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Speech {
    outbox: Outbox,
    /// Whether the stream goes on to somebody else, who wants to read what came.
    keep_input: bool,
}

impl Speech {
    /// Last words: afterwards the stream is closed.
    pub(super) fn last(words: Vec<u8>) -> Self {
        Self { outbox: Outbox::with(words), keep_input: false }
    }

    /// A greeting: afterwards the stream goes to a program.
    pub(super) fn greeting(words: Vec<u8>) -> Self {
        Self { outbox: Outbox::with(words), keep_input: true }
    }
}

impl StateMachine for Speech {
    fn turn<S: Read + Write>(
        &mut self,
        link: &mut Link<'_, S>,
        scratch: &mut [u8],
    ) -> Result<Finish, TurnEnd> {
        self.outbox.flush(link)?;
        if self.keep_input {
            return Ok(Finish::Done);
        }
        // Closing a TCP socket with something unread resets the connection, and
        // the reset can overtake our words. So what has come is taken first.
        loop {
            match link.read(scratch) {
                Ok(1..) => {}
                Ok(0) | Err(TurnEnd::Blocked | TurnEnd::Spent) => return Ok(Finish::Done),
                Err(stop) => return Err(stop),
            }
        }
    }

    fn wants(&self) -> Wants {
        Wants { readable: false, writable: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(utc_seconds: i64) -> WallClock {
        WallClock { utc_seconds, offset_seconds: -18_000 }
    }

    #[test]
    fn daytime_is_ctime_in_local_time() {
        assert_eq!(daytime(at(1_795_387_689)), b"Sun Nov 22 17:48:09 2026\r\n");
        assert_eq!(daytime(at(0)), b"Wed Dec 31 19:00:00 1969\r\n");
    }

    #[test]
    fn time_counts_from_1900_and_wraps_in_2036() {
        // The examples of RFC 868.
        assert_eq!(time(at(0)), 2_208_988_800_u32.to_be_bytes());
        assert_eq!(time(at(2_398_291_200 - SINCE_1900)), 2_398_291_200_u32.to_be_bytes());
        assert_eq!(time(at(-SINCE_1900)), [0; 4]);
        assert_eq!(time(at(2_085_978_495)), [0xff; 4]);
        assert_eq!(time(at(2_085_978_496)), [0; 4]);
        let _ = time(at(i64::MAX));
    }
}
