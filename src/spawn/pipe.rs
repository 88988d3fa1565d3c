//! The pipes between programs and the server.

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::pipe2;

/// A reader and its writer.
pub(super) type PipePair = (OwnedFd, OwnedFd);

/// Close-on-exec.
pub(super) fn new_pipe() -> io::Result<PipePair> {
    Ok(pipe2(OFlag::O_CLOEXEC)?)
}

/// One for a program's standard error. Programs open theirs again by name (`>/dev/stderr`),
/// for which the kernel looks at owner and mode of the pipe. It is ours, so root's is opened
/// for writing to whoever may look into the program: nobody else comes by. Not given away: an
/// owner could read there what we are to log.
pub(super) fn new_stderr_pipe(is_root: bool) -> io::Result<PipePair> {
    let pipe = new_pipe()?;
    if is_root {
        fchmod(&pipe.1, Mode::from_bits_truncate(0o622))?;
    }
    Ok(pipe)
}
