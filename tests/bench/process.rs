//! What /proc says of a process and of the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollTimeout, poll};
use nix::unistd::{SysconfVar, sysconf};

use crate::Result;

/// Processor time in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Of the process itself.
    pub(crate) own: f64,
    /// Of it and of its children that it has reaped.
    pub(crate) tree: f64,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { own: self.own - before.own, tree: self.tree - before.tree }
    }
}

/// Processor time of `pid` up to now. The scheduler's own count, in nanoseconds,
/// serves for the process itself where there is one; ticks of 10 ms for the rest.
pub(crate) fn cpu(pid: i32) -> Result<Cpu> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect())
        .unwrap_or_default();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
    let sum = |range: std::ops::Range<usize>| {
        fields.get(range).map_or(0.0, |ticks| ticks.iter().sum::<f64>()) * 1e6 / per_second
    };
    let own = exact_cpu(pid).unwrap_or_else(|| sum(11..13));
    Ok(Cpu { own, tree: own + sum(13..15) })
}

fn exact_cpu(pid: i32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse::<f64>().ok().map(|ns| ns / 1e3)
}

/// A number of /proc/PID/status.
pub(crate) fn status(pid: i32, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or_else(|| format!("no {name} in /proc/{pid}/status"))?;
    Ok(value.parse()?)
}

/// Resident memory in KiB.
pub(crate) fn rss(pid: i32) -> Result<u64> {
    status(pid, "VmRSS")
}

/// Open descriptors.
pub(crate) fn descriptors(pid: i32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Children that have not been reaped, alive or dead.
pub(crate) fn children(pid: i32) -> usize {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .map_or(0, |text| text.split_whitespace().count())
}

/// Processor time that the whole machine has spent so far, in microseconds, that
/// of other guests on it included.
pub(crate) fn machine() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| fields.get(at)).sum::<f64>();
    busy * 1e4
}

/// Lets time pass.
pub(crate) fn pause(time: Duration) {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    // With no descriptors it can only time out or be interrupted.
    let _ = poll(&mut [], timeout);
}

/// Processor time so far of a process and of all that have come from it: its children, those
/// that it has reaped, theirs. In microseconds.
pub(crate) fn family_cpu(pid: i32) -> f64 {
    let children = |task: &Path| {
        let text = std::fs::read_to_string(task.join("children")).unwrap_or_default();
        text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<i32>>()
    };
    let mut sum = group_cpu(pid);
    for task in tasks(pid) {
        sum += children(&task).into_iter().map(family_cpu).sum::<f64>();
    }
    sum
}

/// Of a process with all its threads, and of the children that it has reaped.
fn group_cpu(pid: i32) -> f64 {
    let exact = tasks(pid).into_iter().filter_map(|task| {
        let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    let exact = exact.sum::<f64>() / 1e3;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> = rest.split_whitespace().map(|it| it.parse().unwrap_or(0.0)).collect();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    let sum = |range: std::ops::Range<usize>| {
        ticks.get(range).map_or(0.0, |it| it.iter().sum::<f64>()) * 1e6 / per_second
    };
    // Threads that have ended are in the ticks only.
    exact.max(sum(11..13)) + sum(13..15)
}

fn tasks(pid: i32) -> Vec<PathBuf> {
    let all = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    all.flatten().map(|task| task.path()).collect()
}

/// What a process has of the memory in KiB, its part of what is shared.
pub(crate) fn pss(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let value = value.and_then(|rest| rest.split_whitespace().next());
    Ok(value.ok_or("no Pss in smaps_rollup")?.parse()?)
}

/// The children of a process with this word among their arguments.
pub(crate) fn children_called(pid: i32, word: &str) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let all = text.unwrap_or_default();
    let all = all.split_whitespace().filter_map(|child| child.parse::<i32>().ok());
    let is_it = |child: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        line.split('\0').any(|it| it == word)
    };
    all.filter(is_it).collect()
}
