//! Going to the background: the parent waits until the server says that every
//! socket is bound, and passes its verdict on as its own exit status.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};

use crate::sys::inherited;
use crate::sys::process::{ForkSide, fork_to_detach};

/// The server's side: tells the waiting parent that it serves.
#[derive(Debug)]
pub(crate) struct Herald {
    parent: File,
}

/// What this process is after the fork.
#[derive(Debug)]
pub(crate) enum Role {
    /// The server, in the background.
    Server(Herald),
    /// The process the user has started; the server's pid, or none if it failed to
    /// start (it has said why).
    Starter(Option<u32>),
}

/// Forks; returns in the parent only when the server is up or has failed.
///
/// # Errors
/// When the system refuses a process, a pipe or a session.
pub(crate) fn detach() -> io::Result<Role> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    match fork_to_detach()? {
        ForkSide::Parent => {
            drop(writer);
            wait_for_verdict(reader).map(Role::Starter)
        }
        ForkSide::Child => {
            drop(reader);
            setsid()?;
            Ok(Role::Server(Herald { parent: File::from(writer) }))
        }
    }
}

fn wait_for_verdict(reader: OwnedFd) -> io::Result<Option<u32>> {
    let mut pid = String::new();
    File::from(reader).read_to_string(&mut pid)?;
    Ok(pid.trim().parse().ok())
}

impl Herald {
    /// Tells the parent our pid and lets go of the terminal's input and output, of
    /// standard error unless the log is there, and of what else was open when it was
    /// started: whoever waits for the end of that (ssh, a package's script) must not wait
    /// for the end of the server.
    ///
    /// # Errors
    /// When /dev/null cannot be opened.
    pub(crate) fn announce(mut self, keeps_stderr: bool) -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        if !keeps_stderr {
            dup2_stderr(&null)?;
        }
        // Kept until now, since the configuration may be read from there.
        inherited::close_rest();
        // A parent that is gone (killed meanwhile) needs no answer.
        let _ = writeln!(self.parent, "{}", std::process::id());
        Ok(())
    }
}
