//! Starting programs: one path for every way a service can start one.
//!
//! [`Prepared`] is made at load; [`Spawner::spawn`] turns it and a socket into a
//! running child without waiting for it. [`child`] holds the child's own code.

#[forbid(unsafe_code)]
mod ahead;
#[forbid(unsafe_code)]
mod channel;
pub(crate) mod child;
#[forbid(unsafe_code)]
mod dumpable;
#[forbid(unsafe_code)]
pub(crate) mod environment;
#[forbid(unsafe_code)]
mod failures;
#[forbid(unsafe_code)]
mod numbers;
#[forbid(unsafe_code)]
mod pipe;
#[forbid(unsafe_code)]
mod pool;
#[forbid(unsafe_code)]
mod preforked;
#[forbid(unsafe_code)]
mod prepared;
#[forbid(unsafe_code)]
pub(crate) mod sandbox;
#[forbid(unsafe_code)]
mod stage;
#[forbid(unsafe_code)]
mod steps;
#[forbid(unsafe_code)]
pub(crate) mod stub;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::unistd::{Uid, pipe2};

use crate::config::model::StderrTo;
use crate::sys::descriptor::{LOWEST, of, raise, set_nonblocking};
use crate::sys::fd;
use crate::sys::process;
use channel::Channel;
use child::{ChildSlot, NotMade, Running, Settled};
use dumpable::{Dumpable, Memory};
use environment::ConnectionEnvironment;
pub(crate) use numbers::Numbers;
use pipe::{PipePair, new_stderr_pipe};
use pool::Pool;
use preforked::Spares;
pub(crate) use prepared::{Prepared, ServerFacts};
pub(crate) use sandbox::{Confinement, SandboxRefusal};
pub(crate) use stage::{Failure, Stage};
use stub::Stubs;

/// Children that may be between clone and exec at once, sharing our memory; more
/// than that and the surplus is forked, which costs several times as much. 64 clients who
/// come at once need as many; far more would only crowd each other out of the caches.
const SLOTS: usize = 128;

/// Of them one service may have so many: its user may stop its children before they exec.
const PER_SERVICE: usize = SLOTS - SLOTS / 4;

/// Channels at most, each of which costs two descriptors. Without one, a child begins with a
/// copy of our table: 64 clients who come at once, where there are many, need as many.
const CHANNELS: usize = 64;

/// How children are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Sharing memory until exec where the kernel can; the surplus forked.
    Sharing,
    /// Plain fork.
    Forking,
    /// As `Sharing`, but whoever changes its user is given nothing of our memory.
    Apart,
}

/// The table of descriptors that a child begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DescriptorTable {
    /// A copy of ours: the cheapest way as long as we have few.
    Own,
    /// Ours, until the child has copied the lower end of it; what it is given is sent.
    Ours,
}

/// A child that has been started.
#[derive(Debug)]
pub(crate) struct Started {
    /// Its process id.
    pub pid: i32,
    /// What it writes to standard error; none unless that is logged.
    pub stderr: Option<OwnedFd>,
    /// Our copy of what it has got.
    pub socket: OwnedFd,
}

/// Why no child can be made.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// The system's answer.
    System(io::Error),
    /// The same for one in the service's group of processes, which may be full: that need
    /// not be so of the machine.
    InGroup(io::Error),
    /// It would need a fresh process, and the system has not told us which program we are.
    NoImage,
}

impl From<io::Error> for SpawnError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::System(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::InGroup(error) => write!(f, "in the service's cgroup: {error}"),
            Self::NoImage => f.write_str(
                "fs.suid_dumpable is not known to be 0 or 2, and without /proc the server cannot \
                 execute itself",
            ),
        }
    }
}

/// A child could not be made.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// Why.
    pub error: SpawnError,
    /// What the child would have got.
    pub socket: OwnedFd,
}

impl NotStarted {
    /// Whether the same may succeed when other programs have ended.
    #[must_use]
    pub(crate) fn may_pass(&self) -> bool {
        let passing = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::ENOBUFS];
        let SpawnError::System(error) = &self.error else { return false };
        error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
    }
}

