//! A signal for calls that wait though they should not.
//!
//! Closing a connection waits until the other side has taken all of it, if somebody has set
//! SO_LINGER there, for as long as he has said, and O_NONBLOCK does not change that (socket(7)).
//! Whoever has had a connection may have set it. Reading from a unix socket closes what comes
//! along with the bytes and is not taken (SCM_RIGHTS, unix(7)): the same wait, in whoever reads.
//! No option says that the system is not to wait; a signal ends the wait.
//!
//! So one is on its way for as long as there is something to do. It means nothing, and when it
//! comes in time nobody has waited. What it does not end is waiting for a lock of the system's.

#![allow(unsafe_code, reason = "a signal handler")]

use std::ffi::c_int;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction,
};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;

/// It comes so long after it was set, if it is not set again.
const AFTER: Duration = Duration::from_millis(30);

/// What is left of that at least when something is begun, and between it and the next one, as
/// long as nobody sets it again.
const LEAST: Duration = Duration::from_millis(10);

/// By default it does nothing: also to a program that is executed in our place just then.
const SIGNAL: Signal = Signal::SIGURG;

/// The signal on its way.
#[derive(Debug)]
pub(crate) struct Interrupter {
    /// None where the system has no timer for it.
    timer: Option<Timer>,
    /// When it comes.
    due: Option<Instant>,
}

impl Interrupter {
    /// For this thread. None is on its way yet.
    pub(crate) fn new() -> Self {
        Self { timer: timer(), due: None }
    }

    /// Something is begun: if it lasts, it is interrupted, and again until the next call.
    fn begin(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due >= now + LEAST) {
            return;
        }
        self.due = Some(now + AFTER);
        let (first, then) = (TimeSpec::from_duration(AFTER), TimeSpec::from_duration(LEAST));
        self.set(Expiration::IntervalDelayed(first, then));
    }

    /// After a poll, as of now: there is something to do, or nothing if a signal has ended it.
    ///
    /// # Errors
    /// When the poll itself has failed.
    pub(crate) fn after(&mut self, polled: io::Result<()>, now: Instant) -> io::Result<()> {
        match polled {
            Err(error) if error.kind() == ErrorKind::Interrupted => self.rest(),
            other => {
                other?;
                self.begin(now);
            }
        }
        Ok(())
    }

    /// There is nothing to do.
    fn rest(&mut self) {
        if self.due.take().is_some() {
            self.set(Expiration::OneShot(TimeSpec::from_duration(Duration::ZERO)));
        }
    }

    fn set(&mut self, when: Expiration) {
        if let Some(timer) = &mut self.timer {
            let _ = timer.set(when, TimerSetTimeFlags::empty());
        }
    }
}

fn timer() -> Option<Timer> {
    let action =
        SigAction::new(SigHandler::Handler(interrupt), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing, on whatever stack and whenever it runs: also in a child
    // that shares our memory.
    unsafe { sigaction(SIGNAL, &action) }.ok()?;
    SigSet::from(SIGNAL).thread_unblock().ok()?;
    let thread_id = gettid().as_raw();
    let notify = SigevNotify::SigevThreadId { signal: SIGNAL, thread_id, si_value: 0 };
    Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify)).ok()
}

/// That it has come is all.
extern "C" fn interrupt(_: c_int) {}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::poll::{PollTimeout, poll};

    #[test]
    fn what_waits_is_interrupted_until_there_is_nothing_to_do() {
        let mut interrupter = Interrupter::new();
        let began = Instant::now();
        interrupter.begin(began);
        for _ in 0..3 {
            assert_eq!(poll(&mut [], PollTimeout::NONE), Err(Errno::EINTR));
        }
        assert!(began.elapsed() >= AFTER);
        interrupter.rest();
        assert_eq!(interrupter.due, None);
    }
}
