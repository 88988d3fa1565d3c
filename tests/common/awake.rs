//! A server that sleeps although it has work: GNU's inetd does nothing for a second whenever
//! a program of its has ended while it waits for clients. What is compared is what it does
//! and not when, so it is woken.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::daemon::as_pid;

/// Wakes the server from every sleep while `work` is done: with the signal that it expects
/// most, and of which it finds by itself that it was for nothing.
pub(crate) fn kept_awake<T>(server: u32, work: impl FnOnce() -> T) -> T {
    let (done, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
                if sleeps(server) {
                    let _ = kill(as_pid(server), Signal::SIGCHLD);
                }
            }
        });
        // Dropped at the end, also when `work` panics: the thread sees that.
        let _done = done;
        work()
    })
}

/// Whether it waits for nothing but time.
fn sleeps(pid: u32) -> bool {
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    place.contains("nanosleep")
}
