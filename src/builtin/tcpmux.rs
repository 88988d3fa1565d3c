//! tcpmux, RFC 1078: the client says a service's name in the first line.
//!
//! The machine reads the line and hands the name over; which names there are,
//! and whether one more may run, is the server's to decide. The line is read a
//! byte at a time, since what comes after it belongs to the program that gets
//! the stream, and no way of looking ahead works on every stream. A name costs a
//! dozen short reads so, a small part of what starting its program costs.

use std::io::{Read, Write};
use std::mem;

use serde::{Deserialize, Serialize};

use super::budgeted_stream::{Link, TurnEnd};
use super::one_shot::Speech;
use super::state_machine::{Finish, StateMachine, TcpmuxRequest, Wants};
use crate::config::model::TcpmuxName;

/// The longest line before its LF, in bytes.
pub const LONGEST_LINE: usize = 256;
/// Said before a program that does not speak tcpmux itself (`tcpmux/+NAME`).
pub const GO: &str = "+Go\r\n";
/// Said when there is no such service, or it cannot be had.
pub const NOT_AVAILABLE: &str = "-Service not available\r\n";
/// Said when the line is longer than [`LONGEST_LINE`].
const TOO_LONG: &str = "-Service name too long\r\n";

/// The answer to `help`: each name on a line of its own.
pub fn help<'a>(names: impl IntoIterator<Item = &'a TcpmuxName>) -> String {
    names.into_iter().flat_map(|entry| [entry.name.as_str(), "\r\n"]).collect()
}

/// Reads the line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tcpmux {
    #[serde(with = "crate::upgrade::hex")]
    line: Vec<u8>,
    refusal: Option<Box<Speech>>,
}

/// What a read of one byte brought.
enum Piece {
    Byte(u8),
    /// The line's end.
    End,
    /// The stream's end instead of a line.
    Nothing,
}

impl Tcpmux {
    pub(super) fn refuses(&self) -> bool {
        self.refusal.is_some()
    }

    fn refuse(&mut self, words: &str) {
        self.refusal = Some(Box::new(Speech::last(words.into())));
    }

    /// Reads on in the line. The end of the stream ends a line too, as it did
    /// with inetd: clients that half-close are served.
    fn read<S: Read + Write>(&self, link: &mut Link<'_, S>) -> Result<Piece, TurnEnd> {
        let mut byte = [0];
        let length = link.read(&mut byte)?;
        Ok(match byte {
            _ if length == 0 && self.line.is_empty() => Piece::Nothing,
            _ if length == 0 => Piece::End,
            [b'\n'] => Piece::End,
            [byte] => Piece::Byte(byte),
        })
    }

    /// The request in a whole line; None if no service could have such a name.
    fn request(&mut self) -> Option<TcpmuxRequest> {
        let mut line = mem::take(&mut self.line);
        line.pop_if(|last| *last == b'\r');
        let printable = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let name = String::from_utf8(line).ok()?;
        printable.then_some(TcpmuxRequest { name })
    }
}

impl StateMachine for Tcpmux {
    fn turn<S: Read + Write>(
        &mut self,
        link: &mut Link<'_, S>,
        scratch: &mut [u8],
    ) -> Result<Finish, TurnEnd> {
        while self.refusal.is_none() {
            match self.read(link)? {
                Piece::Byte(_) if self.line.len() >= LONGEST_LINE => self.refuse(TOO_LONG),
                Piece::Byte(byte) => self.line.push(byte),
                Piece::Nothing => return Ok(Finish::Done),
                Piece::End => match self.request() {
                    Some(request) => return Ok(Finish::Handoff(request)),
                    None => self.refuse(NOT_AVAILABLE),
                },
            }
        }
        match &mut self.refusal {
            Some(speech) => speech.turn(link, scratch),
            None => Ok(Finish::Done),
        }
    }

    fn wants(&self) -> Wants {
        let writable = self.refusal.is_some();
        Wants { readable: !writable, writable }
    }
}