/// Makes children.
pub(crate) struct Spawner {
    way: Way,
    can_share: bool,
    is_root: bool,
    dumpable: Dumpable,
    stubs: Stubs,
    slots: Pool<ChildSlot>,
    channels: Pool<Channel>,
    in_flight: Vec<ChildSlot<Running>>,
    spares: Spares,
    forking: ChildSlot,
    null: OwnedFd,
    failure: OwnedFd,
    failure_reader: File,
    /// For the standard error of the next program.
    next_pipe: Option<PipePair>,
    needs_pipe: bool,
    /// That of the program before us, to which children on their way may still write.
    earlier_reader: Option<File>,
    failures: HashMap<i32, Failure>,
}

impl Spawner {
    /// A spawner; to be made before any other descriptor is opened, so that the
    /// failure pipe has the lowest number of the server's own.
    ///
    /// # Errors
    /// When the system has no descriptors or no memory.
    pub(crate) fn new(way: Way) -> io::Result<Self> {
        // What emulates a processor does not know children that share our memory.
        let can_share =
            child::can_share() && way != Way::Forking && !process::has_threads_of_others();
        let (reader, failure) =
            pipe2(OFlag::O_CLOEXEC).map_err(of("pipe2, for children that fail"))?;
        // First, since it may have the number that the other is to have.
        let reader = raise(reader);
        // A child's stdio must come from above 2, whatever the server was started with.
        let failure = fd::duplicate_from(&failure, LOWEST)?;
        set_nonblocking(&reader)?;
        // Only a failing child writes to it, and must not wait for us.
        set_nonblocking(&failure)?;
        let null = File::options().read(true).write(true).open("/dev/null").map_err(|error| {
            // A container or a chroot may lack it.
            io::Error::new(error.kind(), format!("/dev/null: {error}"))
        })?;
        Ok(Self {
            way: if can_share || way == Way::Apart { way } else { Way::Forking },
            can_share,
            is_root: Uid::effective().is_root(),
            dumpable: Dumpable::open(way == Way::Apart),
            stubs: Stubs::new(),
            slots: Pool::new(SLOTS),
            channels: Pool::new(CHANNELS),
            in_flight: Vec::new(),
            spares: Spares::default(),
            forking: ChildSlot::new().map_err(of("mmap, for a child's stack"))?,
            null: fd::duplicate_from(&null, LOWEST)?,
            failure,
            failure_reader: File::from(reader),
            next_pipe: None,
            needs_pipe: false,
            earlier_reader: None,
            failures: HashMap::new(),
        })
    }

    /// How children are made, after a look at what the kernel can do.
    #[must_use]
    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// Starts the program with `socket` on 0 and 1. Does not wait for it: a failure
    /// between here and exec is known when the child has been reaped ([`Self::failure_of`]).
    ///
    /// # Errors
    /// When no pipe or no process can be made; gives the socket back.
    pub(crate) fn spawn(
        &mut self,
        prepared: &Rc<Prepared>,
        socket: OwnedFd,
        connection: &ConnectionEnvironment,
        table: DescriptorTable,
    ) -> Result<Started, NotStarted> {
        self.settle();
        let (reader, writer) = match self.stderr_pipe(prepared.stderr) {
            Ok(pipe) => pipe.unzip(),
            Err(error) => return Err(NotStarted { error: error.into(), socket }),
        };
        let stderr = match prepared.stderr {
            StderrTo::Log => writer.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            StderrTo::Socket => socket.as_raw_fd(),
            StderrTo::Null => self.null.as_raw_fd(),
        };
        let ruleset = prepared.confinement.ruleset.as_ref();
        let numbers = Numbers {
            socket: socket.as_raw_fd(),
            stderr,
            failure: self.failure.as_raw_fd(),
            ruleset: ruleset.map_or(-1, AsRawFd::as_raw_fd),
        };
        match self.make(prepared, numbers, connection, table) {
            Ok(pid) => Ok(Started { pid, stderr: reader, socket }),
            Err(error) => Err(NotStarted { error, socket }),
        }
    }

    fn make(
        &mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
        connection: &ConnectionEnvironment,
        table: DescriptorTable,
    ) -> Result<i32, SpawnError> {
        self.spares.count_start();
        let memory = self.memory_for(prepared);
        if memory == Memory::Shared {
            if let Some(pid) = self.send_spare(prepared, numbers, connection) {
                return Ok(pid);
            }
            if !self.has_its_share(prepared)
                && let Some(slot) = self.slots.take(ChildSlot::new)
            {
                return self.share(slot, prepared, numbers, connection, table);
            }
        }
        let variables = self.forking.environment();
        environment::fill(variables, prepared, connection);
        if memory == Memory::Fresh {
            return self.stubs.start(prepared, numbers, variables);
        }
        self.forking.start_forking(prepared, numbers)
    }

