//! A client and a program, and what passes between them.
//!
//! What is read from one side is given to the front, and what that makes of it is written to
//! the other at once. What finds no room there is kept, and as long as something is, nothing
//! more is read that would add to it: so a session holds one portion each way at most, and
//! nothing at all while it is idle.
//!
//! The last byte is delivered before a close, whatever ends first. The client's end is passed
//! on as the end of the program's input when everything before it has been written, and the
//! program's as that of the connection. An end that is none, since the server has broken off what
//! would have been said, is that of the connection alone: the front says nothing of it. A program
//! that has shut its input is not gone: what comes for it is thrown away. A connection on which the client may still send is
//! closed when the client has closed it, or has had its time: else what is on its way would be
//! lost to a reset.

use std::time::{Duration, Instant};

use super::front::{Facts, Front, Output};
use super::side::FrontSide;
use crate::front::leaving;
use crate::front::wire::Ended;

/// Bytes of the longest beginning of something that is still to come.
const PARTIAL: usize = 72 * 1024;
/// Bytes read at once.
const PORTION: usize = 64 * 1024;
/// Answers of the front itself that wait for a client who takes none.
const ANSWERS: usize = 64 * 1024;
/// What a client may type before there is a terminal, of which that takes about as much.
const TYPED_AHEAD: usize = 4096;
/// Portions each way in one turn.
const ROUNDS: usize = 4;

/// Room for what is read and put out, one session after the other.
#[derive(Debug)]
pub(super) struct Room {
    scratch: Vec<u8>,
    out: Output,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { scratch: vec![0; PARTIAL + PORTION], out: Output::default() }
    }
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing can be done before one of its descriptors says so.
    Waiting,
    /// There is more to do.
    More,
    /// It has closed everything that it may close, and waits for the client to do so; not for
    /// long.
    Leaving,
    /// Its client has hung up a terminal, and is looked at in a second.
    HangingUp,
    /// It is over.
    Over,
}

/// What is to be told of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Ready(Facts, Option<(u16, u16)>),
    Failed(String),
}

/// A client and its program.
pub(super) struct FrontSession {
    /// What the server calls it.
    pub(super) number: u64,
    pub(super) client: FrontSide,
    pub(super) program: FrontSide,
    /// It is in the ready queue.
    pub(super) queued: bool,
    /// The longest that nothing may move, and when something last did.
    pub(super) idle: Option<Duration>,
    pub(super) active: Instant,
    /// It has been given its time to leave.
    pub(super) leaves: bool,
    /// It is looked at in a second.
    pub(super) is_timed: bool,
    /// The program has shown something since it was decided to.
    pub(super) has_shown: bool,
    /// What the program says ends before it is whole.
    pub(super) is_broken_off: bool,
    has_begun: bool,
    front: Box<dyn Front>,
    /// What of the client's bytes is not done with.
    partial: Vec<u8>,
    is_ready: bool,
    /// The client has said that nothing more will come.
    client_ended: bool,
    /// The client has been told so.
    program_ended: bool,
    has_failed: bool,
    is_cut_off: bool,
    /// What has failed when the client had its program.
    why: Option<String>,
    /// How it has left that has been told, if otherwise than it should.
    has_told_how: bool,
    /// The client's window, if it has told.
    size: Option<(u16, u16)>,
    full: Full,
    /// It is looked at whether it is full.
    is_looked_at: bool,
}

/// Whether the program's terminal has room for what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    No,
    /// It has had none since then, when it had taken so much.
    Since(Instant, u64),
    /// It has had none for so long that nobody waits for it.
    Overflows,
}

impl FrontSession {
    pub(super) fn new(
        number: u64,
        client: FrontSide,
        program: FrontSide,
        front: Box<dyn Front>,
    ) -> Self {
        Self {
            number,
            client,
            program,
            queued: false,
            idle: None,
            active: Instant::now(),
            leaves: false,
            is_timed: false,
            has_shown: false,
            is_broken_off: false,
            has_begun: false,
            front,
            partial: Vec::new(),
            is_ready: false,
            client_ended: false,
            program_ended: false,
            has_failed: false,
            is_cut_off: false,
            why: None,
            has_told_how: false,
            size: None,
            full: Full::No,
            is_looked_at: false,
        }
    }

    /// Whether its program is to be had in a second, whatever the client says.
    pub(super) fn may_be_silent(&self) -> bool {
        self.front.may_be_silent()
    }

    /// Its program has ended.
    pub(super) fn finish(&mut self) {
        self.program.finish();
    }

    /// The second is over; whether the session is.
    pub(super) fn had_a_second(&mut self, room: &mut Room, tell: &mut Vec<Told>) -> bool {
        if self.is_hanging_up() {
            return !self.has_shown;
        }
        if !self.is_ready && !self.has_failed {
            self.front.was_silent(&mut self.partial, &mut room.out);
            self.carry_out(&mut room.out, tell);
        }
        false
    }

