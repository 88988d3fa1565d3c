//! Options and what has been agreed on, as RFC 1143 has it: of each side of an option it is
//! known whether it is on, off, or asked for and not answered. We ask at the beginning and
//! never again, so nothing is ever asked for twice.

use super::commands::{DO, DONT, WILL, WONT};

const ECHO: u8 = 1;
const SUPPRESS_GO_AHEAD: u8 = 3;
pub(super) const TTYPE: u8 = 24;
pub(super) const NAWS: u8 = 31;

/// What we do if the client agrees.
const OURS: [u8; 2] = [ECHO, SUPPRESS_GO_AHEAD];
/// What we would have the client do.
const THEIRS: [u8; 3] = [SUPPRESS_GO_AHEAD, TTYPE, NAWS];

/// One side of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptionState {
    Off,
    On,
    /// We have asked for it.
    Asked,
}

/// Something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verb: u8,
    pub(super) option: u8,
}

/// All that we know.
#[derive(Debug)]
pub(super) struct Options {
    ours: [(u8, OptionState); OURS.len()],
    theirs: [(u8, OptionState); THEIRS.len()],
}

/// What follows from what a client says of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) answer: Option<Answer>,
    /// It is on from now on.
    pub(super) is_new: bool,
}

impl Options {
    /// All of them asked for; the questions.
    pub(super) fn offered() -> (Self, Vec<Answer>) {
        let ours = OURS.map(|option| (option, OptionState::Asked));
        let theirs = THEIRS.map(|option| (option, OptionState::Asked));
        let will = OURS.map(|option| Answer { verb: WILL, option });
        let please = THEIRS.map(|option| Answer { verb: DO, option });
        let asked = will.into_iter().chain(please).collect();
        (Self { ours, theirs }, asked)
    }

    /// What a client says of an option; what to answer, if anything.
    pub(super) fn said(&mut self, verb: u8, option: u8) -> Outcome {
        let (is_ours, wanted) = match verb {
            WILL => (false, true),
            WONT => (false, false),
            DO => (true, true),
            _ => (true, false),
        };
        let (yes, no) = if is_ours { (WILL, WONT) } else { (DO, DONT) };
        let Some(state) = self.state(is_ours, option) else {
            // Refused each time that it is asked for, and a refusal is not answered.
            let answer = wanted.then_some(Answer { verb: no, option });
            return Outcome { answer, is_new: false };
        };
        let before =
            std::mem::replace(state, if wanted { OptionState::On } else { OptionState::Off });
        let verb = match (before, wanted) {
            (OptionState::Off, true) => Some(yes),
            (OptionState::On, false) => Some(no),
            // That is what we know, or the answer to what we have asked.
            (OptionState::On | OptionState::Asked, true)
            | (OptionState::Off | OptionState::Asked, false) => None,
        };
        let answer = verb.map(|verb| Answer { verb, option });
        Outcome { answer, is_new: wanted && before != OptionState::On }
    }

    fn state(&mut self, is_ours: bool, option: u8) -> Option<&mut OptionState> {
        let all = if is_ours { self.ours.as_mut_slice() } else { self.theirs.as_mut_slice() };
        all.iter_mut().find(|(other, _)| *other == option).map(|(_, state)| state)
    }

    fn theirs(&self, option: u8) -> Option<OptionState> {
        self.theirs.iter().find(|(other, _)| *other == option).map(|(_, state)| *state)
    }

    /// Whether the client does it.
    pub(super) fn are_agreed(&self, option: u8) -> bool {
        self.theirs(option) == Some(OptionState::On)
    }

    /// Whether the client does not do it, and has said so.
    pub(super) fn is_refused(&self, option: u8) -> bool {
        self.theirs(option) == Some(OptionState::Off)
    }
}