    /// Whether a service has as many slots as one may. Looked at only when that many are in
    /// use.
    fn has_its_share(&self, prepared: &Rc<Prepared>) -> bool {
        let others = self.in_flight.iter().filter_map(ChildSlot::prepared);
        self.in_flight.len() >= PER_SERVICE && are_a_share(others, prepared)
    }

    fn share(
        &mut self,
        mut slot: ChildSlot,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
        connection: &ConnectionEnvironment,
        table: DescriptorTable,
    ) -> Result<i32, SpawnError> {
        let channel =
            (table == DescriptorTable::Ours).then(|| self.channels.take(Channel::new)).flatten();
        environment::fill(slot.environment(), prepared, connection);
        match slot.start_sharing(prepared, numbers, channel) {
            Ok(child) => {
                let pid = child.pid();
                self.in_flight.push(child);
                Ok(pid)
            }
            Err(NotMade { error, settled }) => {
                self.take_back(settled);
                Err(error.into())
            }
        }
    }

    /// For the next child.
    fn take_back(&mut self, Settled { slot, channel }: Settled) {
        if let Some(channel) = channel {
            self.channels.give_back_by(channel, Channel::theirs);
        }
        self.slots.give_back(slot);
    }

    /// The reader and the writer of a program's standard error, if it is logged.
    fn stderr_pipe(&mut self, to: StderrTo) -> io::Result<Option<PipePair>> {
        if to != StderrTo::Log {
            return Ok(None);
        }
        self.needs_pipe = true;
        let is_root = self.is_root;
        self.next_pipe.take().map_or_else(|| new_stderr_pipe(is_root), Ok).map(Some)
    }

    /// What of our memory a child may begin with. What the kernel allows is asked for those
    /// only who change their user; it shares ours unless forking is the way.
    ///
    /// Nor is ours shared with a program in a group of processes: when its memory runs out,
    /// the kernel kills a process of the group and every process that shares its memory,
    /// wherever that is. Before exec, that would be the server.
    fn memory_for(&self, prepared: &Prepared) -> Memory {
        let changes = prepared.steps.change_user();
        let allowed = if changes { self.dumpable.allows() } else { Memory::Shared };
        let shares = self.can_share && prepared.confinement.group.is_none();
        if allowed == Memory::Shared && !shares { Memory::Copied } else { allowed }
    }

    /// Takes back the slots of children that have exec'd. Cheap; called every turn of
    /// the loop.
    pub(crate) fn settle(&mut self) {
        self.failures.extend(self.stubs.settle());
        let mut at = 0;
        while let Some(child) = self.in_flight.get(at) {
            if child.is_busy() {
                at = at.saturating_add(1);
                continue;
            }
            match self.in_flight.swap_remove(at).settle() {
                Ok(settled) => self.take_back(settled),
                Err(child) => self.in_flight.push(child),
            }
        }
    }

    /// Gives back to the system what children have used of our memory, where none uses it
    /// now, and of its own for them.
    pub(crate) fn release_memory(&mut self) {
        self.settle();
        self.channels.empty();
        self.slots.idle().for_each(ChildSlot::release_memory);
        self.forking.release_memory();
    }

    /// Whether no child shares our memory any more; spares are let go for that.
    #[must_use]
    pub(crate) fn is_settled(&mut self) -> bool {
        self.let_spares_go();
        self.reap_spares();
        self.settle();
        self.in_flight.is_empty() && self.spares.are_none() && self.stubs.are_none()
    }

    /// To be told when a child has been reaped: its slot is free whatever it says.
    pub(crate) fn reaped(&mut self, pid: i32) {
        self.settle();
        // Still there only if it died dumping core.
        if let Some(child) = self.in_flight.iter().find(|child| child.pid() == pid) {
            child.release_if_gone();
            self.settle();
        }
    }
}

/// Whether as many of these become this program as may of one service.
fn are_a_share<'a>(all: impl Iterator<Item = &'a Rc<Prepared>>, prepared: &Rc<Prepared>) -> bool {
    all.filter(|other| Rc::ptr_eq(other, prepared)).count() >= PER_SERVICE
}

#[cfg(test)]
mod tests;
