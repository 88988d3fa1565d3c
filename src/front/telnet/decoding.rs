//! From the bytes of a client to what they mean, one after the other.

use super::commands::{DO, DONT, IAC, SB, SE, WILL, WONT};

/// Bytes that are kept of what is said of an option; whoever says more has said nothing.
pub(super) const LONGEST: usize = 80;

/// What a byte brings to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// For the terminal.
    Typed(u8),
    /// A command of one byte.
    Command(u8),
    /// WILL, WONT, DO or DONT, and of what.
    Option(u8, u8),
    /// Something about an option: [`Decoder::said`].
    Said,
}

/// Where in the protocol a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum DecoderState {
    #[default]
    Data,
    /// Behind a carriage return, which has been typed already.
    Return,
    /// Behind an IAC.
    Command,
    /// Behind a WILL, WONT, DO or DONT.
    Option(u8),
    /// In what is said of an option.
    Saying,
    /// Behind an IAC there.
    SayingCommand,
}

/// Where a client is, and what it is about to say.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    state: DecoderState,
    said: Vec<u8>,
    is_too_long: bool,
}

impl Decoder {
    /// Takes a byte.
    pub(super) fn decode(&mut self, byte: u8) -> Option<Meaning> {
        let (next, meaning) = match (self.state, byte) {
            (DecoderState::Data | DecoderState::Return, IAC) => (DecoderState::Command, None),
            // The end of a line, or a return alone: return is what a terminal's key sends.
            (DecoderState::Data | DecoderState::Return, b'\r') => {
                (DecoderState::Return, Some(Meaning::Typed(byte)))
            }
            (DecoderState::Return, b'\n' | 0) => (DecoderState::Data, None),
            (DecoderState::Data | DecoderState::Return, _) => {
                (DecoderState::Data, Some(Meaning::Typed(byte)))
            }
            (DecoderState::Option(verb), _) => {
                (DecoderState::Data, Some(Meaning::Option(verb, byte)))
            }
            (DecoderState::Saying, IAC) => (DecoderState::SayingCommand, None),
            (DecoderState::Saying, _) => (self.keep(byte), None),
            (DecoderState::SayingCommand, IAC) => (self.keep(byte), None),
            (DecoderState::SayingCommand, SE) => (DecoderState::Data, self.end_of_what_is_said()),
            // What was being said has no end: it is nothing, and this is a command.
            (DecoderState::Command | DecoderState::SayingCommand, _) => self.command(byte),
        };
        self.state = next;
        meaning
    }

    fn command(&mut self, byte: u8) -> (DecoderState, Option<Meaning>) {
        self.said.clear();
        self.is_too_long = false;
        match byte {
            IAC => (DecoderState::Data, Some(Meaning::Typed(IAC))),
            WILL | WONT | DO | DONT => (DecoderState::Option(byte), None),
            SB => (DecoderState::Saying, None),
            _ => (DecoderState::Data, Some(Meaning::Command(byte))),
        }
    }

    fn keep(&mut self, byte: u8) -> DecoderState {
        if self.said.len() < LONGEST {
            self.said.push(byte);
        } else {
            self.is_too_long = true;
        }
        DecoderState::Saying
    }

    fn end_of_what_is_said(&mut self) -> Option<Meaning> {
        (!self.is_too_long).then_some(Meaning::Said)
    }

    /// What was said of an option, which comes first.
    pub(super) fn said(&self) -> &[u8] {
        &self.said
    }
}
