//! How bytes go through a session: from its client to its program, and back.

use super::{ANSWERS, FrontSession, Full, PARTIAL, PORTION, Room, TYPED_AHEAD, Told, as_shown};
use crate::front::alerts;
use crate::front::worker::front::Output;
use crate::front::worker::side::Taken;

impl FrontSession {
    pub(super) fn take_from_client(&mut self, room: &mut Room, tell: &mut Vec<Told>) -> bool {
        if self.front.stands_before_urgent(self.client.stands_before_urgent()) {
            self.program.forget_pending();
        }
        // What makes him ready may stand behind what he has typed.
        let (awaits, typed) = (self.program.awaits_terminal(), self.program.pending());
        let is_early = awaits && !self.is_ready && typed < TYPED_AHEAD;
        let has_room = typed == 0 || is_early || self.full == Full::Overflows;
        let wants =
            has_room && self.client.pending() < ANSWERS && !self.program.has_refused_enough();
        if !wants || !self.client.may_read() {
            return false;
        }
        let kept = self.partial.len();
        let Some((before, rest)) = room.scratch.split_at_mut_checked(kept) else { return false };
        before.copy_from_slice(&self.partial);
        let portion = rest.len().min(if awaits { TYPED_AHEAD } else { PORTION });
        let taken = self.client.take(rest.get_mut(..portion).unwrap_or_default());
        match taken {
            Taken::Nothing | Taken::Terminal => false,
            Taken::End => {
                self.is_cut_off = !self.client_ended && !self.has_failed;
                if !self.is_ready && !self.has_failed {
                    self.fail(alerts::CLOSED.to_owned(), tell);
                }
                true
            }
            // Nobody reads it any more.
            Taken::Bytes(_) if self.has_failed || self.client_ended => true,
            Taken::Bytes(_) if self.program.is_gone() => true,
            Taken::Bytes(count) => {
                self.pass_to_program(kept.saturating_add(count), room, tell);
                true
            }
        }
    }

    fn pass_to_program(&mut self, length: usize, room: &mut Room, tell: &mut Vec<Told>) {
        let Room { scratch, out } = room;
        let bytes = scratch.get_mut(..length).unwrap_or_default();
        let result = self.front.client_said(bytes, out);
        match result {
            Ok(used) => {
                let rest = bytes.get(used..).unwrap_or_default();
                if rest.len() > PARTIAL {
                    let why = self.front.too_long(out);
                    self.fail(why, tell);
                } else {
                    self.partial = rest.to_vec();
                }
            }
            Err(why) => self.fail(why, tell),
        }
        self.carry_out(out, tell);
    }

    /// Does what a front has put out.
    pub(super) fn carry_out(&mut self, out: &mut Output, tell: &mut Vec<Told>) {
        self.client_ended |= std::mem::take(&mut out.client_ended);
        if let Some(size) = out.size.take() {
            self.size = Some(size);
            self.program.set_size(size);
        }
        if let Some(facts) = out.facts.take()
            && !self.has_failed
        {
            self.is_ready = true;
            tell.push(Told::Ready(facts, self.size));
        }
        self.deliver(out);
    }

    pub(super) fn take_from_program(&mut self, room: &mut Room) -> bool {
        let wants = self.is_ready && !self.has_failed && !self.client.has_pending();
        if !wants || !self.program.may_read() {
            return false;
        }
        let Room { scratch, out } = room;
        let awaited = self.program.awaits_terminal();
        let taken = self.program.take(scratch.get_mut(..PORTION).unwrap_or_default());
        if awaited && let Some(size) = self.size {
            // He may have changed it since the server was told.
            self.program.set_size(size);
        }
        if let Taken::Bytes(count) = taken {
            self.has_shown = true;
            let count = if awaited { count } else { self.take_more(count, scratch) };
            let bytes = scratch.get(..count).unwrap_or_default();
            let lines = if awaited { as_shown(bytes) } else { Vec::new() };
            let bytes = if awaited { &lines } else { bytes };
            if self.front.program_said(&mut self.partial, bytes, out).is_err() {
                self.has_failed = true;
            }
            self.say_end(out);
            self.deliver(out);
        }
        taken != Taken::Nothing
    }

    /// What stands behind so many bytes, where it is known that something does: the end, if that
    /// has been announced, or the next page of a terminal, which gives no more than one at once.
    /// How many there are with it.
    fn take_more(&mut self, mut count: usize, scratch: &mut [u8]) -> usize {
        while (self.program.is_ending() || self.program.is_terminal()) && self.program.may_read() {
            let rest = scratch.get_mut(count..PORTION).filter(|rest| !rest.is_empty());
            let Some(Taken::Bytes(more)) = rest.map(|rest| self.program.take(rest)) else { break };
            count = count.saturating_add(more);
        }
        count
    }

    /// The end of the program, once, with what it has said last.
    fn say_end(&mut self, out: &mut Output) -> bool {
        if self.program_ended || !self.is_ready || !self.program.is_at_end() {
            return false;
        }
        self.program_ended = true;
        if !self.is_broken_off {
            self.front.program_ended(&mut self.partial, out);
        }
        true
    }

    /// Passes the ends on of what has been delivered.
    pub(super) fn pass_ends_on(&mut self, room: &mut Room) -> bool {
        let mut moved = false;
        let client_is_done = self.client.is_at_end() || self.client_ended || self.has_failed;
        if client_is_done && !self.program.has_pending() {
            moved |= self.program.shut();
        }
        if self.client.is_gone() || self.client.is_reset() {
            moved |= self.program.take_no_more();
        }
        if !self.client.has_pending() && self.say_end(&mut room.out) {
            moved = true;
            self.deliver(&mut room.out);
        }
        if (self.program_ended || self.has_failed) && !self.client.has_pending() {
            moved |= self.client.shut();
        }
        moved
    }

    fn deliver(&mut self, out: &mut Output) {
        if self.full == Full::Overflows && self.program.has_pending() {
            out.to_program.clear();
        }
        if std::mem::take(&mut out.is_urgent) {
            self.client.give_urgent(&mut out.to_client);
        } else if self.program_ended || self.has_failed {
            self.client.give_last(&mut out.to_client);
        } else {
            self.client.give(&mut out.to_client);
        }
        self.program.give(&mut out.to_program);
    }
}
