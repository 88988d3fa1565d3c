//! The group of processes (cgroup v2) below which groups of the server's can be: where it is, and
//! whether there can be any. See cgroups(7).

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::file_attributes;

/// Where the service manager puts the server, as the unit says.
pub(crate) const SUBGROUP: &str = "oxinetd";

/// Where the server goes if it was started in the group itself.
pub(crate) const LEFT_FOR: &str = "oxinetd.server";

/// The base of this process's groups.
///
/// # Errors
/// When there is no cgroup v2, or it cannot be seen.
pub(crate) fn find() -> io::Result<PathBuf> {
    let own = current()?;
    let parent = own.parent().filter(|parent| named(&own, SUBGROUP) && is_delegated(parent));
    Ok(parent.map(Path::to_owned).unwrap_or(own))
}

pub(crate) fn named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|it| it == name)
}

/// Whether the service manager has left this group to us, with whoever is in it
/// (`Delegate=yes`).
pub(crate) fn is_delegated(path: &Path) -> bool {
    file_attributes::is_marked(path, c"user.delegate")
}

/// Why groups with these controllers cannot be made below it, as far as that can be told
/// without making one.
pub(crate) fn obstacle(controllers: &[&str]) -> Option<String> {
    let base = match find() {
        // Where a server has moved to, from where it was started.
        Ok(own) if named(&own, LEFT_FOR) => own.parent().map_or(own.clone(), Path::to_owned),
        Ok(base) => base,
        Err(error) => return Some(error.to_string()),
    };
    let available = fs::read_to_string(base.join("cgroup.controllers")).ok()?;
    unavailable(&base, &available, controllers).or_else(|| {
        let error = access(&base, AccessFlags::W_OK).err()?;
        Some(format!("no group can be made in {}: {}", base.display(), io::Error::from(error)))
    })
}

/// The first of the controllers that is not among those that can be had in a group, in words.
pub(crate) fn unavailable(base: &Path, available: &str, controllers: &[&str]) -> Option<String> {
    let is_there = |name: &str| available.split_whitespace().any(|known| known == name);
    let missing = controllers.iter().find(|name| !is_there(name))?;
    Some(format!("the controller {missing} is not available in {}", base.display()))
}

/// The directory of the group that this process is in.
///
/// # Errors
/// When there is no cgroup v2, or it cannot be seen.
pub(crate) fn current() -> io::Result<PathBuf> {
    let missing = |what: &str| io::Error::new(ErrorKind::Unsupported, what.to_owned());
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(|| missing("this system has no cgroup v2"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let found = mounts.lines().filter_map(|line| directory_of(own, line));
    found
        .into_iter()
        .find(|path| path.join("cgroup.controllers").exists())
        .ok_or_else(|| missing("cgroup v2 is not mounted, or not where this process is in it"))
}

/// The directory of a group by a line of /proc/self/mountinfo:
/// `ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS… - TYPE SOURCE OPTIONS`.
fn directory_of(group: &str, mount: &str) -> Option<PathBuf> {
    let (before, after) = mount.split_once(" - ")?;
    if after.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    let below = Path::new(group).strip_prefix(root).ok()?;
    Some(Path::new(place).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_group_is_below_its_mount() {
        let mount = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        let at = |group: &str, mount: &str| directory_of(group, mount);
        assert_eq!(at("/", mount), Some(PathBuf::from("/sys/fs/cgroup/")));
        assert_eq!(at("/a/b", mount), Some(PathBuf::from("/sys/fs/cgroup/a/b")));
        let bound = mount.replace(" / /sys", " /a /sys");
        assert_eq!(at("/a/b", &bound), Some(PathBuf::from("/sys/fs/cgroup/b")));
        assert_eq!(at("/ab", &bound), None);
        assert_eq!(at("/", &mount.replace("- cgroup2", "- cgroup")), None);
        assert_eq!(at("/", "nonsense"), None);
    }

    #[test]
    fn a_controller_that_is_not_there_is_named() {
        let missing = |all: &str, wanted: &[&str]| unavailable(Path::new("/g"), all, wanted);
        assert_eq!(missing("cpu memory pids\n", &["pids", "memory"]), None);
        let text = "the controller memory is not available in /g";
        assert_eq!(missing("cpu pids\n", &["pids", "memory"]).as_deref(), Some(text));
        assert!(missing("", &["cpu"]).is_some() && missing("", &[]).is_none());
    }
}
