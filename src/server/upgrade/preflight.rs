//! `oxinetd upgrade`: the program on disk is tried out as a child, while everything goes
//! on; only if it could go on in our place does it. The state is collected twice, once
//! to be tried with and once at the end of the turn in which exec(2) comes.
//!
//! No signal is lost: they stay blocked through exec and those that are pending with
//! them. No child is: those that have ended stay unreaped until the new program looks.

mod turns;

use std::os::fd::RawFd;
use std::time::Instant;

use crate::upgrade::executable::{Image, Trial};

/// The program, and the trial of another.
#[derive(Debug)]
pub(in crate::server) struct Upgrading {
    pub(in crate::server) image: Image,
    pub(in crate::server) pid_file: Option<RawFd>,
    trial: Option<Trying>,
    /// It has gone well: how often we have looked for a good moment since.
    tried: Option<u32>,
    began: Instant,
}

#[derive(Debug)]
struct Trying {
    trial: Trial,
    deadline: Instant,
    /// It has had its time, and is to end.
    late: bool,
}

impl Upgrading {
    pub(in crate::server) fn new() -> Self {
        let (image, began) = (Image::own(), Instant::now());
        Self { image, pid_file: None, trial: None, tried: None, began }
    }

    /// When the present upgrade began, or the moment from which nobody is served.
    pub(in crate::server) fn began(&self) -> Instant {
        self.began
    }

    pub(in crate::server) fn is_trial(&self, pid: nix::unistd::Pid) -> bool {
        let trying = self.trial.as_ref().and_then(|it| it.trial.pid().try_into().ok());
        trying == Some(pid.as_raw())
    }

    /// The server stops.
    pub(in crate::server) fn give_up(&mut self) {
        if let Some(mut trying) = self.trial.take() {
            trying.trial.kill();
        }
    }

    /// Whether the program on disk is about to go on in our place.
    pub(in crate::server) fn is_tried(&self) -> bool {
        self.tried.is_some()
    }
}
