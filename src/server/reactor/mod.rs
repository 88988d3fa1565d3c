//! What can happen, and when. It does not know what an event means.
//!
//! | file | what it does |
//! |---|---|
//! | `ready` | what is to be done next, each once |
//! | `slab` | tables whose keys are never used again |
//! | `timers` | everything that is to happen later, the earliest first |
//! | `token` | what an event of poll is about |
//! | `wake_up` | what ends its sleep |

pub(super) mod ready;
pub(super) mod slab;
pub(super) mod timers;
pub(super) mod token;
pub(super) mod wake_up;

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use crate::sys::descriptor::of;
use crate::sys::interrupt::Interrupter;
use crate::sys::signals::Signals;
use ready::ReadyQueue;
use timers::{Timer, Timers};
use token::Owner;
use wake_up::WakeUpTimer;

/// Bytes read from or written to a socket in one call by the built-in services.
pub(super) const SCRATCH: usize = 128 * 1024;

/// What the loop waits for, and what is to be done in this turn.
pub(super) struct Reactor {
    pub(super) poll: Poll,
    pub(super) wake_up: WakeUpTimer,
    pub(super) signals: Signals,
    /// Ends what a turn waits for, which it should not.
    interrupter: Interrupter,
    pub(super) timers: Timers,
    pub(super) ready: ReadyQueue,
    /// The time of this turn.
    pub(super) now: Instant,
    /// Room for what is read and written in a turn, one after the other.
    pub(super) scratch: Vec<u8>,
}

impl Reactor {
    /// # Errors
    /// When the system has no descriptors.
    pub(super) fn new(sees_every_end: bool, now: Instant) -> io::Result<Self> {
        let poll = Poll::new().map_err(of("epoll_create1, to wait for clients with"))?;
        let wake_up = WakeUpTimer::new(poll.registry())?;
        let signals = Signals::new(sees_every_end).map_err(of("signalfd4, for signals"))?;
        let (timers, ready, scratch) = (Timers::default(), ReadyQueue::default(), vec![0; SCRATCH]);
        let interrupter = Interrupter::new();
        let reactor = Self { poll, wake_up, signals, interrupter, timers, ready, now, scratch };
        reactor.watch(&reactor.signals, Owner::Signals)?;
        Ok(reactor)
    }

    /// Waits until something happens, as long as that at most: a turn begins.
    ///
    /// # Errors
    /// When the poll itself fails, which no peer and no program can bring about.
    pub(super) fn wait(&mut self, events: &mut Events, most: Option<Duration>) -> io::Result<()> {
        let polled = self.poll.poll(events, most);
        self.now = Instant::now();
        self.interrupter.after(polled, self.now)
    }

    /// What can be read from a descriptor is announced from now on, and what can be already.
    ///
    /// # Errors
    /// When the system has no memory for it.
    pub(super) fn watch(&self, source: &impl AsRawFd, owner: Owner) -> io::Result<()> {
        self.register(source, owner, Interest::READABLE)
    }

    /// The same, and that it can be written to.
    ///
    /// # Errors
    /// When the system has no memory for it.
    pub(super) fn watch_both(&self, source: &impl AsRawFd, owner: Owner) -> io::Result<()> {
        self.register(source, owner, Interest::READABLE | Interest::WRITABLE)
    }

    fn register(&self, of: &impl AsRawFd, owner: Owner, interest: Interest) -> io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&of.as_raw_fd()), token::pack(owner), interest)
    }

    /// Nothing is announced of a descriptor any more, if anything was.
    pub(super) fn unwatch(&self, source: &impl AsRawFd) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&source.as_raw_fd()));
    }

    /// Something is to happen after this time.
    pub(super) fn after(&mut self, time: Duration, timer: Timer) {
        self.timers.set(self.now + time, timer);
    }
}
