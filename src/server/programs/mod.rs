//! Programs: started, watched, ended and reaped, and what they leave behind.

pub(super) mod adopted;
pub(super) mod ending;
pub(super) mod exit_notifier;
pub(super) mod leftovers;
pub(super) mod orphans;
pub(super) mod outliving;
pub(super) mod process_sessions;
pub(super) mod process_stat;
pub(super) mod processes;
pub(super) mod starting;
pub(super) mod stderr_lines;
pub(super) mod still_used;
pub(super) mod terminating;
pub(super) mod time_limits;
pub(super) mod watching;
