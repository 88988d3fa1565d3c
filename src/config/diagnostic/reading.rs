//! What is said of a file that cannot be read.

use std::io;
use std::path::Path;

use super::report::Report;

/// A file that is read first cannot be; `serves`: by somebody who serves already.
pub(in crate::config) fn unreadable(
    path: &Path,
    error: &io::Error,
    serves: bool,
    report: &mut Report,
) {
    let help = match (error.kind(), serves) {
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
    match error.kind() {
        io::ErrorKind::NotFound => missing,
        io::ErrorKind::Other => NO_FILE,
        _ => "the server must be able to read every file of its configuration",
    }
}

/// What is read.
pub(in crate::config) const NO_FILE: &str = "name a regular file; a link must belong to root or the server's user, in a directory that nobody else can write to";
