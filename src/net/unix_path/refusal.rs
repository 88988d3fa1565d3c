//! Why a socket does not get a path, beside what the system answers.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

/// What is in the way.
#[derive(Debug)]
pub(super) enum PathRefusal {
    /// The path leads to something else by now.
    Replaced,
    /// The same, and what the socket was bound to instead cannot be removed.
    Left(io::Error),
    /// Something is there that is not replaced.
    NotASocket,
    /// A server answers there.
    Taken,
    /// It cannot be asked whether one does.
    NotAsked,
    /// The mode cannot be changed.
    NoProc,
}

impl fmt::Display for PathRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaced | Self::Left(_) => "something else has taken the place of the socket",
            Self::NotASocket => "the path exists and is not a socket",
            Self::Taken => "another server answers on this path",
            Self::NotAsked => {
                "there is a socket already, and others can write on the way to it: \
                 whether it is still somebody's can be asked with /proc only"
            }
            Self::NoProc => {
                "its mode can be set with /proc, or from Linux 6.6 on; there is neither"
            }
        })?;
        let Self::Left(error) = self else { return Ok(()) };
        write!(f, "; what has been bound elsewhere may be there still: {error}")
    }
}

impl Error for PathRefusal {}

impl From<PathRefusal> for io::Error {
    fn from(refusal: PathRefusal) -> Self {
        let kind = match refusal {
            PathRefusal::NotASocket => ErrorKind::AlreadyExists,
            PathRefusal::Taken => ErrorKind::AddrInUse,
            _ => ErrorKind::Other,
        };
        Self::new(kind, refusal)
    }
}
