//! What /proc says of a process.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The fields of /proc/PID/stat from `state` on (field 3 of proc(5) is number 0 here).
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// The state: `R`, `S`, `T`, `Z`, …; none if there is no such process.
pub(crate) fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// Whether it runs: neither gone nor a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// Whether it leads a session, as every program that the server starts does.
pub(crate) fn leads_session(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields.get(3) == Some(&pid.to_string()))
}

/// Processor time used so far, user and system; ticks are 10 ms.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let fields = stat(pid).unwrap();
    let ticks: u64 = [11, 12].iter().map(|index| fields[*index].parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// How nice it is.
pub(crate) fn niceness(pid: u32) -> i32 {
    stat(pid).unwrap()[16].parse().unwrap()
}

/// What `nice` makes of the niceness of whoever asks, which a server that it starts has too.
pub(crate) fn nicer_by(more: i32) -> i32 {
    (niceness(std::process::id()) + more).clamp(-20, 19)
}

/// What a server has started in front of its services, and that runs.
pub(crate) fn front_workers(server: u32) -> BTreeSet<u32> {
    let is_worker = |pid: &u32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split('\0').any(|word| word == "front-worker")
    };
    children(server).into_iter().filter(is_worker).collect()
}

/// How many terminals, either side, a process has.
pub(crate) fn terminals(pid: u32) -> usize {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with("/dev/pts") || link.ends_with("ptmx")).count()
}

/// The processes whose parent is `parent`, zombies too.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let wanted = parent.to_string();
    let entries = fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|fields| fields.get(1) == Some(&wanted)))
        .collect()
}

/// The zombies among them.
pub(crate) fn zombies(parent: u32) -> Vec<u32> {
    children(parent).into_iter().filter(|pid| state(*pid) == Some('Z')).collect()
}

/// Descriptors that a server keeps for its next programs at most: two sockets for each
/// that may be on its way to exec at once, and a pipe.
pub(crate) const KEPT_DESCRIPTORS: usize = 64 * 2 + 2;

/// How many descriptors it has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    descriptor_numbers(pid).len()
}

/// Their numbers.
pub(crate) fn descriptor_numbers(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// How often it has gone to sleep so far.
pub(crate) fn switches(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status_field(&text, "voluntary_ctxt_switches").parse().unwrap()
}

/// The value of a field of /proc/PID/status, or of a copy of that file's text.
pub(crate) fn status_field(text: &str, name: &str) -> String {
    let prefix = format!("{name}:");
    let line = text.lines().find(|line| line.starts_with(&prefix));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}"))[prefix.len()..].trim().to_owned()
}

/// KiB of a process that are in memory.
pub(crate) fn resident(pid: u32) -> u64 {
    kibibytes(pid, "VmRSS")
}

/// The same without its code, which goes and comes back as it is needed.
pub(crate) fn resident_data(pid: u32) -> u64 {
    kibibytes(pid, "RssAnon")
}

fn kibibytes(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status_field(&text, field);
    size.split_whitespace().next().unwrap().parse().unwrap()
}

/// The shared libraries and the loader that a program needs, by ldd(1).
pub(crate) fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = std::process::Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}
