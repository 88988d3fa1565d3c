//! Signals as values: blocked since the start and read from a descriptor, so that
//! none interrupts anything and none is lost. Those that mean that the program is broken
//! (ABRT, SEGV, …) are not among them: they end it, as everywhere.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use nix::libc;
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
        let requests = [Unix::SIGHUP, Unix::SIGUSR1, Unix::SIGUSR2];
        let orphans = adopts_orphans.then_some(Unix::SIGCHLD);
        Self::of(requests.into_iter().chain(STOPS).chain(orphans))
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

/// Signals of Linux, from 1.
const SIGNALS: c_long = 64;

/// Signals that are not blocked: the terminal's stops, which keep their meaning, and those
/// by which a mistake of the program, or a watchdog that has lost patience with it, ends it.
/// Nobody would read these, and whoever sends them wants an end at once.
const FREE: [c_int; 10] = [
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

/// No signal handler and nothing ignored from here on, so that none can run in, or
/// be passed on to, a child: every signal is blocked and read from a signalfd, but
/// for those of `FREE`, and later for the one that interrupts ([`super::interrupt`]).
pub(crate) fn take_over_signals() {
    // All zero is the default disposition, whatever the layout of struct sigaction.
    let default = [0u64; 4];
    for signal in 1..=SIGNALS {
        // SAFETY: runs no code of ours. The raw call, since signal(2) of libc keeps two
        // signals to itself, and a parent may have left those ignored, too. KILL and
        // STOP cannot be changed: an error and no harm.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: a set on our stack.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut set);
        for signal in FREE {
            libc::sigdelset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}
