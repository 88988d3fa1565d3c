//! The process that reads, seen from both sides.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::socket::SockaddrStorage;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, getppid, pipe2};

use super::plan::{RetainedService, plan, withhold_replacements};
use super::steps::{LoadedFinding, Loading, Overview, count_updated, cut, log_files, look_over};
use super::wire::{Receiver, Sender};
use crate::config::lookup::{AwaitedName, seek};
use crate::config::model::{Names, Service};
use crate::config::{self, Loaded};
use crate::sys::descriptor::{of, raise, set_nonblocking};
use crate::sys::process::{self, ForkedCopy, WorkerProcess};

/// How long names that a server waits for are looked up: a resolver asks some name servers,
/// each of them twice, and is silent for five seconds each time.
const SEEKING: Duration = Duration::from_secs(30);

/// How long a reload may read, all in all, and how long the names that a server waits for may
/// be looked up.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Bytes taken from the pipe in one turn: some two hundred services.
const PORTION: usize = 16 * 1024;

/// Bytes written to the pipe at once: all that fits into it.
const BUFFER: usize = 64 * 1024;

/// What the copy ends with when it could not send everything.
const UNSENT: i32 = 1;

/// Reads the first configuration, and waits for it; `served` is what a server before us
/// has served. None if `stop` becomes readable meanwhile: then nobody reads any more.
///
/// # Errors
/// When no process can be made, or it ends too early.
pub(crate) fn load_and_wait(
    load: impl Fn() -> Loaded,
    served: &[Rc<Service>],
    stop: &impl AsFd,
) -> io::Result<Option<Loading>> {
    let (mut loader, pipe) = ReloadWorker::fork(|_, pipe| read_first(pipe, &load, served))?;
    if !loader.take_all(File::from(pipe), stop.as_fd())? {
        return Ok(None);
    }
    loader.reap(WaitPidFlag::WEXITED);
    loader.verdict().map(Some).map_err(io::Error::other)
}

/// Waits for `descriptor` to be readable; false if `stop` is as well, or alone.
fn comes_first(descriptor: &impl AsFd, stop: BorrowedFd<'_>) -> io::Result<bool> {
    // Looked at in this order: a signal that ended the process that reads and was meant
    // for both of us, as a terminal's are, has come here when that end is seen.
    let mut set = [descriptor.as_fd(), stop].map(|it| PollFd::new(it, PollFlags::POLLIN));
    while let Err(error) = poll(&mut set, PollTimeout::NONE) {
        if error != Errno::EINTR {
            return Err(error.into());
        }
    }
    let [_, stop] = set;
    Ok(stop.any() == Some(false))
}

/// A process that reads a configuration for a server that runs.
pub(crate) struct ReloadWorker {
    child: WorkerProcess,
    /// Nonblocking; none where [`load_and_wait`] has it.
    pipe: Option<File>,
    receiver: Receiver,
    ended: Option<WaitStatus>,
    /// Why it has been killed.
    given_up: Option<String>,
}

/// What a look at a [`ReloadWorker`] came to.
pub(crate) enum ReaderProgress {
    /// There may be more to take at once.
    More,
    /// Nothing now; one of its descriptors will be readable.
    Waiting,
    /// It has ended: what it has read, or why that is not known.
    Over(Result<Box<Loading>, String>),
}

impl ReloadWorker {
    /// Begins to read. `served` is asked in the copy: what is served, in order.
    ///
    /// # Errors
    /// When the system has no process or no descriptors.
    pub(crate) fn start(
        load: impl Fn() -> Loaded,
        served: impl FnOnce() -> Vec<Rc<Service>>,
    ) -> io::Result<Self> {
        Self::watched(|copy, pipe| read_again(copy, pipe, &load, served))
    }

