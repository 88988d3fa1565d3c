//! Why a command ends with another status than 0, and how that is said.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::log::{events, sink};

/// Bad configuration, or nothing to serve.
pub(super) const CONFIGURATION: u8 = 1;
/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
/// The system refused (EX_OSERR of sysexits.h).
pub(super) const SYSTEM: u8 = 71;

/// Why the command ends with another status than 0.
pub(super) struct CommandFailure {
    pub(super) status: u8,
    /// None if everything has been said.
    pub(super) message: Option<String>,
}

impl CommandFailure {
    /// With something to say.
    pub(super) fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()) }
    }

    /// Everything has been said.
    pub(super) fn silent(status: u8) -> Self {
        Self { status, message: None }
    }

    /// Says it, and is the exit status.
    pub(super) fn say(&self) -> ExitCode {
        if let Some(message) = &self.message {
            // What is wrong stands where the log is, too; on standard error once.
            sink::echo_to_starter(false);
            if sink::is_elsewhere() {
                events::fatal(message);
            }
            // A priority for the journal, of each line. With nobody to read it, there is
            // nothing else to do.
            let mark = if sink::under_journal() { "<3>" } else { "" };
            let lines = message.replace('\n', &format!("\n{mark}"));
            let _ = writeln!(io::stderr(), "{mark}oxinetd: {lines}");
        }
        ExitCode::from(self.status)
    }
}

/// What the system answered when `what` was tried.
pub(super) fn refused(what: &str) -> impl Fn(io::Error) -> CommandFailure + '_ {
    // The name of a call may stand before it.
    let too_few = io::Error::from_raw_os_error(nix::libc::EMFILE).to_string();
    move |error| {
        let error = error.to_string();
        let advice = match error.ends_with(&too_few) {
            true => ": raise `ulimit -n`, or LimitNOFILE= of the unit",
            false => "",
        };
        CommandFailure::new(SYSTEM, format!("{what}: {error}{advice}"))
    }
}
