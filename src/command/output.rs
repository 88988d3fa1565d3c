//! What a command says on standard output: all of it, or it says why not.

use std::io::{self, Write as _};

use super::{Failure, SYSTEM};

pub(super) fn show(text: &str) -> Result<(), Failure> {
    // A reader that has seen enough (head) is no failure of ours.
    write(text).map(|_| ())
}

/// False if nobody reads it.
pub(super) fn write(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(SYSTEM, format!("standard output: {error}"))),
    }
}
