//! The variable by which the new program is told that there is something to take over.

use std::ffi::OsStr;

/// The variable: the parcel's number, that of the program to go back to, the process,
/// and, on the way back, why.
pub(crate) const VARIABLE: &str = "OXINETD_HANDOVER";

/// Whether a variable is between a server and the one that goes on in its place.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    name == VARIABLE
}
