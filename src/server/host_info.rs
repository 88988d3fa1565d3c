//! What the server is and may do, found once at start: its limits, raised as far
//! as the system lets it, and what its children inherit from it.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{getgroups, getpid, getresgid, getresuid};

use super::programs::processes::room_for_processes;
use super::services::reserve::Reserve;
use crate::spawn::ServerFacts;
use crate::sys::descriptor::of;
use crate::sys::{capabilities, process};
use crate::systemd::is_for_us;
use crate::upgrade::variable::is_ours;

/// Descriptors that a running program costs the server: its pidfd and its pipe.
const PER_CHILD: u64 = 2;

/// Descriptors kept back for listeners' connections, files and built-in services.
const RESERVE: u64 = 96;

/// More programs than this are more than anybody means.
const MOST_CHILDREN: u32 = 16_384;

/// The facts.
#[derive(Debug, Clone)]
pub(crate) struct HostInfo {
    /// For the children.
    pub server: ServerFacts,
    /// Programs that the limits on descriptors and processes leave room for.
    pub max_children: u32,
    /// What is kept back of the descriptors.
    pub(super) reserve: Reserve,
    /// A signal tells of every end: we are process 1, and orphans of this system come to us,
    /// or there are no pidfds.
    pub sees_every_end: bool,
}

impl HostInfo {
    /// Raises the limit on descriptors and collects everything.
    ///
    /// # Errors
    /// When the system does not even tell the limits.
    pub(crate) fn collect() -> io::Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
            .map_err(of("prlimit64, for the limit of descriptors"))?;
        // Left as it is where that is not allowed.
        let raised = soft != hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        let descriptors = if raised { hard } else { soft };
        let reserve = Reserve::of(descriptors);
        let (processes, _) = getrlimit(Resource::RLIMIT_NPROC)
            .map_err(of("prlimit64, for the limit of processes"))?;
        let (users, groups) =
            (getresuid().map_err(of("getresuid"))?, getresgid().map_err(of("getresgid"))?);
        let uid = (users.real == users.effective && users.effective == users.saved)
            .then(|| users.effective.as_raw());
        let gid = (groups.real == groups.effective && groups.effective == groups.saved)
            .then(|| groups.effective.as_raw());
        let server = ServerFacts {
            nofile: (raised || reserve.is_kept()).then_some((soft, hard)),
            nice: process::nice_value(),
            umask: process::own_umask(),
            groups: getgroups()
                .map_err(of("getgroups"))?
                .into_iter()
                .map(nix::unistd::Gid::as_raw)
                .collect(),
            ids: (uid, gid),
            capabilities: capabilities::own_capabilities(),
            in_root: std::env::current_dir().is_ok_and(|path| path == std::path::Path::new("/")),
            environment: own_environment(),
            last: RefCell::default(),
        };
        let max_children = room_for_children(descriptors, processes.min(room_for_processes()));
        let sees_every_end = getpid().as_raw() == 1 || !process::has_pidfds();
        Ok(Self { server, max_children, reserve, sees_every_end })
    }
}

/// What the server was started with, but for what is between it and the service manager
/// or the server before it: no program may answer in its place.
fn own_environment() -> Vec<(OsString, OsString)> {
    let passed = |name: &OsStr| !is_for_us(name) && !is_ours(name);
    std::env::vars_os().filter(|(name, _)| passed(name)).collect()
}

fn room_for_children(descriptors: u64, processes: u64) -> u32 {
    let reserve = RESERVE.min(descriptors / 2);
    let by_descriptors = descriptors.saturating_sub(reserve) / PER_CHILD;
    let by_processes = processes / 2;
    let room = by_descriptors.min(by_processes).max(1);
    u32::try_from(room).unwrap_or(MOST_CHILDREN).min(MOST_CHILDREN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_the_tighter_limit_and_is_never_none() {
        assert_eq!(room_for_children(1024, u64::MAX), 464);
        assert_eq!(room_for_children(1024, 100), 50);
        assert_eq!(room_for_children(32, u64::MAX), 8);
        assert_eq!(room_for_children(0, 0), 1);
        assert_eq!(room_for_children(u64::MAX, u64::MAX), MOST_CHILDREN);
    }
}
