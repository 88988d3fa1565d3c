//! Signals as values: blocked since the start and read from a descriptor, so that
//! none interrupts anything and none is lost. Those that mean that the program is broken
//! (ABRT, SEGV, …) are not among them: they end it, as everywhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::{SigSet, Signal as Unix};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What asks the server to stop.
const STOPS: [Unix; 3] = [Unix::SIGTERM, Unix::SIGINT, Unix::SIGQUIT];

/// What the server is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// HUP: read the configuration again.
    Reload,
    /// USR1: say who the peers are.
    ListPeers,
    /// USR2: say how many they are.
    CountPeers,
    /// TERM, INT or QUIT: say both, then stop. Its name.
    Stop(&'static str),
    /// CHLD: a child has ended, which may be somebody else's if this is process 1.
    ChildEnded,
}

/// The descriptor from which signals are read.
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Reads the signals of [`Signal`]; CHLD too if this process adopts orphans.
    ///
    /// # Errors
    /// signalfd(2)'s.
    pub(crate) fn new(adopts_orphans: bool) -> io::Result<Self> {
        let asked = [Unix::SIGHUP, Unix::SIGUSR1, Unix::SIGUSR2];
        let orphans = adopts_orphans.then_some(Unix::SIGCHLD);
        Self::of(asked.into_iter().chain(STOPS).chain(orphans))
    }

    /// Reads [`Signal::Stop`] only; whatever else has arrived stays for another to read.
    ///
    /// # Errors
    /// signalfd(2)'s.
    pub(crate) fn stops() -> io::Result<Self> {
        Self::of(STOPS)
    }

    /// Reads [`Signal::ChildEnded`] only.
    ///
    /// # Errors
    /// signalfd(2)'s.
    pub(crate) fn ends() -> io::Result<Self> {
        Self::of([Unix::SIGCHLD])
    }

    fn of(signals: impl IntoIterator<Item = Unix>) -> io::Result<Self> {
        let set: SigSet = signals.into_iter().collect();
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// The next signal that has arrived, if any.
    pub(crate) fn next_signal(&mut self) -> Option<Signal> {
        let information = self.0.read_signal().ok()??;
        let number = i32::try_from(information.ssi_signo).ok()?;
        Some(match Unix::try_from(number).ok()? {
            Unix::SIGHUP => Signal::Reload,
            Unix::SIGUSR1 => Signal::ListPeers,
            Unix::SIGUSR2 => Signal::CountPeers,
            Unix::SIGCHLD => Signal::ChildEnded,
            other => Signal::Stop(other.as_str()),
        })
    }
}

impl Signals {
    /// Of [`Self::ends`]: the number of a child that has ended, if one has since the last time.
    pub(crate) fn next_end(&mut self) -> Option<i32> {
        let information = self.0.read_signal().ok()??;
        i32::try_from(information.ssi_pid).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
