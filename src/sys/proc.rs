//! What /proc says of processes: which there are, and of each its parent, its group, when it
//! began, and whether it has ended.

use std::fmt::Display;
use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, getpid, sysconf};

/// Fields after the name: the state, the parent, the process group, the threads, and when it
/// was started.
const STATE: usize = 0;
const PARENT: usize = 1;
const GROUP: usize = 2;
const THREADS: usize = 17;
const STARTED: usize = 19;

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// All of its threads have ended: it waits to be reaped.
    pub(crate) has_ended: bool,
    /// Who has started it, or has adopted it; 0 where that is outside.
    pub(crate) parent: Option<i32>,
    /// The number of its process group.
    pub(crate) group: Option<i32>,
    /// When it began, since the system did.
    pub(crate) began: Option<Duration>,
}

/// Asks the system.
///
/// # Errors
/// There is none by that number, or we may not know.
pub(crate) fn stat_of(pid: i32) -> io::Result<Stat> {
    fs::read(format!("/proc/{pid}/stat")).map(|stat| by_text(&stat))
}

fn by_text(stat: &[u8]) -> Stat {
    // A name may have anything in it.
    let rest = stat.rsplit(|byte| *byte == b')').next().unwrap_or_default();
    let rest = String::from_utf8_lossy(rest);
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Its first thread may have ended, and others go on.
    let is_alone = fields.get(THREADS).is_none_or(|threads| matches!(*threads, "0" | "1"));
    let has_ended = matches!(fields.get(STATE), Some(&("Z" | "X"))) && is_alone;
    let ticks = fields.get(STARTED).and_then(|field| field.parse::<u64>().ok());
    // A system may run for longer than 32 bits of them last.
    let began = ticks.map(|ticks| {
        let nanos = tick().as_nanos().saturating_mul(ticks.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    });
    let number = |field: usize| fields.get(field)?.parse().ok();
    Stat { has_ended, parent: number(PARENT), group: number(GROUP), began }
}

/// The numbers that are names in a folder: of processes, of threads, of descriptors.
///
/// # Errors
/// When it cannot be read to its end.
pub(crate) fn numbers_in(folder: &str) -> io::Result<Vec<i32>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_str().map(str::parse)));
    let numbers: io::Result<Vec<_>> = names.collect();
    Ok(numbers?.into_iter().flatten().flatten().collect())
}

/// All processes but this one.
pub(crate) fn others() -> Vec<i32> {
    let mut all = numbers_in("/proc").unwrap_or_default();
    all.retain(|pid| *pid != getpid().as_raw());
    all
}

/// Whether the numbers there are those that we know processes by.
pub(crate) fn is_ours() -> bool {
    let number = fs::read_link("/proc/self");
    number.is_ok_and(|number| number.to_str() == Some(std::process::id().to_string().as_str()))
}

/// Lists of numbers, as the files `children` are.
pub(crate) fn numbers_of(text: &str) -> impl Iterator<Item = i32> {
    text.split_ascii_whitespace().filter_map(|number| number.parse().ok())
}

/// The numbers in a line of /proc/PID/status; none if that is not known.
pub(crate) fn status_numbers(pid: impl Display, line: &str) -> Vec<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rest = status.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':'));
    let words = rest.unwrap_or_default().split_ascii_whitespace();
    words.map_while(|word| word.parse().ok()).collect()
}

/// In what the system counts there.
pub(crate) fn tick() -> Duration {
    let in_a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let in_a_second = in_a_second.and_then(|number| u32::try_from(number).ok());
    Duration::from_secs(1).checked_div(in_a_second.unwrap_or(100)).unwrap_or_default()
}

/// How long the system has been running.
pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, state: &str, threads: u32, ticks: u64) -> Stat {
        let before = "1 7 8 0 -1 4194304 1 2 3 4 5 6 7 8 20 0";
        by_text(format!("42 ({name}) {state} {before} {threads} 0 {ticks} 5 6\n").as_bytes())
    }

    #[test]
    fn when_a_process_began_is_read_whatever_its_name() {
        for name in ["sh", "a) Z 1", "(x y)"] {
            let (parent, group, began) = (Some(1), Some(7), Some(tick() * 1234));
            let stat = Stat { has_ended: false, parent, group, began };
            assert_eq!(text(name, "S", 1, 1234), stat, "{name}");
        }
        let late = text("sh", "S", 1, 5_000_000_000).began;
        assert_eq!(late, Some(tick() * 1_000_000_000 * 5), "after more than 497 days");
        for (text, parent) in [("", None), ("42 (sh)", None), ("42 (sh) S 1", Some(1))] {
            let stat = Stat { has_ended: false, parent, group: None, began: None };
            assert_eq!(by_text(text.as_bytes()), stat, "{text}");
        }
    }

    #[test]
    fn one_that_has_ended_is_told_from_one_whose_first_thread_has() {
        for (name, state, threads, ended) in [
            ("sleep", "S", 1, false),
            ("sleep", "Z", 1, true),
            ("sleep", "Z", 2, false),
            ("a) Z 1 (b", "S", 1, false),
            ("a) S 1 (b", "X", 0, true),
        ] {
            assert_eq!(text(name, state, threads, 9).has_ended, ended, "{name} {state}");
        }
        assert!(by_text(b"42 (sh) Z 1 7 7").has_ended);
    }

    #[test]
    fn this_process_began_before_now() {
        let own = stat_of(std::process::id().try_into().unwrap()).unwrap();
        let began = own.began.unwrap();
        assert!(began > Duration::ZERO && began <= since_boot() && !own.has_ended);
        assert!(stat_of(i32::MAX).is_err());
    }
}
