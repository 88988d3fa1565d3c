//! Other servers' names: started as `inetd` or `xinetd`, the program takes their
//! options, and says what they mean in its own terms.

mod inetd;
mod xinetd;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::config::{Dialect, Named};
use crate::log::target::LogTarget;

/// Whose options are on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompatName {
    /// inetd of the BSDs, Debian and busybox.
    Inetd,
    /// inetd of GNU inetutils, under the name that Debian gives it.
    Gnu,
    /// xinetd.
    Xinetd,
}

impl CompatName {
    /// By the last component of `argv[0]`, which has to be exactly the name.
    pub fn of(argv0: &OsStr) -> Option<Self> {
        match Path::new(argv0).file_name()?.to_str()? {
            "inetd" | "openbsd-inetd" => Some(Self::Inetd),
            "inetutils-inetd" => Some(Self::Gnu),
            "xinetd" => Some(Self::Xinetd),
            _ => None,
        }
    }

    /// The name.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Inetd | Self::Gnu => "inetd",
            Self::Xinetd => "xinetd",
        }
    }

    /// The options, as help and after a mistake.
    #[must_use]
    pub fn usage(self) -> &'static str {
        match self {
            Self::Inetd | Self::Gnu => inetd::USAGE,
            Self::Xinetd => xinetd::USAGE,
        }
    }
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompatRequest {
    /// To serve.
    Serve(CompatServices),
    /// The usage, on standard output.
    Help,
    /// The version.
    Version,
}

/// Services to be served, in this server's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompatServices {
    /// What to read.
    pub files: Vec<Named>,
    /// What protocols mean in them.
    pub dialect: Dialect,
    /// Attributes for every service that does not set them: `NAME=VALUE`.
    pub defaults: Vec<String>,
    /// Log what is of use for debugging too.
    pub debug: bool,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Where the log goes.
    pub log: Log,
    /// The file for the process id.
    pub pid_file: Pid,
    /// Programs have the umask of the server, and these bits, where nothing else is said.
    pub umask: Option<u32>,
    /// Programs of all services at once.
    pub max_children: Option<u32>,
    /// Whether having no service at the start is a failure.
    pub needs_services: bool,
    /// What the log has to say about options that mean something else here, or nothing.
    pub notes: Vec<&'static str>,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// The system's log in the background, standard error in the foreground.
    Usual,
    /// Standard error, in the background too.
    Stderr,
    /// There.
    Target(LogTarget),
}

/// A file for the process id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pid {
    /// None.
    None,
    /// The usual one, which need not be writable.
    Usual(PathBuf),
    /// One that was asked for.
    Named(PathBuf),
}

/// Translates the arguments after `argv[0]`.
///
/// # Errors
/// What is wrong with them, to be shown above [`CompatName::usage`].
pub fn read(
    name: CompatName,
    arguments: impl Iterator<Item = OsString>,
) -> Result<CompatRequest, String> {
    let mut arguments = Arguments { left: arguments.collect::<Vec<_>>().into_iter() };
    match name {
        CompatName::Inetd => inetd::read(&mut arguments, Dialect::OpenBsd),
        CompatName::Gnu => inetd::read(&mut arguments, Dialect::Gnu),
        CompatName::Xinetd => xinetd::read(&mut arguments),
    }
}

/// The arguments that have not been looked at.
struct Arguments {
    left: std::vec::IntoIter<OsString>,
}

impl Arguments {
    fn next(&mut self) -> Option<OsString> {
        self.left.next()
    }

    /// The value of an option.
    fn value(&mut self, option: &str) -> Result<OsString, String> {
        self.next().ok_or_else(|| format!("{option} needs a value"))
    }

    /// The next argument, if it cannot be an option.
    fn next_operand(&mut self) -> Option<OsString> {
        let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
        self.left.as_slice().first().filter(|word| !is_option(word))?;
        self.next()
    }
}

/// A number from `least` to what an `int` holds.
fn number(option: &str, value: &OsStr, least: u32) -> Result<u32, String> {
    let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok());
    number
        .filter(|number| (least..=i32::MAX.unsigned_abs()).contains(number))
        .ok_or_else(|| format!("{option} takes a number from {least}, not {value:?}"))
}

#[cfg(test)]
#[path = "compat/tests.rs"]
mod tests;
