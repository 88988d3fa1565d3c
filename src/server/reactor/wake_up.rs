//! The timer that ends the loop's sleep at the earliest deadline.
//!
//! A timeout of epoll_wait(2) is set with every sleep and taken back with every wake-up,
//! on a processor that is about to rest or has just been woken. This one is set when the
//! deadline gets nearer, and left as it is when it moves away or is cancelled: most do, as
//! clients come and go faster than anything is due. It then goes off once in vain.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::token::{self, Owner};
use crate::sys::descriptor::of;

/// The alarm (timerfd_create(2)).
#[derive(Debug)]
pub(in crate::server) struct WakeUpTimer {
    timer: TimerFd,
    /// When it goes off, until that has been announced.
    due: Option<Instant>,
}

impl WakeUpTimer {
    /// One that is announced in this poll.
    ///
    /// # Errors
    /// When the system has no descriptors or no memory.
    pub(in crate::server) fn new(registry: &Registry) -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
            .map_err(of("timerfd_create, for what is due later"))?;
        let descriptor = timer.as_fd().as_raw_fd();
        let token = token::pack(Owner::WakeUpTimer);
        let added = registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE);
        added.map_err(of("epoll_ctl, for what is due later"))?;
        Ok(Self { timer, due: None })
    }

    /// It has been announced that it went off.
    pub(in crate::server) fn went_off(&mut self) {
        self.due = None;
    }

    /// Sees to it that the poll ends at `deadline`, or sooner; the timeout that it needs
    /// for that. None is for ever: then the alarm ends it.
    pub(in crate::server) fn timeout(&mut self, deadline: Option<Instant>) -> Option<Duration> {
        let deadline = deadline?;
        if self.due.is_some_and(|due| due <= deadline) {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(left);
        }
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        match self.timer.set(once, TimerSetTimeFlags::empty()) {
            Ok(()) => {
                self.due = Some(deadline);
                None
            }
            Err(_) => Some(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3600);

    fn alarm() -> (Poll, WakeUpTimer) {
        let poll = Poll::new().unwrap();
        let alarm = WakeUpTimer::new(poll.registry()).unwrap();
        (poll, alarm)
    }

    /// Waits for it; whether it has gone off within `most`.
    fn goes_off(poll: &mut Poll, most: Duration) -> bool {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(most)).unwrap();
        events.iter().any(|event| token::unpack(event.token()) == Some(Owner::WakeUpTimer))
    }

    #[test]
    fn it_ends_the_sleep_at_the_deadline_though_nobody_reads_it() {
        let (mut poll, mut alarm) = alarm();
        for _ in 0..3 {
            let now = Instant::now();
            let timeout = alarm.timeout(Some(now + MOMENT));
            // A machine that took longer than that to get here need not wait.
            assert!(timeout.is_none_or(|timeout| timeout.is_zero()));
            assert!(timeout.is_some() || goes_off(&mut poll, LONG));
            assert!(now.elapsed() >= MOMENT);
            alarm.went_off();
        }
    }

    #[test]
    fn what_is_due_is_not_waited_for() {
        let (_poll, mut alarm) = alarm();
        assert_eq!(alarm.timeout(Some(Instant::now())), Some(Duration::ZERO));
        assert_eq!(alarm.timeout(None), None);
    }

    #[test]
    fn it_is_set_when_the_deadline_gets_nearer_and_not_when_it_moves_away() {
        let (mut poll, mut alarm) = alarm();
        let now = Instant::now();
        let mut due_after = |deadline: Option<Instant>| {
            assert_eq!(alarm.timeout(deadline), None);
            alarm.due
        };
        assert_eq!(due_after(None), None);
        assert_eq!(due_after(Some(now + LONG)), Some(now + LONG));
        assert_eq!(due_after(Some(now + LONG / 2)), Some(now + LONG / 2));
        assert_eq!(due_after(Some(now + LONG)), Some(now + LONG / 2));
        assert_eq!(due_after(None), Some(now + LONG / 2));
        assert!(!goes_off(&mut poll, Duration::ZERO));
    }
}
