//! What can happen, and when. It does not know what an event means.
//!
//! | file | what it does |
//! |---|---|
//! | `slab` | tables whose keys are never used again |
//! | `timers` | everything that is to happen later, the earliest first |
//! | `token` | what an event of poll is about |
//! | `wake_up` | what ends its sleep |

pub(super) mod slab;
pub(super) mod timers;
pub(super) mod token;
pub(super) mod wake_up;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Poll};

use crate::sys::descriptor::of;
use crate::sys::signals::Signals;
use timers::Timers;
use token::Owner;
use wake_up::Alarm;

/// Bytes read from or written to a socket in one call by the built-in services.
pub(super) const SCRATCH: usize = 128 * 1024;

/// What the loop waits for, and what is to be done in this turn.
pub(super) struct Reactor {
    pub(super) poll: Poll,
    pub(super) wake_up: Alarm,
    pub(super) signals: Signals,
    pub(super) timers: Timers,
    pub(super) ready: VecDeque<Owner>,
    /// The time of this turn.
    pub(super) now: Instant,
    /// Room for what is read and written in a turn, one after the other.
    pub(super) scratch: Vec<u8>,
}

impl Reactor {
    /// # Errors
    /// When the system has no descriptors.
    pub(super) fn new(told_of_ends: bool, now: Instant) -> io::Result<Self> {
        let poll = Poll::new().map_err(of("epoll_create1, to wait for clients with"))?;
        let wake_up = Alarm::new(poll.registry())?;
        let signals = watched_signals(&poll, told_of_ends)?;
        let (timers, ready, scratch) = (Timers::default(), VecDeque::new(), vec![0; SCRATCH]);
        Ok(Self { poll, wake_up, signals, timers, ready, now, scratch })
    }
}

fn watched_signals(poll: &Poll, told_of_ends: bool) -> io::Result<Signals> {
    let signals = Signals::new(told_of_ends).map_err(of("signalfd4, for signals"))?;
    let token = token::pack(Owner::Signals);
    poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), token, Interest::READABLE)?;
    Ok(signals)
}
