//! How a client leaves whoever serves it, if otherwise than it should and not with an alert
//! ([`super::alerts`]).

/// It has gone without saying that this was all.
pub(crate) const CUT_OFF: &str = "cut_off";
/// It has reset the connection.
pub(crate) const RESET: &str = "reset";
/// The process that had it has died.
pub(crate) const WORKER_DIED: &str = "worker_died";
/// Nothing has moved for too long.
pub(crate) const IDLE: &str = "idle";
