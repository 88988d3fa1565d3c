//! Groups of processes (cgroup v2): one for each service with limits on all its
//! programs together. See cgroups(7) and Documentation/admin-guide/cgroup-v2.rst.
//!
//! Groups are made below the one that the server was started in, named
//! `oxinetd.PID.SERVICE`. A group with members of its own cannot limit groups below
//! it, so in any but the root the server first moves into `oxinetd.PID`.
//! A group is removed when neither its service nor a program of it is left;
//! one that still has processes then is tried again.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::confinement::is_limited;
use crate::config::model::GroupLimits;
use crate::descriptor::raise;

/// The span of time in which `cpu_max` holds, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// Groups of services that have gone while something still runs in them.
type Lingering = Rc<RefCell<Vec<PathBuf>>>;

/// One service's group.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    directory: OwnedFd,
    lingering: Lingering,
}

impl Group {
    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor with which a child is born into it.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    fn limit(&self, limits: GroupLimits) -> io::Result<()> {
        let number = |limit: Option<u64>| limit.map_or("max".to_owned(), |n| n.to_string());
        self.write("memory.max", limits.memory_max.is_some(), &number(limits.memory_max))?;
        let tasks = number(limits.tasks_max.map(u64::from));
        self.write("pids.max", limits.tasks_max.is_some(), &tasks)?;
        let share = limits.cpu_max.map(|percent| u64::from(percent) * PERIOD / 100);
        let share = format!("{} {PERIOD}", number(share));
        self.write("cpu.max", limits.cpu_max.is_some(), &share)
    }

    /// A file that is not there is no harm where nothing is to be limited.
    fn write(&self, name: &str, needed: bool, value: &str) -> io::Result<()> {
        match put(&self.path.join(name), value) {
            Err(error) if !needed && error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !is_removed(&self.path) {
            self.lingering.borrow_mut().push(std::mem::take(&mut self.path));
        }
    }
}

/// All groups of this server.
#[derive(Debug, Default)]
pub struct Groups {
    /// The group that the server was started in; found when it is first needed.
    base: Option<PathBuf>,
    /// The group that the server has moved to.
    own: Option<PathBuf>,
    lingering: Lingering,
}

impl Groups {
    /// No groups yet: nothing is looked for before a service asks for limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The group of a service, with its limits set; none if it has no limits.
    pub(super) fn prepare(
        &mut self,
        label: &str,
        limits: GroupLimits,
        before: Option<Rc<Group>>,
    ) -> io::Result<Option<Rc<Group>>> {
        if !is_limited(limits) {
            return Ok(None);
        }
        let base = self.base()?;
        self.enable(&base, limits)?;
        let group = match before {
            Some(group) => group,
            None => Rc::new(self.make(&base, label)?),
        };
        group.limit(limits)?;
        Ok(Some(group))
    }

    fn base(&mut self) -> io::Result<PathBuf> {
        if let Some(base) = &self.base {
            return Ok(base.clone());
        }
        let base = find_base()?;
        remove_left_over(&base);
        self.base = Some(base.clone());
        Ok(base)
    }

