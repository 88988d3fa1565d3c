//! Who is waited for, and for how long: those who have a second, whose terminal is full, who leave,
//! and who are still.

use std::time::Instant;

use super::{LEAVING, MOST_LEAVING, SECOND, TAKING, TYPED, Worker};
use crate::front::leaving;
use crate::front::wire::ToServer;

impl Worker {
    pub(super) fn look_in_a_second(&mut self, index: usize) {
        let Some(session) = self.session(index) else { return };
        let number = session.number;
        if !std::mem::replace(&mut session.is_timed, true) {
            session.has_shown = false;
            self.timed.push_back((Instant::now() + SECOND, index, number));
        }
    }

    pub(super) fn look_at_those_who_had_a_second(&mut self) {
        if self.timed.is_empty() {
            return;
        }
        let now = Instant::now();
        while self.timed.front().is_some_and(|(when, ..)| *when <= now)
            && let Some((_, index, number)) = self.timed.pop_front()
        {
            let Some(session) = self.sessions.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            if session.number != number {
                continue;
            }
            session.is_timed = false;
            let is_over = session.had_a_second(&mut self.room, &mut self.told);
            self.tell(number);
            if is_over {
                self.end(index);
            } else {
                self.queue(index);
            }
        }
    }

    pub(super) fn look_when_it_was_full(&mut self, index: usize) {
        let Some(session) = self.session(index) else { return };
        let number = session.number;
        let due = session.fills_up(TYPED);
        self.full.extend(due.map(|due| (due, index, number)));
    }

    /// What is typed at one that has taken nothing for long is lost from then on, as it is
    /// everywhere: the end of whoever has gone stands behind it.
    pub(super) fn look_at_full_terminals(&mut self) {
        if self.full.is_empty() {
            return;
        }
        let now = Instant::now();
        while self.full.first().is_some_and(|(when, ..)| *when <= now)
            && let Some((_, index, number)) = self.full.pop_first()
        {
            let session = self.session(index).filter(|session| session.number == number);
            if let Some(due) = session.and_then(|it| it.has_been_full(TYPED, now)) {
                self.full.insert((due, index, number));
            }
            self.queue(index);
        }
    }

    /// The limits of a service end with its program: who takes nothing of what that has left
    /// would stay for ever.
    pub(super) fn bound_what_is_left(&mut self, index: usize) {
        let Some(session) = self.session(index) else { return };
        if session.has_lost_its_program() && session.idle.is_none_or(|idle| idle > TAKING) {
            let now = Instant::now();
            (session.idle, session.active) = (Some(TAKING), now);
            let number = session.number;
            self.still.insert((now + TAKING, index, number));
        }
    }

    /// A client has so long to close its connection; its program's side is not waited for.
    pub(super) fn give_time(&mut self, index: usize) {
        let Some(session) = self.session(index) else { return };
        let number = session.number;
        if std::mem::replace(&mut session.leaves, true) {
            return;
        }
        session.program.close();
        self.leaving.push_back((Instant::now() + LEAVING, index, number));
        self.leavers = self.leavers.saturating_add(1);
        while self.leavers > MOST_LEAVING
            && let Some((_, index, number)) = self.leaving.pop_front()
        {
            // Most have closed it by themselves.
            if self.session(index).is_some_and(|session| session.number == number) {
                self.end(index);
            }
        }
    }

    pub(super) fn end_those_who_had_their_time(&mut self) {
        let Some((first, ..)) = self.leaving.front() else { return };
        let now = Instant::now();
        if *first > now {
            return;
        }
        while self.leaving.front().is_some_and(|(when, ..)| *when <= now)
            && let Some((_, index, number)) = self.leaving.pop_front()
        {
            if self.session(index).is_some_and(|session| session.number == number) {
                self.end(index);
            }
        }
    }

    pub(super) fn end_those_who_are_still(&mut self) {
        let Some((first, ..)) = self.still.first() else { return };
        let now = Instant::now();
        if *first > now {
            return;
        }
        while self.still.first().is_some_and(|(when, ..)| *when <= now)
            && let Some((_, index, number)) = self.still.pop_first()
        {
            let session = self.session(index).filter(|session| session.number == number);
            let due = session.and_then(|session| session.active.checked_add(session.idle?));
            match due {
                Some(due) if due > now => _ = self.still.insert((due, index, number)),
                Some(_) => self.end_still(index),
                None => {}
            }
        }
    }

    /// The server hears of it before the program has its end.
    fn end_still(&mut self, index: usize) {
        let session = self.session(index).filter(|it| it.is_ready() && !it.has_lost_its_program());
        if let Some(number) = session.map(|session| session.number) {
            self.to_say.push_back(ToServer::Failed(number, leaving::IDLE.to_owned()));
            self.say();
        }
        self.end(index);
    }
}
