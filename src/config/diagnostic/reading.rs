//! What is said of a file that cannot be read.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use super::report::Report;

/// What a file is that is no configuration.
#[derive(Debug)]
pub(in crate::config) struct Foreign {
    /// In a sentence.
    pub(in crate::config) what: &'static str,
    /// What would be right.
    pub(in crate::config) help: &'static str,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl Error for Foreign {}

impl Foreign {
    /// What helps against an error, if that is that the file is something else.
    fn help(error: &io::Error) -> Option<&'static str> {
        let inner = error.get_ref()?.downcast_ref::<Self>()?;
        Some(inner.help)
    }
}

/// A file that is read first cannot be; `serves`: by somebody who serves already.
pub(in crate::config) fn unreadable(
    path: &Path,
    error: &io::Error,
    serves: bool,
    report: &mut Report,
) {
    let foreign = Foreign::help(error);
    let help = match (error.kind(), serves) {
        _ if foreign.is_some() => foreign.unwrap_or_default(),
        (io::ErrorKind::Other, _) => NO_FILE,
        (io::ErrorKind::NotFound, true) => {
            "put it back and reload again; until then everything goes on as it was"
        }
        (io::ErrorKind::PermissionDenied, true) => {
            "let the server's user read it and reload again; until then everything goes on as it was"
        }
        (_, true) => "put a file of services there and reload again",
        (io::ErrorKind::NotFound, false) => {
            "name a file that is there (`oxinetd etc/inetd.conf`), or serve one program without a file: `oxinetd run 8080 -- date`"
        }
        (io::ErrorKind::PermissionDenied, false) => {
            "start the server as a user that can read the file, or serve one program without a file: `oxinetd run 8080 -- date`"
        }
        (_, false) => "name a file of services: `oxinetd etc/inetd.conf`",
    };
    report
        .error_without_place(format!("cannot read `{}`: {}", path.display(), reason(error)))
        .help(help);
}

/// What the system says of an error, without its number.
pub(in crate::config) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// What helps against an error of reading a file that a configuration names.
pub(in crate::config) fn help_with_reading(
    error: &io::Error,
    missing: &'static str,
) -> &'static str {
    if let Some(help) = Foreign::help(error) {
        return help;
    }
    match error.kind() {
        io::ErrorKind::NotFound => missing,
        io::ErrorKind::Other => NO_FILE,
        _ => "the server must be able to read every file of its configuration",
    }
}

/// What is read.
pub(in crate::config) const NO_FILE: &str = "name a regular file; a link must belong to root or the server's user, in a directory that nobody else can write to";
