//! What a command says on standard output: all of it, or it says why not.

use std::io::{self, Write as _};

use super::failure::{CommandFailure, SYSTEM};

pub(super) fn show(text: &str) -> Result<(), CommandFailure> {
    // A reader that has seen enough (head) is no failure of ours.
    write(text).map(|_| ())
}

/// False if nobody reads it.
pub(super) fn write(text: &str) -> Result<bool, CommandFailure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandFailure::new(SYSTEM, format!("standard output: {error}"))),
    }
}
