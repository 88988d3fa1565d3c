//! Ends of programs that are announced at once, while clients come one after the other.
//!
//! Where the next client comes when the one before has its answer, the end of a program is
//! the moment for what the next one needs: no program waits for a processor then, and when
//! the client comes the loop is awake already.
//!
//! And where the server has a copy of a program's connection, its client waits for the end of
//! the answer.
//!
//! SIGCHLD says it. As long as that is pending another one is not announced (signal(7)): where
//! nobody reads it, a thousand ends wake nobody and cost nothing.

use std::io;

use crate::server::reactor::Reactor;
use crate::server::reactor::token::Owner;
use crate::sys::descriptor::of;
use crate::sys::signals::Signals;

/// What tells of them.
pub(in crate::server) struct ExitNotifier {
    /// None as process 1, to which [`Signals`] tells of every end.
    signals: Option<Signals>,
    /// None is pending.
    next_is_announced: bool,
}

impl ExitNotifier {
    /// They are announced to this reactor, unless told of elsewhere.
    ///
    /// # Errors
    /// When the system has no descriptors or no memory.
    pub(in crate::server) fn new(reactor: &Reactor, announced_elsewhere: bool) -> io::Result<Self> {
        let signals = if announced_elsewhere {
            None
        } else {
            Some(Signals::ends().map_err(of("signalfd4, for the ends of programs"))?)
        };
        if let Some(signals) = &signals {
            reactor.watch(signals, Owner::Ends)?;
        }
        Ok(Self { signals, next_is_announced: false })
    }

    /// The next end is to be announced. The program of the first since the last one that was.
    pub(super) fn announce_next(&mut self) -> Option<i32> {
        if self.next_is_announced {
            return None;
        }
        let signals = self.signals.as_mut()?;
        self.next_is_announced = true;
        signals.next_end()
    }

    /// Whose was the first since the last time, if any has been; the next is to be announced.
    pub(in crate::server) fn take(&mut self) -> Option<i32> {
        self.next_is_announced = false;
        self.announce_next()
    }

    /// One has been: whose it was. Others follow silently, unless somebody waits for them, or
    /// something else has announced it once more: left pending, it would be at every signal.
    pub(in crate::server) fn announced(&mut self, is_awaited: bool) -> Option<i32> {
        let once_more = !self.next_is_announced;
        self.next_is_announced = false;
        if is_awaited || once_more { self.announce_next() } else { None }
    }
}
