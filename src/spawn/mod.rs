//! Starting programs: one path for every way a service can start one.
//!
//! [`Prepared`] is made at load; [`Spawner::spawn`] turns it and a socket into a
//! running child without waiting for it. [`kernel`] holds the child's own code.

mod confinement;
pub mod environment;
pub mod group;
pub mod kernel;
mod prepared;
mod ruleset;
mod stage;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::config::model::StderrTo;
use crate::descriptor::{LOWEST, low_copy, raise, set_nonblocking};
pub use confinement::{Confinement, Refusal};
use environment::Connection;
use kernel::{Block, Numbers, RECORD};
pub use prepared::{HasNul, Prepared, ServerFacts};
pub use stage::Stage;

/// Children that may be between clone and exec at once, sharing our memory; more
/// than that and the surplus is forked.
const BLOCKS: usize = 32;

/// How children are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Sharing memory until exec where the kernel can; the surplus forked.
    Sharing,
    /// Plain fork.
    Forking,
}

/// A child that has been started.
#[derive(Debug)]
pub struct Started {
    /// Its process id.
    pub pid: i32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
    /// What it writes to standard error, nonblocking; none unless that is logged.
    pub stderr: Option<OwnedFd>,
}

/// A child could not be made.
#[derive(Debug)]
pub struct NotStarted {
    /// What the system answered.
    pub error: io::Error,
    /// What the child would have got.
    pub socket: OwnedFd,
}

impl NotStarted {
    /// Whether the same may succeed when other programs have ended.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let passing = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::ENOBUFS];
        self.error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
    }
}

/// Why a child ended before it became the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed.
    pub stage: Stage,
    /// What the system answered.
    pub errno: i32,
}

/// Our copies of the descriptors that a child is given: socket, standard error, ruleset.
type Given = (OwnedFd, Option<OwnedFd>, Option<OwnedFd>);

/// A child on its way to exec, and our copies of what it was given.
struct InFlight {
    pid: i32,
    block: Block,
    ours: Option<Given>,
}

/// Makes children.
pub struct Spawner {
    way: Way,
    idle: Vec<Block>,
    /// Blocks made so far that share; at most [`BLOCKS`].
    blocks: usize,
    in_flight: Vec<InFlight>,
    forking: Block,
    null: OwnedFd,
    failure: OwnedFd,
    failure_reader: File,
    /// That of the program before us, to which children on their way may still write.
    earlier_reader: Option<File>,
    failures: HashMap<i32, Failure>,
    patience: Duration,
}

impl Spawner {
    /// A spawner; to be made before any other descriptor is opened, so that the
    /// failure pipe has the lowest number of the server's own.
    ///
    /// # Errors
    /// When the system has no descriptors or no memory.
    pub fn new(way: Way) -> io::Result<Self> {
        let way = if kernel::can_share() { way } else { Way::Forking };
        let (reader, failure) = pipe2(OFlag::O_CLOEXEC)?;
        // A child's stdio must come from above 2, whatever the server was started with.
        let failure = kernel::duplicate_from(&failure, LOWEST)?;
        let reader = raise(reader);
        set_nonblocking(&reader)?;
        // Only a failing child writes to it, and must not wait for us.
        set_nonblocking(&failure)?;
        let null = File::options().read(true).write(true).open("/dev/null").map_err(|error| {
            // A container or a chroot may lack it.
            io::Error::new(error.kind(), format!("/dev/null: {error}"))
        })?;
        Ok(Self {
            way,
            idle: Vec::new(),
            blocks: 0,
            in_flight: Vec::new(),
            forking: Block::new()?,
            null: kernel::duplicate_from(&null, LOWEST)?,
            failure,
            failure_reader: File::from(reader),
            earlier_reader: None,
            failures: HashMap::new(),
            patience: PATIENCE,
        })
    }

    /// How children are made, after a look at what the kernel can do.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// Starts the program with `socket` on 0 and 1. Does not wait for it: a failure
    /// between here and exec is known when the child has been reaped ([`Self::failure_of`]).
    ///
    /// # Errors
    /// When no pipe or no process can be made; gives the socket back.
    pub fn spawn(
        &mut self,
        prepared: &Rc<Prepared>,
        socket: OwnedFd,
        connection: &Connection,
    ) -> Result<Started, NotStarted> {
        self.settle();
        let (reader, writer) = match stderr_pipe(prepared.stderr) {
            Ok(pipe) => pipe.unzip(),
            Err(error) => return Err(NotStarted { error, socket }),
        };
        let stderr = match prepared.stderr {
            StderrTo::Log => writer.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            StderrTo::Socket => socket.as_raw_fd(),
            StderrTo::Null => self.null.as_raw_fd(),
        };
        // A low number, as the socket has, so that the child's table stays small.
        let ruleset = prepared.confinement.ruleset.as_ref();
        let ruleset = match ruleset.map(low_copy).transpose() {
            Ok(ruleset) => ruleset,
            Err(error) => return Err(NotStarted { error, socket }),
        };
        let numbers = Numbers {
            socket: socket.as_raw_fd(),
            stderr,
            failure: self.failure.as_raw_fd(),
            ruleset: ruleset.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        };
        let made = match self.idle_block(prepared) {
            Some(block) => {
                self.share(block, prepared, numbers, connection, (socket, writer, ruleset))?
            }
            None => match self.fork(prepared, numbers, connection) {
                Ok(made) => made,
                Err(error) => return Err(NotStarted { error, socket }),
            },
        };
        Ok(Started { pid: made.pid, pidfd: raise(made.pidfd), stderr: reader })
    }