    /// Begins to look up names, which come one by one ([`Self::take_names`]) and are all that
    /// there is in the end.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn seek(names: Vec<AwaitedName>) -> io::Result<Self> {
        Self::watched(|copy, pipe| look_up(copy, pipe, names))
    }

    fn watched(work: impl FnOnce(ForkedCopy, OwnedFd) -> i32) -> io::Result<Self> {
        let (mut loader, pipe) = Self::fork(work)?;
        let pipe = raise(pipe);
        set_nonblocking(&pipe)?;
        loader.pipe = Some(File::from(pipe));
        Ok(loader)
    }

    fn fork(work: impl FnOnce(ForkedCopy, OwnedFd) -> i32) -> io::Result<(Self, OwnedFd)> {
        let pipe = pipe2(OFlag::O_CLOEXEC);
        let (reader, writer) = pipe.map_err(of("pipe2, for the process that reads it"))?;
        let server = getpid();
        let child = process::fork_to_run(|copy| {
            // In vain where the server is gone already.
            if set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != server {
                return UNSENT;
            }
            // The server's log is not its business.
            log::set_max_level(log::LevelFilter::Off);
            work(copy, writer)
        })?;
        let child = WorkerProcess { pid: child.pid, pidfd: raise(child.pidfd) };
        let receiver = Receiver::default();
        Ok((Self { child, pipe: None, receiver, ended: None, given_up: None }, reader))
    }

    /// Takes everything there is, to its end and that of the process; false if `stop` is
    /// readable before that.
    fn take_all(&mut self, mut pipe: File, stop: BorrowedFd<'_>) -> io::Result<bool> {
        let mut bytes = vec![0; BUFFER];
        while comes_first(&pipe, stop)? {
            match pipe.read(&mut bytes) {
                Ok(0) => return comes_first(&self.child.pidfd, stop),
                Ok(count) => {
                    let taken = self.receiver.take(bytes.get(..count).unwrap_or_default());
                    taken.map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.pid
    }

    /// What to poll: the pipe and the pidfd.
    pub(crate) fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [self.pipe.as_ref().map(AsFd::as_fd), Some(self.child.pidfd.as_fd())]
    }

    /// Takes what has come, a bounded amount.
    pub(crate) fn turn(&mut self, scratch: &mut [u8]) -> ReaderProgress {
        if self.given_up.is_none()
            && let Some(pipe) = &mut self.pipe
        {
            let most = scratch.len().min(PORTION);
            match pipe.read(scratch.get_mut(..most).unwrap_or_default()) {
                // Its end follows.
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    let bytes = scratch.get(..count).unwrap_or_default();
                    if let Err(why) = self.receiver.take(bytes) {
                        self.give_up(why);
                    }
                    return ReaderProgress::More;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    return ReaderProgress::More;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => self.give_up(format!("read: {error}")),
            }
        }
        // Nothing can come after its end, so this look at the pipe was the last.
        let had_ended = self.ended.is_some();
        self.reap(WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        match (had_ended || self.pipe.is_none() || self.given_up.is_some(), self.ended) {
            (_, None) => ReaderProgress::Waiting,
            (true, Some(_)) => ReaderProgress::Over(self.verdict().map(Box::new)),
            (false, Some(_)) => ReaderProgress::More,
        }
    }

    /// What names are, as far as that has come since it was last asked for.
    pub(crate) fn take_names(&mut self) -> Names {
        self.receiver.take_names()
    }

    /// Kills it. It is over when it has been reaped.
    pub(crate) fn give_up(&mut self, why: String) {
        self.given_up.get_or_insert(why);
        self.kill();
    }

    /// Takes note of its end, if it has ended.
    pub(crate) fn reap_if_ended(&mut self) {
        self.reap(WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
    }

    fn reap(&mut self, flags: WaitPidFlag) {
        if self.ended.is_some() {
            return;
        }
        self.ended = match waitid(Id::Pid(Pid::from_raw(self.child.pid)), flags) {
            Ok(WaitStatus::StillAlive) => None,
            Ok(status) => Some(status),
            // Somebody else has: nobody knows how it ended.
            Err(_) => Some(WaitStatus::Exited(Pid::from_raw(self.child.pid), UNSENT)),
        };
    }

    fn kill(&self) {
        if self.ended.is_none() {
            self.child.kill();
        }
    }

    fn verdict(&mut self) -> Result<Loading, String> {
        if let Some(why) = self.given_up.take() {
            return Err(why);
        }
        match self.ended {
            Some(WaitStatus::Exited(_, 0)) => {
                self.receiver.finish().ok_or_else(|| "something is missing".to_owned())
            }
            Some(WaitStatus::Exited(_, status)) => {
                Err(format!("the process that reads it ended with status {status}"))
            }
            Some(WaitStatus::Signaled(_, signal, _)) => {
                Err(format!("the process that reads it was ended by {signal}"))
            }
            _ => Err("the process that reads it has not ended".to_owned()),
        }
    }
}

impl Drop for ReloadWorker {
    /// It leaves no process behind; one that the kernel holds is gone with the server.
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.child.end();
        }
    }
}

/// In the copy: the first configuration. Right services are sent beside wrong ones.
/// Descriptors stay, since the file may be one (`/dev/fd/63`).
fn read_first(pipe: OwnedFd, load: &dyn Fn() -> Loaded, served: &[Rc<Service>]) -> i32 {
    hear_signals();
    send(pipe, load(), served, true)
}

/// In the copy: what is different. The descriptors are the server's.
fn read_again(
    copy: ForkedCopy,
    pipe: OwnedFd,
    load: &dyn Fn() -> Loaded,
    served: impl FnOnce() -> Vec<Rc<Service>>,
) -> i32 {
    copy.keep_only(&pipe);
    process::give_way();
    hear_signals();
    send(pipe, load(), &served(), false)
}

/// In the copy: what names are. All that the server has is closed, as for reading.
fn look_up(copy: ForkedCopy, pipe: OwnedFd, names: Vec<AwaitedName>) -> i32 {
    copy.keep_only(&pipe);
    process::give_way();
    hear_signals();
    let mut sender = Sender::new(File::from(pipe));
    let mut sent = Ok(());
    seek(names, Instant::now() + SEEKING, |name, known| {
        if sent.is_ok() {
            sent = sender.name(name, known);
        }
    });
    match sent.and_then(|()| sender.send(Loading::default())) {
        Ok(()) => 0,
        Err(_) => UNSENT,
    }
}

/// In the copy: it can be ended as any process can; but what asks a whole group of processes
/// for something else must not end it, nor a name service that has hung up on a module of
/// libc's.
fn hear_signals() {
    let deaf_to = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGPIPE];
    let blocked: SigSet = deaf_to.into_iter().collect();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None);
}

