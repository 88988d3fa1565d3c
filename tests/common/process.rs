//! A server as a bare process, for tests that have its log elsewhere than on a pipe of ours.

use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};

use super::daemon::as_pid;
use super::wait_for;

/// One that runs; ended with the value.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Starts it.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(as_pid(self.0.id()), signal).unwrap();
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = wait_for("the server to end", || self.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
