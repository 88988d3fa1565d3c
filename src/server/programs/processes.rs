//! How many processes there may still be: of this machine's, and of the groups (cgroup) that
//! this process is in.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::sysinfo::sysinfo;

/// What bounds the processes of the whole machine.
const OF_ALL: [&str; 2] = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];

/// Where groups are, and by which name /proc/self/cgroup calls the one of a process there: all
/// together, or one for `pids` (cgroups(7)).
const TREES: [(&str, &str); 3] =
    [("/sys/fs/cgroup", ""), ("/sys/fs/cgroup/unified", ""), ("/sys/fs/cgroup/pids", "pids")];

/// The smallest room that any of them leaves; what cannot be read bounds nobody.
pub(in crate::server) fn room_for_processes() -> u64 {
    let running = sysinfo().map_or(0, |system| u64::from(system.process_count()));
    let of_all = OF_ALL.iter().filter_map(|path| number(Path::new(path)));
    let of_all = of_all.map(|most| most.saturating_sub(running));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = TREES.iter().filter_map(|(root, controller)| {
        let group = group_of(&own, controller)?;
        room_in(Path::new(root), Path::new(group.trim_start_matches('/')))
    });
    of_all.chain(of_groups).min().unwrap_or(u64::MAX)
}

/// The group of this process by a line `NUMBER:CONTROLLERS:PATH`.
fn group_of<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|it| it == controller).then_some(path)
    })
}

/// What a group and those that it is in leave.
fn room_in(root: &Path, group: &Path) -> Option<u64> {
    let rooms = group.ancestors().filter_map(|group| {
        let folder: PathBuf = root.join(group);
        let most = number(&folder.join("pids.max"))?;
        Some(most.saturating_sub(number(&folder.join("pids.current")).unwrap_or_default()))
    });
    rooms.min()
}

/// None for a file that is not there, and for `max`.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_with_the_smallest_room_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |group: &str, most: &str, current: &str| {
            let folder = root.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("pids.max"), most).unwrap();
            fs::write(folder.join("pids.current"), current).unwrap();
        };
        let room = |group: &str| room_in(root.path(), Path::new(group));
        put("a/b", "max\n", "1\n");
        assert_eq!(room("a/b"), None);
        put("a", "20\n", "5\n");
        assert_eq!(room("a/b"), Some(15));
        put("a/b", "10\n", "1\n");
        assert_eq!((room("a/b"), room("a")), (Some(9), Some(15)));
        put("a/b", "10\n", "12\n");
        assert_eq!(room("a/b"), Some(0));
        assert_eq!(room("none"), None);
    }

    #[test]
    fn the_own_group_is_found_in_either_kind_of_tree() {
        let own = "8:cpu,pids:/x\n0::/user.slice/a:b\n";
        assert_eq!(group_of(own, "pids"), Some("/x"));
        assert_eq!(group_of(own, ""), Some("/user.slice/a:b"));
        assert_eq!(group_of(own, "memory"), None);
    }
}