fn send(pipe: OwnedFd, loaded: Loaded, served: &[Rc<Service>], with_errors: bool) -> i32 {
    let loading = compare(loaded, served, with_errors);
    let sender = Sender::new(BufWriter::with_capacity(BUFFER, File::from(pipe)));
    match sender.send(loading) {
        Ok(()) => 0,
        Err(_) => UNSENT,
    }
}

/// What follows from what has been read.
fn compare(loaded: Loaded, served: &[Rc<Service>], with_errors: bool) -> Loading {
    let Loaded { mut config, diagnostics, names } = loaded;
    let errors =
        if with_errors { config::summary(&diagnostics).0 } else { config::refusing(&diagnostics) };
    let mut findings: Vec<LoadedFinding> = diagnostics.iter().map(LoadedFinding::of).collect();
    let services = config.services.len();
    if errors > 0 && !with_errors {
        return Loading { findings, errors, services, ..Loading::default() };
    }
    withhold_replacements(served, &mut config);
    let plan = plan(served, &config);
    // After an upgrade nobody knows what a service was.
    if !with_errors {
        let goes_on =
            |held: &RetainedService| LoadedFinding::goes_on(held.old, &held.service.label);
        findings.extend(plan.held.iter().map(goes_on));
    }
    Loading {
        findings,
        errors,
        services,
        log_files: log_files(&config, &plan),
        updated: count_updated(&plan),
        overview: Overview { broadcasts: broadcast_addresses(), ..look_over(&config, &plan) },
        steps: cut(served, config, &plan),
        names,
    }
}

/// The directed broadcast addresses of this machine's networks. Where an address has been given
/// without one, the system tells itself in its place.
fn broadcast_addresses() -> Vec<Ipv4Addr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let v4 = |address: SockaddrStorage| address.as_sockaddr_in().map(|v4| v4.ip());
    let broadcast = |interface: nix::ifaddrs::InterfaceAddress| {
        let own = interface.address.and_then(v4);
        interface.broadcast.and_then(v4).filter(|all| Some(*all) != own)
    };
    interfaces.filter_map(broadcast).collect()
}
