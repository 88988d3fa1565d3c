//! Samples that other work on the machine has not disturbed: what the machine has
//! spent beyond the client and the servers measured is somebody else's, and a
//! sample with too much of that is taken again.

use std::cell::Cell;
use std::time::Instant;

use crate::Result;
use crate::context::Context;
use crate::daemon::Daemon;
use crate::process;

/// Processors at work for somebody else above which a sample counts as disturbed.
const FOREIGN: f64 = 0.15;

/// How often such a sample is taken again.
const ATTEMPTS: usize = 3;

/// Counts the samples of a table.
#[derive(Default)]
pub(crate) struct Calm {
    taken: Cell<usize>,
    disturbed: Cell<usize>,
}

impl Calm {
    /// Takes a sample of `daemons` at work; the least disturbed of a few where none
    /// is undisturbed.
    pub(crate) fn sample<T>(
        &self,
        context: &Context,
        daemons: &[&Daemon],
        mut take: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let mut best = measure(daemons, &mut take)?;
        for _ in 0..ATTEMPTS {
            if best.1 <= FOREIGN || !context.has_time() {
                break;
            }
            let next = measure(daemons, &mut take)?;
            if next.1 < best.1 {
                best = next;
            }
        }
        self.taken.set(self.taken.get() + 1);
        self.disturbed.set(self.disturbed.get() + usize::from(best.1 > FOREIGN));
        Ok(best.0)
    }

    /// The line under a table.
    pub(crate) fn print(&self) {
        let (disturbed, taken) = (self.disturbed.get(), self.taken.get());
        println!("  samples disturbed by other work on the machine: {disturbed} of {taken}");
    }
}

/// What `take` brings, and how many processors others have kept busy meanwhile.
fn measure<T>(daemons: &[&Daemon], take: &mut impl FnMut() -> Result<T>) -> Result<(T, f64)> {
    let own = || -> Result<f64> {
        let us = i32::try_from(std::process::id())?;
        let servers = daemons.iter().map(|daemon| daemon.cpu());
        servers.chain([process::cpu(us)]).map(|cpu| cpu.map(|it| it.tree)).sum()
    };
    let (machine, ours, begin) = (process::machine(), own()?, Instant::now());
    let taken = take()?;
    let seconds = begin.elapsed().as_secs_f64().max(1e-9);
    let foreign = process::machine() - machine - (own()? - ours);
    Ok((taken, foreign / 1e6 / seconds))
}
