//! The telnet protocol (RFC 854, 855), as a server speaks it between a client and a terminal:
//! echo (RFC 857), suppress go-ahead (858), terminal type (1091), window size (1073), and the
//! ends of lines.
//!
//! It is a state machine that reads and writes nothing itself. Every byte of a client has a
//! meaning, or is passed over, at most 80 bytes of it are ever kept, and what is
//! answered is less than five times as long as what was asked. An option is answered when it
//! changes and not when it is said again (RFC 1143), so that two sides never answer each other
//! for ever.
//!
//! What stands before something urgent is a Synch (RFC 1123, 3.2.4): it is thrown away, but for the
//! commands in it, so that these get through where a program takes nothing of what is typed. The
//! urgent byte is the one behind which that is over, whether it is the data mark that it should be
//! or not.
//!
//! | file | what it does |
//! |---|---|
//! | `commands` | the commands |
//! | `options` | what has been agreed on |
//! | `decoding` | from the bytes of a client to what they mean |

mod commands;
mod decoding;
mod options;

use commands::{ABORT, AO, AYT, BRK, DM, EC, EL, EOF, IAC, IP, SB, SE, SUSP, WILL};
use decoding::{Decoder, Meaning};
use options::{Answer, NAWS, Options, TTYPE};

use crate::config::model::{TerminalSize, is_terminal_name};

/// What the first byte says behind "terminal type": the name comes, or is asked for.
const IS: u8 = 0;
const SEND: u8 = 1;

/// The characters by which a terminal knows what some commands mean, as it has them at first.
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const ERASE: u8 = 0x7f;
const KILL_LINE: u8 = 0x15;
const SUSPEND: u8 = 0x1a;
const QUIT: u8 = 0x1c;

/// More columns or rows than this are no window of anybody.
const LARGEST: u16 = 4096;

/// One client, from the first byte on.
#[derive(Debug)]
pub struct Telnet {
    decoder: Decoder,
    options: Options,
    /// What it is to be sent.
    answers: Vec<u8>,
    /// The window, if it has changed since it was last asked for.
    size: Option<TerminalSize>,
    has_size: bool,
    term: Option<String>,
    /// What it types is thrown away.
    discards: bool,
    /// It is to be sent a Synch.
    owes_synch: bool,
    /// It has said what its terminal is, or something that is no name.
    has_named: bool,
}

impl Default for Telnet {
    fn default() -> Self {
        Self::new()
    }
}

impl Telnet {
    /// The beginning: what is offered and asked for is among the answers.
    pub fn new() -> Self {
        let (options, answers) = Options::offered();
        let mut telnet = Self {
            decoder: Decoder::default(),
            options,
            answers: Vec::new(),
            size: None,
            has_size: false,
            term: None,
            discards: false,
            owes_synch: false,
            has_named: false,
        };
        answers.into_iter().for_each(|answer| telnet.answer(answer));
        telnet
    }

    /// Takes what a client has sent; what of it is for the terminal goes to the end of `typed`.
    pub fn receive(&mut self, bytes: &[u8], typed: &mut Vec<u8>) {
        for byte in bytes {
            match self.decoder.decode(*byte) {
                None => {}
                Some(Meaning::Typed(_) | Meaning::Command(EC | EL)) if self.discards => {}
                Some(Meaning::Typed(byte)) => typed.push(byte),
                Some(Meaning::Command(command)) => self.obey(command, typed),
                Some(Meaning::Option(verb, option)) => self.negotiate(verb, option),
                Some(Meaning::Said) => self.take_what_is_said(),
            }
        }
    }

    /// What comes next stands before something urgent, or does no more.
    pub fn discard(&mut self, discards: bool) {
        self.discards = discards;
    }

    /// Writes what a terminal shows to the end of `out`, as the client is sent it.
    pub fn send(&self, shown: &[u8], out: &mut Vec<u8>) {
        out.reserve(shown.len().saturating_add(shown.len() / 8));
        let mut rest = shown;
        while let Some(at) = rest.iter().position(|byte| matches!(*byte, IAC | b'\r')) {
            let (plain, special) = rest.split_at(at);
            out.extend_from_slice(plain);
            rest = match special {
                [IAC, rest @ ..] => {
                    out.extend_from_slice(&[IAC, IAC]);
                    rest
                }
                [b'\r', b'\n', rest @ ..] => {
                    out.extend_from_slice(b"\r\n");
                    rest
                }
                // A carriage return alone; the end of a line that comes later is a line feed
                // alone, which is shown alike.
                [_, rest @ ..] => {
                    out.extend_from_slice(b"\r\0");
                    rest
                }
                [] => special,
            };
        }
        out.extend_from_slice(rest);
    }

    /// What is to be sent to the client besides, not among the bytes of one [`Self::send`].
    pub fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    /// Whether there is something of that.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// What it is to be sent behind all that, the last byte as urgent: it throws away what is on its
    /// way to it until that comes.
    pub fn take_synch(&mut self) -> Option<[u8; 2]> {
        std::mem::take(&mut self.owes_synch).then_some([IAC, DM])
    }

    /// The window, if it is another one than when this was asked last.
    pub fn take_size(&mut self) -> Option<TerminalSize> {
        self.size.take()
    }

    /// What the client says its terminal is.
    pub fn term(&self) -> Option<&str> {
        self.term.as_deref()
    }

    /// Whether everything is known that a client says of its terminal at the beginning.
    pub fn is_settled(&self) -> bool {
        let has_answered = |option: u8, said: bool| said || self.options.is_refused(option);
        has_answered(TTYPE, self.has_named) && has_answered(NAWS, self.has_size)
    }

    fn obey(&mut self, command: u8, typed: &mut Vec<u8>) {
        match command {
            IP | BRK => typed.push(INTERRUPT),
            ABORT => typed.push(QUIT),
            SUSP => typed.push(SUSPEND),
            EOF => typed.push(END),
            EC => typed.push(ERASE),
            EL => typed.push(KILL_LINE),
            AYT => self.answers.extend_from_slice(b"\r\n[yes]\r\n"),
            AO => self.owes_synch = true,
            // Nothing to do (NOP, go ahead, data mark), or nothing that anybody knows.
            _ => {}
        }
    }

    fn negotiate(&mut self, verb: u8, option: u8) {
        let outcome = self.options.said(verb, option);
        if let Some(answer) = outcome.answer {
            self.answer(answer);
        }
        if outcome.is_new && (verb, option) == (WILL, TTYPE) {
            self.answers.extend_from_slice(&[IAC, SB, TTYPE, SEND, IAC, SE]);
        }
    }

    fn answer(&mut self, answer: Answer) {
        let Answer { verb, option } = answer;
        self.answers.extend_from_slice(&[IAC, verb, option]);
    }

    fn take_what_is_said(&mut self) {
        match self.decoder.said() {
            [NAWS, a, b, c, d] if self.options.are_agreed(NAWS) => {
                self.has_size = true;
                let columns = u16::from_be_bytes([*a, *b]);
                let rows = u16::from_be_bytes([*c, *d]);
                // 0: it does not know.
                if columns > 0 && rows > 0 {
                    let (columns, rows) = (columns.min(LARGEST), rows.min(LARGEST));
                    self.size = Some(TerminalSize { columns, rows });
                }
            }
            [TTYPE, IS, name @ ..] if self.options.are_agreed(TTYPE) => {
                self.has_named = true;
                // Names of protocols are upper case; those of terminals are not.
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                if is_terminal_name(&name) {
                    self.term = Some(name);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
