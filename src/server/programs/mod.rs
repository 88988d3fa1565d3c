//! Programs: started, watched, ended and reaped, and what they leave behind.
//!
//! | file | what it does |
//! |---|---|
//! | `adopted` | who has lost his parent and has come to us |
//! | `ending` | children that have ended |
//! | `exit_notifier` | what announces an end at once |
//! | `leftovers` | what programs leave behind that is to end with them |
//! | `orphans` | those of others, as process 1 |
//! | `outliving` | the same of programs that outlive the server |
//! | `process_sessions` | who that is |
//! | `process_stat` | when a process began, and whether it has ended |
//! | `processes` | how many processes there may still be |
//! | `starting` | a program, for whomever |
//! | `stderr_lines` | what programs write to standard error |
//! | `still_used` | connections that those have who are left of a program |
//! | `terminating` | programs that end with the server |
//! | `time_limits` | programs that run for too long |
//! | `watching` | noticing ends and what is written to standard error |

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
