//! Programs: started, watched, ended and reaped, and what they leave behind.
//!
//! | file | what it does |
//! |---|---|
//! | `adopted` | who has lost his parent and has come to us |
//! | `children` | all children of this process |
//! | `dying` | those whose end does not come, or is not told |
//! | `ending` | children that have ended |
//! | `exit_notifier` | what announces an end at once |
//! | `leftovers` | what programs leave behind that is to end with them |
//! | `orphans` | those of others, as process 1 |
//! | `outliving` | the same of programs that outlive the server |
//! | `process_sessions` | who that is |
//! | `processes` | how many processes there may still be |
//! | `starting` | a program, for whomever |
//! | `stderr_lines` | what programs write to standard error |
//! | `still_used` | connections that those have who are left of a program |
//! | `terminating` | programs that end with the server |
//! | `time_limits` | programs that run for too long |
//! | `watching` | noticing ends and what is written to standard error |

pub(super) mod adopted;
mod children;
pub(super) mod dying;
pub(super) mod ending;
pub(super) mod exit_notifier;
pub(super) mod leftovers;
pub(super) mod orphans;
pub(super) mod outliving;
pub(super) mod process_sessions;
pub(super) mod processes;
pub(super) mod starting;
pub(super) mod stderr_lines;
pub(super) mod still_used;
pub(super) mod terminating;
pub(super) mod time_limits;
pub(super) mod watching;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::reactor::Reactor;
use super::reactor::slab::{Key, Slab};
use super::state::StderrState;
use crate::spawn::Spawner;
use crate::spawn::sandbox::cgroup::Cgroups;
use exit_notifier::ExitNotifier;
use leftovers::Left;

/// All programs, and what is left of them.
pub(super) struct Programs {
    pub(super) spawner: Spawner,
    pub(super) stderr: Slab<StderrState>,
    pub(super) exit_notifier: ExitNotifier,
    /// Children whose end has been announced and that are not reaped yet.
    pub(super) ended: Vec<Key>,
    /// When those are reaped, and the unwatched ones looked at.
    pub(super) tidy_by: Option<Instant>,
    /// Programs in their first milliseconds, which are not polled yet.
    pub(super) unwatched: Vec<Key>,
    /// The turn in which one was started last whose end somebody waits for.
    pub(super) started_in: Option<Instant>,
    /// Pipes whose program has ended while something still holds them, oldest first.
    pub(super) orphan_pipes: VecDeque<Key>,
    /// What is left of programs that ran for too long, or are to leave nothing behind.
    pub(super) doomed: Left,
    /// When it is tried again to remove some of the groups, and after how long.
    pub(super) straggling: (Instant, Duration),
    /// Last, so that it goes when everybody who has a group has gone.
    pub(super) cgroups: Cgroups,
}

impl Programs {
    /// # Errors
    /// When the system has no descriptors.
    pub(super) fn new(
        spawner: Spawner,
        reactor: &Reactor,
        sees_every_end: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            spawner,
            stderr: Slab::new(),
            exit_notifier: ExitNotifier::new(reactor, sees_every_end)?,
            ended: Vec::new(),
            tidy_by: None,
            unwatched: Vec::new(),
            started_in: None,
            orphan_pipes: VecDeque::new(),
            doomed: Left::default(),
            straggling: (reactor.now, Duration::ZERO),
            cgroups: Cgroups::new(),
        })
    }
}