    /// Has the controllers of these limits work in the groups below `base`.
    fn enable(&mut self, base: &Path, limits: GroupLimits) -> io::Result<()> {
        let wanted = [
            ("memory", limits.memory_max.is_some()),
            ("pids", limits.tasks_max.is_some()),
            ("cpu", limits.cpu_max.is_some()),
        ];
        let has = |file: &str| read(&base.join(file));
        let (available, enabled) = (has("cgroup.controllers")?, has("cgroup.subtree_control")?);
        let mut missing = String::new();
        for (name, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            let is_in = |list: &str| list.split_whitespace().any(|known| known == name);
            if !is_in(&available) {
                let base = base.display();
                let text = format!("the controller {name} is not available in {base}");
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            if !is_in(&enabled) {
                missing.push_str(&format!("+{name} "));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // Only the root lacks this file; it may have members besides.
        if base.join("cgroup.type").exists() {
            self.move_out(base)?;
        }
        put(&base.join("cgroup.subtree_control"), missing.trim_end())
    }

    /// Moves the server and what it has started out of `base`.
    fn move_out(&mut self, base: &Path) -> io::Result<()> {
        let own = base.join(own_name());
        if self.own.is_none() {
            make_directory(&own)?;
            self.own = Some(own.clone());
        }
        let members = read(&base.join("cgroup.procs"))?;
        let me = std::process::id();
        for pid in members.lines().filter_map(|line| line.parse().ok()) {
            if descends_from(pid, me) {
                match put(&own.join("cgroup.procs"), &pid.to_string()) {
                    // It has ended meanwhile (ESRCH).
                    Err(_) if pid != me => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }

    fn make(&self, base: &Path, label: &str) -> io::Result<Group> {
        let stem = format!("{}.{}", own_name(), file_name(label));
        // Two services may be called the same: on different addresses.
        let names = std::iter::once(stem.clone()).chain((2..1000).map(|n| format!("{stem}.{n}")));
        for name in names {
            let path = base.join(name);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(about(&path, &error)),
            }
            let directory = open_directory(&path)?;
            return Ok(Group { path, directory, lingering: Rc::clone(&self.lingering) });
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The groups of the server before us, which is the same process.
    #[must_use]
    pub fn taken_over(
        base: Option<PathBuf>,
        own: Option<PathBuf>,
        lingering: Vec<PathBuf>,
    ) -> Self {
        Self { base, own, lingering: Rc::new(RefCell::new(lingering)) }
    }

    /// A group that is there already.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn find(&self, path: &Path) -> io::Result<Rc<Group>> {
        let directory = open_directory(path)?;
        let lingering = Rc::clone(&self.lingering);
        Ok(Rc::new(Group { path: path.to_owned(), directory, lingering }))
    }

    /// What [`Self::taken_over`] wants.
    #[must_use]
    pub fn known(&self) -> (Option<&Path>, Option<&Path>, Vec<PathBuf>) {
        (self.base.as_deref(), self.own.as_deref(), self.lingering.borrow().clone())
    }

    /// Whether there are groups that could not be removed yet.
    #[must_use]
    pub fn is_untidy(&self) -> bool {
        !self.lingering.borrow().is_empty()
    }

    /// Removes the groups of services that have gone, as far as nothing runs in them.
    pub fn tidy(&mut self) {
        self.lingering.borrow_mut().retain(|path| !is_removed(path));
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.tidy();
        let (Some(base), Some(own)) = (&self.base, &self.own) else { return };
        // Back to where we came from, which works only if nobody else is left; and if
        // not, the group goes with the one that the server was started in.
        let _ = put(&base.join("cgroup.subtree_control"), "-memory -pids -cpu")
            .or_else(|_| put(&base.join("cgroup.subtree_control"), "-memory -pids"));
        let _ = put(&base.join("cgroup.procs"), "0").and_then(|()| fs::remove_dir(own));
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = nix::libc::O_DIRECTORY;
    Ok(raise(OpenOptions::new().read(true).custom_flags(flags).open(path)?.into()))
}

fn own_name() -> String {
    format!("oxinetd.{}", std::process::id())
}

/// A label as a file name.
fn file_name(label: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-_:@".contains(c) { c } else { '_' };
    label.chars().map(kept).take(128).collect()
}

/// Whether it is gone now.
fn is_removed(path: &Path) -> bool {
    match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Groups of a server that was killed, or whose programs went on after its end:
/// recognised by its process id, which nobody has. Only empty ones can be removed.
fn remove_left_over(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("oxinetd.")?.split('.').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The directory of the group that this process is in.
fn find_base() -> io::Result<PathBuf> {
    let missing = |what: &str| io::Error::new(io::ErrorKind::Unsupported, what.to_owned());
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

/// Whether `pid` is `ancestor` or was started by it, directly or not.
fn descends_from(mut pid: u32, ancestor: u32) -> bool {
    // Deeper than any chain of processes; the table may change while it is read.
    for _ in 0..1000 {
        if pid == ancestor {
            return true;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        match parent.and_then(|parent| parent.parse().ok()) {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

/// One write of a whole value, as these files want it; never makes a file.
fn put(path: &Path, value: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    let result = file.and_then(|mut file| file.write_all(value.as_bytes()));
    result.map_err(|error| about(path, &error))
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| about(path, &error))
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(|error| about(path, &error)),
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{descends_from, directory_of, file_name};
    use std::path::PathBuf;

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
    fn labels_are_file_names() {
        assert_eq!(file_name("50002/tcp"), "50002_tcp");
        assert_eq!(file_name("/run/../a b"), "_run____a_b");
        assert_eq!(file_name("@x"), "@x");
    }

    #[test]
    fn descent_is_followed_up() {
        let me = std::process::id();
        assert!(descends_from(me, me));
        assert!(descends_from(me, std::os::unix::process::parent_id()));
        assert!(!descends_from(1, me));
    }
}
