//! Going to the background, and where the log of a server there goes when nobody has said.
//!
//! Whoever waits for the end of standard error (`$(… 2>&1)`, ssh) must not wait for the end
//! of the server, and nobody looks at a terminal that has been left: a pipe, a socket or a
//! terminal is let go once the server has started, and the system's log takes its place. A
//! file that somebody has redirected it to is where the log is wanted.

use std::io::{self, Write as _};

use crate::log::sink;
use crate::log::target::LogTarget;
use crate::sys::detach::{self, Herald, Role};
use nix::libc;
use nix::sys::stat::{fstat, makedev};

use super::failure::{CONFIGURATION, CommandFailure, refused};

/// Which process this is, after it may have gone to the background.
pub(super) enum Background {
    /// The server; a herald if it is in the background.
    Server(Option<Herald>),
    /// The one that the user has started, and the pid of the server, which is up.
    Started(u32),
}

pub(super) fn background(wanted: bool) -> Result<Background, CommandFailure> {
    if !wanted {
        return Ok(Background::Server(None));
    }
    match detach::detach().map_err(refused("going to the background"))? {
        Role::Server(herald) => Ok(Background::Server(Some(herald))),
        Role::Starter(Some(pid)) => Ok(Background::Started(pid)),
        Role::Starter(None) => Err(CommandFailure::silent(CONFIGURATION)),
    }
}

/// What standard error is, as far as it matters who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StderrKind {
    /// A regular file, or another device than a terminal: nobody waits for its end.
    Kept,
    /// /dev/null: that of somebody who wants no log there, or of who was here before us.
    Null,
    /// Somebody waits for its end, or looks at it no more: what it is.
    LetGo(&'static str),
}

impl StderrKind {
    fn find_out() -> Self {
        let Ok(stat) = fstat(io::stderr()) else { return Self::Null };
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFIFO => Self::LetGo("a pipe"),
            libc::S_IFSOCK => Self::LetGo("a socket"),
            // /dev/null of mem(4).
            libc::S_IFCHR if stat.st_rdev == makedev(1, 3) => Self::Null,
            libc::S_IFCHR if io::IsTerminal::is_terminal(&io::stderr()) => {
                Self::LetGo("a terminal")
            }
            _ => Self::Kept,
        }
    }
}

/// Where the log of `oxinetd --daemon` goes; `wanted` is what its user has said. `again`: it
/// was in the background before.
pub(super) fn log_of_ours(
    wanted: Option<LogTarget>,
    again: bool,
) -> Result<LogTarget, CommandFailure> {
    let usual = LogTarget::syslog();
    match (wanted, StderrKind::find_out()) {
        (Some(target), _) => {
            say_what_is_missing(&target, again);
            Ok(target)
        }
        (None, StderrKind::Kept) => Ok(LogTarget::Stderr),
        // It was kept before, whatever it is.
        (None, StderrKind::LetGo(_)) if again => Ok(LogTarget::Stderr),
        (None, StderrKind::Null) if again || sink::reach(&usual).is_ok() => Ok(usual),
        (None, StderrKind::Null) => Ok(LogTarget::Stderr),
        (None, StderrKind::LetGo(what)) => match sink::reach(&usual) {
            Ok(()) => Ok(usual),
            Err(error) => Err(CommandFailure::new(
                CONFIGURATION,
                format!(
                    "--daemon: standard error is {what}, which is let go, and nobody takes the \
                     log at {error}: say where it goes (`--log file:PATH`, or `2>FILE`)"
                ),
            )),
        },
    }
}

/// Where the log of a server in the background goes that was started under the name of
/// another. Those serve without a log: so it is only said that there is none.
pub(super) fn log_of_another(wanted: Option<LogTarget>, again: bool) -> LogTarget {
    let usual = LogTarget::syslog();
    if wanted.is_none()
        && sink::reach(&usual).is_err()
        && StderrKind::find_out() == StderrKind::Kept
    {
        return LogTarget::Stderr;
    }
    let target = wanted.unwrap_or(usual);
    say_what_is_missing(&target, again);
    target
}

/// What a server in the foreground is told whose log goes to nobody.
pub(super) fn say_lost(wanted: Option<&LogTarget>, again: bool) {
    if let Some(target) = wanted {
        say_what_is_missing(target, again);
    }
}

/// A syslog daemon may come later, but whoever starts the server should know.
fn say_what_is_missing(target: &LogTarget, again: bool) {
    if let Err(error) = sink::reach(target)
        && !again
    {
        let _ = writeln!(
            io::stderr(),
            "oxinetd: nobody takes the log at {error}: it is lost until a syslog daemon is there"
        );
    }
}
