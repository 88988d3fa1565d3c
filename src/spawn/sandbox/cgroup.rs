//! Groups of processes (cgroup v2): one for each service with limits on all its
//! programs together. See cgroups(7) and Documentation/admin-guide/cgroup-v2.rst.
//!
//! A group is named after its service, `oxinetd.SERVICE`, and with programs in it it
//! outlives the server: its limits hold on, and the next server, which finds it by that
//! name, goes on with it. It is removed when neither its service nor a program of it is
//! left; one that still has processes then is tried again.

mod base;
mod files;
mod names;

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::model::{GroupLimits, Service};
use crate::sys::cgroup::find;
use files::{Directory, about, groups_of_services, is_populated, is_removed, is_settled, put};
use names::{PREFIX, name_of};

pub(crate) use base::release;

/// The span of time in which `cpu_max` holds, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// Services of one name at one address, and groups of it that others have.
const NAMESAKES: usize = 1000;

/// Groups of services that have gone while something still runs in them.
type Lingering = Rc<RefCell<Vec<PathBuf>>>;

/// One service's group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    directory: Directory,
    /// Programs that are in it since before the start had no limits for a while, which is
    /// still to be said.
    had_gap: Cell<bool>,
    lingering: Lingering,
}

impl Cgroup {
    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there: somebody else may have removed it.
    pub(crate) fn exists(&self) -> bool {
        self.directory.is_at(&self.path)
    }

    /// Whether it is to be said now that programs had no limits for a while.
    pub(in crate::spawn) fn tell_gap(&self) -> bool {
        self.had_gap.take()
    }

    /// The descriptor with which a child is born into it.
    pub(in crate::spawn) fn descriptor(&self) -> BorrowedFd<'_> {
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
            Err(error) if !needed && error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Else somebody has removed it already, and the name may be another's.
        if self.exists() && !is_removed(&self.path) {
            self.lingering.borrow_mut().push(std::mem::take(&mut self.path));
        }
    }
}

/// All groups of this server.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    /// The group below which they are; found when it is first needed.
    base: Option<PathBuf>,
    /// The group that the server has moved to, if it was in the base itself.
    own: Option<PathBuf>,
    /// A controller has been switched on: what is found had none until then.
    switched_on: bool,
    lingering: Lingering,
}

impl Cgroups {
    /// No groups yet: nothing is looked for before a service asks for limits.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The group of a service, with its limits set; none if it has no limits.
    pub(in crate::spawn) fn prepare(
        &mut self,
        service: &Service,
        limits: GroupLimits,
        before: Option<Rc<Cgroup>>,
    ) -> io::Result<Option<Rc<Cgroup>>> {
        if limits == GroupLimits::default() {
            return Ok(None);
        }
        let base = self.base()?;
        self.switched_on |= base::enable(&base, &mut self.own, limits)?;
        let group = match before.filter(|group| group.exists()) {
            Some(group) => group,
            None => Rc::new(self.make(&base, service)?),
        };
        group.limit(limits)?;
        Ok(Some(group))
    }

    fn base(&mut self) -> io::Result<PathBuf> {
        if let Some(base) = &self.base {
            return Ok(base.clone());
        }
        let base = find()?;
        self.base = Some(base.clone());
        Ok(base)
    }

    /// A new group, or the one that a server before us has left.
    fn make(&self, base: &Path, service: &Service) -> io::Result<Cgroup> {
        let stem = format!("{}{}", PREFIX, name_of(service));
        let names = (2..NAMESAKES).map(|n| format!("{stem}.{n}"));
        for name in std::iter::once(stem.clone()).chain(names) {
            if let Some(group) = self.take(base.join(name))? {
                return Ok(group);
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// None if somebody has it.
    fn take(&self, path: PathBuf) -> io::Result<Option<Cgroup>> {
        loop {
            let made = match fs::create_dir(&path) {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                Err(error) => return Err(about(&path, &error)),
            };
            let directory = match Directory::open(&path) {
                Ok(directory) => directory,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(about(&path, &error)),
            };
            if !directory.is_locked() {
                return Ok(None);
            }
            // Who has had it may have removed it meanwhile.
            if directory.is_at(&path) {
                let had_gap = Cell::new(!made && self.switched_on && is_populated(&path));
                let lingering = Rc::clone(&self.lingering);
                return Ok(Some(Cgroup { path, directory, had_gap, lingering }));
            }
        }
    }

    /// The groups of the server before us, which is the same process.
    pub(crate) fn taken_over(
        base: Option<PathBuf>,
        own: Option<PathBuf>,
        lingering: Vec<PathBuf>,
    ) -> Self {
        let lingering = Rc::new(RefCell::new(lingering));
        Self { base, own, switched_on: false, lingering }
    }

    /// A group that is there already.
    ///
    /// # Errors
    /// open(2)'s.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Rc<Cgroup>> {
        let directory = Directory::open(path)?;
        let lingering = Rc::clone(&self.lingering);
        let had_gap = Cell::new(false);
        Ok(Rc::new(Cgroup { path: path.to_owned(), directory, had_gap, lingering }))
    }

    /// What [`Self::taken_over`] wants.
    pub(crate) fn known(&self) -> (Option<&Path>, Option<&Path>, Vec<PathBuf>) {
        (self.base.as_deref(), self.own.as_deref(), self.lingering.borrow().clone())
    }

    /// Every service has its group: what servers before us have left besides is removed, at
    /// once or when nothing runs in it any more.
    pub(crate) fn look_for_left_over(&mut self) {
        let Ok(base) = self.base() else { return };
        let mut lingering = self.lingering.borrow_mut();
        let known = |path: &PathBuf| lingering.contains(path);
        let found: Vec<PathBuf> =
            groups_of_services(&base).into_iter().filter(|path| !known(path)).collect();
        lingering.extend(found.into_iter().filter(|path| !is_settled(path)));
    }

    /// Whether there are groups that could not be removed yet.
    pub(crate) fn is_untidy(&self) -> bool {
        !self.lingering.borrow().is_empty()
    }

    /// Removes the groups of services that have gone, as far as nothing runs in them.
    pub(crate) fn tidy(&mut self) {
        self.lingering.borrow_mut().retain(|path| !is_settled(path));
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.tidy();
        if let (Some(base), Some(own)) = (&self.base, &self.own) {
            base::give_back(base, own);
        }
    }
}
