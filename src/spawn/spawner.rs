//! Whoever makes children, with what it keeps for them: slots, channels and a pipe for those
//! that fail. What is made ahead and what is heard of failures have files of their own.

mod ahead;
mod failures;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::unistd::{Uid, pipe2};

use super::channel::Channel;
use super::child::{self, ChildSlot, NotMade, Running, Settled};
use super::dumpable::{Dumpable, Memory};
use super::environment::{self, ConnectionEnvironment};
use super::error::{NotStarted, SpawnError};
use super::numbers::Numbers;
use super::pipe::{PipePair, new_stderr_pipe};
use super::pool::Pool;
use super::preforked::Spares;
use super::prepared::Prepared;
use super::stage::Failure;
use super::stub::Stubs;
use crate::config::model::StderrTo;
use crate::sys::descriptor::{LOWEST, of, raise, set_nonblocking};
use crate::sys::fd;
use crate::sys::process;

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
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::config::model::{Action, Program, Service};
    use crate::spawn::prepared::ServerFacts;
    use crate::spawn::sandbox::Confinement;
    use crate::spawn::stage::Stage;
    use crate::sys::capabilities::Own;

    fn prepared(path: &str) -> Rc<Prepared> {
        let program = Program { path: path.into(), argv: vec!["any".into()] };
        let service = Service::unwritten("any", Action::Program(program.clone()));
        let server = ServerFacts {
            nofile: None,
            nice: 0,
            umask: 0o022,
            groups: Vec::new(),
            ids: (None, None),
            capabilities: Own::default(),
            in_root: true,
            environment: Vec::new(),
            last: RefCell::default(),
        };
        Rc::new(Prepared::new(&service, &program, &server, Confinement::in_group(None)).unwrap())
    }

    #[test]
    fn one_service_cannot_have_all_slots() {
        let (greedy, other) = (prepared("/bin/cat"), prepared("/bin/date"));
        let all = |count| std::iter::repeat_n(&greedy, count).chain([&other]);
        assert!(!are_a_share(all(PER_SERVICE - 1), &greedy));
        assert!(are_a_share(all(PER_SERVICE), &greedy));
        assert!(!are_a_share(all(PER_SERVICE), &other));
    }

    #[test]
    fn who_has_said_why_it_failed_and_was_killed_is_not_heard_of_again() {
        let mut spawner = Spawner::new(Way::Forking).unwrap();
        let said = Failure { stage: Stage::Exec, errno: libc::ENOENT };
        spawner.take_over([(7, said), (8, said)].into_iter(), None);
        spawner.forget_failure(7);
        assert_eq!(spawner.failure_of(7), None, "the next one with this pid");
        assert_eq!(spawner.failure_of(8), Some(said));
    }
}
