//! What is made ahead, with time that nobody waits for: the pipe of the next program, and
//! children to become it.

use std::mem;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::Instant;

use super::Spawner;
use crate::spawn::channel::Channel;
use crate::spawn::child::{Armed, ChildSlot, NotMade, Settled};
use crate::spawn::environment::{self, ConnectionEnvironment};
use crate::spawn::numbers::Numbers;
use crate::spawn::pipe::new_stderr_pipe;
use crate::spawn::prepared::Prepared;

impl Spawner {
    /// Sends a spare off to become this program; none if there is none that can.
    pub(super) fn send_spare(
        &mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
        connection: &ConnectionEnvironment,
    ) -> Option<i32> {
        let mut spare = self.spares.take()?;
        environment::fill(spare.environment(), prepared, connection);
        match spare.send_off(prepared, numbers) {
            Ok(child) => {
                let pid = child.pid();
                self.spares.count_sent();
                self.in_flight.push(child);
                Some(pid)
            }
            Err(spare) => {
                self.let_go(spare);
                None
            }
        }
    }

    /// Makes what the next program needs while nobody waits for it, if the last one needed
    /// it: its pipe, and, if `is_calm` and clients come one after the other, spares. Not in
    /// a turn in which one was sent off, which gets the processor sooner that way. True if
    /// [`Self::look_at_spares`] is to be called, soon.
    pub(crate) fn make_ready(&mut self, now: Instant, is_calm: bool) -> bool {
        let are_wanted = self.spares.are_wanted(now);
        if self.awaits_end() {
            return false;
        }
        if mem::take(&mut self.needs_pipe) {
            // If it cannot be made now, it is tried again when it is needed.
            self.next_pipe = new_stderr_pipe(self.is_root).ok();
        }
        if !(are_wanted && is_calm && self.can_share) {
            return false;
        }
        self.settle();
        if self.in_flight.len() > 1 {
            return false;
        }
        let mut look = false;
        while self.spares.have_room()
            && let Some(spare) = self.new_spare()
        {
            look |= self.spares.keep(spare, now);
        }
        look
    }

    /// Whether it is to be made when the program has ended that was started last.
    pub(crate) fn awaits_end(&self) -> bool {
        self.spares.are_due()
    }

    fn new_spare(&mut self) -> Option<ChildSlot<Armed>> {
        let slot = self.slots.take(ChildSlot::new)?;
        let Some(channel) = self.channels.take(Channel::new) else {
            self.take_back(Settled { slot, channel: None });
            return None;
        };
        let armed = slot.arm(self.failure.as_raw_fd(), channel);
        armed.map_err(|NotMade { settled, .. }| self.take_back(settled)).ok()
    }

    /// Lets spares go that nobody has needed, and reaps those that are gone; when to look
    /// again.
    pub(crate) fn look_at_spares(&mut self, now: Instant) -> Option<Instant> {
        while let Some(spare) = self.spares.take_old(now) {
            self.let_go(spare);
        }
        self.reap_spares();
        let next = self.spares.next_look(now);
        if next.is_none() {
            self.settle();
            self.channels.empty();
        }
        next
    }

    /// Lets go of what is made ahead for programs, and of what may be used again: there are no
    /// more descriptors.
    pub(crate) fn free_descriptors(&mut self) {
        self.let_spares_go();
        self.next_pipe = None;
        self.settle();
        self.channels.empty();
    }

    /// Ends the spares.
    pub(crate) fn let_spares_go(&mut self) {
        while let Some(spare) = self.spares.take() {
            self.let_go(spare);
        }
    }

    fn let_go(&mut self, spare: ChildSlot<Armed>) {
        self.spares.end(spare.pid());
        self.in_flight.push(spare.let_go());
    }

    pub(super) fn reap_spares(&mut self) {
        for pid in self.spares.reap() {
            // What it may have told was of nobody's program.
            let _ = self.failure_of(pid);
            self.reaped(pid);
        }
    }

    /// Whether a child is a spare, or was one.
    pub(crate) fn has_spare(&self, pid: i32) -> bool {
        self.spares.is_waiting(pid) || self.spares.has_ended(pid)
    }

    /// Whether a child that has ended was a spare; it is reaped then.
    pub(crate) fn reap_if_spare(&mut self, pid: i32) -> bool {
        if self.spares.is_waiting(pid) {
            self.let_spares_go();
        }
        let was_spare = self.spares.has_ended(pid);
        self.reap_spares();
        was_spare
    }
}
