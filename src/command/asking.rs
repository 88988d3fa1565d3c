//! Finding a server that runs, and asking it.

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::Control;
use crate::control::request::Request;
use crate::control::{answer, client, place, table};

use super::failure::{CONFIGURATION, CommandFailure, SYSTEM};

/// Where a user's own server would have been asked.
const NO_SESSION: &str = "; XDG_RUNTIME_DIR is not set, where a server of yours would be asked \
    (`export XDG_RUNTIME_DIR=/run/user/$(id -u)`)";

/// Sends a request to the server at the place that is named, or at the first of the usual
/// ones where somebody listens; and that place.
pub(super) fn reach(
    control: &Control,
    request: &Request,
) -> Result<(PathBuf, client::PendingRequest), CommandFailure> {
    let places = control.control.clone().map_or_else(place::to_ask, |path| vec![path]);
    let mut first = None;
    for path in places {
        match client::ask(&path, request) {
            Ok(asked) => return Ok((path, asked)),
            Err(error) => {
                let nobody = is_nobody(&error);
                first.get_or_insert((path, error));
                if !nobody {
                    break;
                }
            }
        }
    }
    let failed = first.map(|(path, error)| unreachable(&path, &error));
    Err(failed.unwrap_or_else(|| CommandFailure::new(SYSTEM, "there is no place to ask at")))
}

/// The answer to a request.
pub(super) fn asked(control: &Control, request: &Request) -> Result<Vec<u8>, CommandFailure> {
    let (path, asked) = reach(control, request)?;
    asked.answer().map_err(|error| unreachable(&path, &error))
}

/// Whether no server is there.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

pub(super) fn unreachable(path: &Path, error: &io::Error) -> CommandFailure {
    let path = path.display();
    let hint = if is_nobody(error) {
        "; does it run? --control says where else to ask, and to `oxinetd run` where to be asked"
    } else {
        ""
    };
    let session = if is_nobody(error) && place::lacks_session() { NO_SESSION } else { "" };
    CommandFailure::new(SYSTEM, format!("asking the server at {path}: {error}{hint}{session}"))
}

/// What an answer says.
pub(super) fn read<'a, T: serde::Deserialize<'a>>(answer: &'a [u8]) -> Result<T, CommandFailure> {
    let failed = |error: String| CommandFailure::new(CONFIGURATION, table::printable_lines(&error));
    answer::read(answer).map_err(failed)
}
