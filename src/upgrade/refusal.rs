//! Why another program does not go on in the place of the one that runs.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::state::FORMAT;

/// What stands against it.
#[derive(Debug)]
pub enum UpgradeRefusal {
    /// Another one has not come to its end.
    UnderWay,
    /// The server is going to stop.
    Draining,
    /// This program cannot be executed.
    Program(PathBuf, io::Error),
    /// It has had so much time.
    Late(Duration),
    /// It is another one than what was tried out.
    Replaced,
    /// It ended and has said nothing.
    Ended(ExitStatus),
    /// It ended well, and is no such program.
    Unable,
    /// It has said why.
    Reported(String),
    /// This state cannot be read from where it was handed over.
    Unopened(String, io::Error),
    /// Nor understood.
    Unread(io::Error),
    /// It is of a format that is not known.
    Format(u32),
    /// It names a descriptor that nobody has handed over.
    NotOpen(RawFd),
    /// The service of this name is served, and could not be.
    WouldBeLost(String),
}

impl fmt::Display for UpgradeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => f.write_str("an upgrade is under way"),
            Self::Draining => f.write_str("the server is draining"),
            Self::Program(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Late(time) => write!(f, "the program was not ready after {} s", time.as_secs()),
            Self::Replaced => f.write_str("the program was replaced while it was tried out"),
            Self::Ended(status) => write!(f, "the program ended with {status}"),
            Self::Unable => f.write_str("the program does not know how to take over"),
            Self::Reported(why) => f.write_str(why),
            Self::Unopened(path, error) => write!(f, "{path}: {error}"),
            Self::Unread(error) => write!(f, "the state: {error}"),
            Self::Format(format) => {
                write!(f, "the state has format {format}, and {FORMAT} is understood")
            }
            Self::NotOpen(number) => write!(f, "descriptor {number} is not open"),
            Self::WouldBeLost(label) => {
                write!(f, "{label} is served, and could not be now: see the warnings")
            }
        }
    }
}