    fn share(
        &mut self,
        mut block: Block,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
        connection: &Connection,
        ours: Given,
    ) -> Result<kernel::Made, NotStarted> {
        let made = block
            .environment()
            .map(|variables| environment::fill(variables, prepared, connection))
            .and_then(|()| block.start_sharing(prepared, numbers));
        match made {
            Ok(made) => {
                self.in_flight.push(InFlight { pid: made.pid, block, ours: Some(ours) });
                self.patience = PATIENCE;
                Ok(made)
            }
            Err(error) => {
                self.idle.push(block);
                Err(NotStarted { error, socket: ours.0 })
            }
        }
    }

    fn fork(
        &mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
        connection: &Connection,
    ) -> io::Result<kernel::Made> {
        environment::fill(self.forking.environment()?, prepared, connection);
        self.forking.start_forking(prepared, numbers)
    }

    /// A block for a child that shares; none when forking is the way, or all are busy.
    ///
    /// None either for a program in a group of processes: when its memory runs out,
    /// the kernel kills a process of the group and every process that shares its
    /// memory, wherever that is. Before exec, that would be the server.
    fn idle_block(&mut self, prepared: &Prepared) -> Option<Block> {
        if self.way == Way::Forking || prepared.confinement.group.is_some() {
            return None;
        }
        if let Some(block) = self.idle.pop() {
            return Some(block);
        }
        if self.blocks >= BLOCKS {
            return None;
        }
        let block = Block::new().ok()?;
        self.blocks = self.blocks.saturating_add(1);
        Some(block)
    }

    /// Closes our copies of what children have taken over and takes back the blocks
    /// of those that have exec'd. Cheap; called every turn of the loop.
    pub fn settle(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let mut at = 0;
        while let Some(child) = self.in_flight.get_mut(at) {
            if child.ours.is_some() && child.block.has_unshared() {
                child.ours = None;
            }
            if child.block.is_busy() {
                at = at.saturating_add(1);
            } else {
                let done = self.in_flight.swap_remove(at);
                self.idle.push(done.block);
            }
        }
    }

    /// Whether no child shares our memory any more.
    #[must_use]
    pub fn is_settled(&mut self) -> bool {
        self.settle();
        self.in_flight.is_empty()
    }

    /// What is known of children that have failed and are not reaped yet.
    pub fn failures(&mut self) -> impl Iterator<Item = (i32, Failure)> {
        self.read_failures();
        self.failures.iter().map(|(pid, failure)| (*pid, *failure))
    }

    /// Where the failures of children that were forked are read.
    #[must_use]
    pub fn failure_reader(&self) -> &impl AsRawFd {
        &self.failure_reader
    }

    /// Goes on with what another knew, and will be told.
    pub fn take_over(
        &mut self,
        failures: impl Iterator<Item = (i32, Failure)>,
        reader: Option<OwnedFd>,
    ) {
        self.failures.extend(failures);
        self.earlier_reader = reader.map(File::from);
    }

    /// How long the loop may sleep before it calls [`Self::settle`] again: a client
    /// must not wait for its end of file because we still hold a copy. Milliseconds,
    /// doubling while nothing changes, none when nothing is held.
    pub fn patience(&mut self) -> Option<Duration> {
        if self.in_flight.iter().all(|child| child.ours.is_none()) {
            return None;
        }
        let now = self.patience;
        self.patience = now.saturating_mul(2).min(Duration::from_secs(1));
        Some(now)
    }

    /// To be told when a child has been reaped: its block is free whatever it says.
    pub fn reaped(&mut self, pid: i32) {
        self.settle();
        // Still there only if it died dumping core.
        if let Some(child) = self.in_flight.iter_mut().find(|child| child.pid == pid) {
            child.block.release_if_gone(pid);
            self.settle();
        }
    }

    /// Why a child that has been reaped with status [`kernel::FAILED`] did not
    /// become its program; none if that is the program's own status.
    pub fn failure_of(&mut self, pid: i32) -> Option<Failure> {
        self.read_failures();
        self.failures.remove(&pid)
    }

    fn read_failures(&mut self) {
        let mut record = [0u8; RECORD];
        let readers = self.earlier_reader.iter_mut().chain([&mut self.failure_reader]);
        for reader in readers {
            // Writes of one record are atomic, so no read returns a part of one.
            while let Ok(RECORD) = reader.read(&mut record) {
                let [a, b, c, d, e, f, g, h, i, j, k, l] = record;
                if let Some(stage) = Stage::from_number(u32::from_ne_bytes([e, f, g, h])) {
                    let failure = Failure { stage, errno: i32::from_ne_bytes([i, j, k, l]) };
                    self.failures.insert(i32::from_ne_bytes([a, b, c, d]), failure);
                }
            }
        }
    }
}

/// The reader and the writer of a program's standard error, if it is logged.
fn stderr_pipe(to: StderrTo) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    if to != StderrTo::Log {
        return Ok(None);
    }
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let reader = raise(reader);
    set_nonblocking(&reader)?;
    Ok(Some((reader, writer)))
}

/// First patience: about the time in which a child gets a processor.
const PATIENCE: Duration = Duration::from_millis(1);
