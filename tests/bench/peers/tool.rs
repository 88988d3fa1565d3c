//! Other programs, run with a bound on their time, and what they say when they fail.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus, Stdio};

use crate::Result;

/// A command that is ended after so many seconds, with all that it has started.
pub(super) fn bounded(seconds: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    // Its words are read here, not by a person.
    command.arg(seconds.to_string()).arg(program).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// What it prints; the last line of its complaints if it fails.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    check(output.status, &String::from_utf8_lossy(&output.stderr))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An error for a command that has ended so, having said that.
pub(super) fn check(status: ExitStatus, words: &str) -> Result<()> {
    let last = words.lines().rev().find(|line| !line.trim().is_empty());
    match (status.code(), last) {
        (Some(0), _) => Ok(()),
        // What timeout(1) ends with.
        (Some(124), _) => Err("it took too long".into()),
        (_, Some(line)) => Err(line.trim().into()),
        (_, None) => Err(status.to_string().into()),
    }
}