    /// When it is to be looked whether its terminal is full still, if that is not known.
    pub(super) fn fills_up(&mut self, patience: Duration) -> Option<Instant> {
        if !self.program.has_pending() {
            self.full = Full::No;
        }
        let can_be = self.program.is_terminal()
            && self.program.has_pending()
            && self.full != Full::Overflows;
        if !can_be || self.program.awaits_terminal() {
            return None;
        }
        let taken = self.program.taken();
        if !matches!(self.full, Full::Since(_, before) if before == taken) {
            self.full = Full::Since(Instant::now(), taken);
        }
        let is_first = !std::mem::replace(&mut self.is_looked_at, true);
        Instant::now().checked_add(patience).filter(|_| is_first)
    }

    /// It is looked at: when again.
    pub(super) fn has_been_full(&mut self, patience: Duration, now: Instant) -> Option<Instant> {
        self.is_looked_at = false;
        let Full::Since(since, _) = self.full else { return None };
        let due = since.checked_add(patience)?;
        if due > now {
            self.is_looked_at = true;
            return Some(due);
        }
        self.full = Full::Overflows;
        None
    }

    /// Whether the client of a terminal will say nothing more; it may still read.
    fn is_hanging_up(&self) -> bool {
        let is_stuck = self.client.is_ending() && self.program.has_pending();
        let has_terminal = self.program.is_terminal() && !self.program.awaits_terminal();
        has_terminal && (self.client.is_at_end() || is_stuck)
    }

    /// Whether its client may have a program.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether its program is there no more. One that takes nothing more is, and may say something
    /// whenever it likes; so is one that has said all, and may read on.
    pub(super) fn has_lost_its_program(&self) -> bool {
        self.is_ready && (self.program.is_gone() || self.program.is_finished())
    }

    /// How it has ended.
    pub(super) fn ending(&self) -> Ended {
        match () {
            () if self.has_failed => Ended::Broken,
            () if self.is_cut_off => Ended::CutOff,
            () => Ended::Closed,
        }
    }

    /// Does what can be done, but not for too long.
    pub(super) fn turn(&mut self, room: &mut Room, tell: &mut Vec<Told>) -> Turn {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if is_first && !(self.program.is_terminal() && self.client.is_lost()) {
            self.front.begin(&mut room.out);
            self.carry_out(&mut room.out, tell);
        }
        for _ in 0..ROUNDS {
            // The server has taken the other end back before anybody was to have it.
            if self.program.is_given_up() && !self.is_ready && !self.has_failed {
                return Turn::Over;
            }
            let mut moved = self.client.flush() | self.program.flush();
            moved |= self.take_from_client(room, tell);
            moved |= self.take_from_program(room);
            if let Some(how) = self.how_it_leaves() {
                // The server hears of it before the program does.
                tell.push(Told::Failed(how));
                return Turn::More;
            }
            moved |= self.pass_ends_on(room);
            if let Some(turn) = self.verdict() {
                return turn;
            }
            if moved && self.idle.is_some() {
                self.active = Instant::now();
            }
            if !moved {
                return match () {
                    () if self.is_leaving() => Turn::Leaving,
                    () if self.is_hanging_up() => Turn::HangingUp,
                    () => Turn::Waiting,
                };
            }
        }
        Turn::More
    }

    /// Whether it is over.
    fn verdict(&self) -> Option<Turn> {
        // Nobody types any more, whether the terminal has taken all or not.
        let is_typed = self.program.is_terminal() && (self.client.is_gone() || !self.is_ready);
        let delivered = !self.program.has_pending() || is_typed;
        let client_is_done = self.client.is_gone()
            || (self.program.is_terminal() && !self.is_ready && self.client.is_at_end())
            || (self.client.is_shut() && (self.client.is_at_end() || self.client_ended));
        // A program that reads on, and has closed its output, has all of the input first.
        (client_is_done && delivered).then_some(Turn::Over)
    }

    fn is_leaving(&self) -> bool {
        self.client.is_shut() && (self.program.is_gone() || self.has_failed)
    }

    fn fail(&mut self, why: String, tell: &mut Vec<Told>) {
        self.has_failed = true;
        self.partial = Vec::new();
        if self.is_ready {
            self.why = Some(why);
        } else {
            tell.push(Told::Failed(why));
        }
    }

    /// How the client leaves a program that is still there, if otherwise than it should; once.
    fn how_it_leaves(&mut self) -> Option<String> {
        if self.has_told_how || !self.is_ready || self.program_ended || self.has_lost_its_program()
        {
            return None;
        }
        let how = match () {
            () if self.has_failed => self.why.take()?,
            () if self.client.is_gone() => leaving::RESET.to_owned(),
            () if self.is_cut_off && self.front.says_its_end() => leaving::CUT_OFF.to_owned(),
            () => return None,
        };
        self.has_told_how = true;
        Some(how)
    }
}

/// What the server says itself, as a terminal shows it.
fn as_shown(text: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len());
    for &byte in text {
        if byte == b'\n' && shown.last() != Some(&b'\r') {
            shown.push(b'\r');
        }
        shown.push(byte);
    }
    shown
}

mod flow;
#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
