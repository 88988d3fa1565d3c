//! How a client leaves its program, if otherwise than it should and not with an alert
//! ([`super::alerts`]).

/// It has gone without saying that this was all.
pub(crate) const CUT_OFF: &str = "cut_off";
/// It has reset the connection.
pub(crate) const RESET: &str = "reset";
/// Nothing has moved for too long.
pub(crate) const IDLE: &str = "idle";
