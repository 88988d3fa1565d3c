//! Programs that outlive the server, and the pipes that they have as standard error: with
//! nobody at the other end, their next line would end them (SIGPIPE).
//!
//! So a server that ends leaves a process behind, `oxinetd read-stderr`, which has the
//! reading ends and nothing else: no socket, no file, no lock, a session of its own. What it
//! reads it sends to the system's log, where there is one, and it ends with the last of
//! these programs. It is made when everything is closed that a next server needs, and is
//! waited for until it has let go of the rest. A server that is killed leaves nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve, pipe2, setsid};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stderr_lines::{PER_SECOND, PER_TURN, PipeFlow, end_line, read_some};
use crate::log::events;
use crate::log::sink::{self, Backlog};
use crate::log::target::LogTarget;
use crate::server::Server;
use crate::server::state::StderrState;
use crate::sys::descriptor::{becomes_ready, set_nonblocking};
use crate::sys::{fd, handed, process};

/// The command that it is.
const COMMAND: &str = "read-stderr";

/// How ps(1) calls it.
const NAME: &str = "oxinetd-stderr";

/// Milliseconds that it may take to let go of what was ours.
const PATIENCE: u16 = 5_000;

/// How soon it is looked again at a program that has written more than it may in a second.
const NAP: Duration = Duration::from_millis(100);

/// How soon a system log that takes nothing is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What is sent to it.
#[derive(Debug, Serialize, Deserialize)]
struct ReaderMessage {
    /// How lines are written.
    json: bool,
    /// The facility and the socket of the system's log.
    log: (u8, PathBuf),
    /// Their descriptors.
    descriptors: BTreeSet<RawFd>,
    /// Each as it is here ([`StderrState`]).
    pipes: Vec<Value>,
}

impl Server {
    /// At the end: leaves a reader to the programs that run on.
    pub(in crate::server) fn leave_reader(&mut self) {
        // Nobody outlives process 1.
        if std::process::id() == 1 {
            return;
        }
        for key in self.programs.stderr.keys() {
            self.read_last(key);
        }
        let states = self.programs.stderr.iter().map(|(_, state)| state);
        let pipes: Vec<Value> = states.flat_map(serde_json::to_value).collect();
        if pipes.is_empty() {
            return;
        }
        let descriptors = handed::written().into_iter().collect();
        let (json, log) = (events::is_json(), sink::system_log());
        let program = self.upgrading.image.path();
        if let Err(error) = leave(&ReaderMessage { json, log, descriptors, pipes }, program) {
            events::trouble("stderr", COMMAND, &error);
        }
    }
}

/// Makes the process, and waits until nothing of ours is its own.
fn leave(reading: &ReaderMessage, program: &Path) -> io::Result<()> {
    let file = File::from(memfd_create(c"oxinetd", MFdFlags::MFD_CLOEXEC)?);
    serde_json::to_writer(&file, reading)?;
    io::Seek::rewind(&mut &file)?;
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // What runs, which may be on the disk no more; or what is there, without /proc.
    let programs = [c"/proc/self/exe".to_owned(), CString::new(program.as_os_str().as_bytes())?];
    let arguments = [CString::new("oxinetd")?, CString::new(COMMAND)?];
    let environment = environment()?;
    process::fork_to_run(|_| {
        // Executing closes it. A byte says why that was not to be.
        let mut writer = File::from(writer);
        let error = become_reader(&file, reading, || {
            let attempts = programs.iter().map(|it| execve(it, &arguments, &environment).err());
            attempts.flatten().last().unwrap_or(Errno::ENOENT)
        });
        let number = error.raw_os_error().and_then(|it| u8::try_from(it).ok());
        let _ = writer.write_all(&[number.unwrap_or_default()]);
        process::FAILED
    })?;
    becomes_ready(&reader, PollFlags::POLLIN, PollTimeout::from(PATIENCE))?;
    set_nonblocking(&reader)?;
    let mut why = [0];
    match File::from(reader).read(&mut why) {
        Ok(1..) => Err(io::Error::from_raw_os_error(why.map(i32::from)[0])),
        _ => Ok(()),
    }
}

/// Its time zone, and what it is to log.
fn environment() -> io::Result<Vec<CString>> {
    let names = ["TZ", "RUST_LOG"].into_iter();
    let set = names.filter_map(|name| Some((name, std::env::var_os(name)?)));
    let variable = |(name, value): (&str, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
    };
    Ok(set.map(variable).collect::<Result<_, _>>()?)
}

/// In the copy of this process: executes the program anew, small and with nothing but the
/// pipes; comes back only if that fails.
fn become_reader(
    file: &File,
    reading: &ReaderMessage,
    execute: impl FnOnce() -> Errno,
) -> io::Error {
    let attempt = || -> io::Result<io::Error> {
        setsid()?;
        std::env::set_current_dir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(file)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        for number in &reading.descriptors {
            fd::set_close_on_exec(*number, false)?;
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(execute().into())
    };
    attempt().unwrap_or_else(|error| error)
}

/// `oxinetd read-stderr`: what a server has left to it is on standard input.
///
/// # Errors
/// What is wrong with that, or what the system lacks.
pub(crate) fn read_for_others() -> io::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let reading: ReaderMessage = serde_json::from_slice(&bytes)?;
    dup2_stdin(File::open("/dev/null")?)?;
    // For people to read, and nothing else.
    let _ = std::fs::write("/proc/self/comm", NAME);
    handed::offer(reading.descriptors);
    let mut reader = SurvivorReader::new(reading.pipes)?;
    start_log(reading.json, reading.log)?;
    reader.run()?;
    sink::let_go();
    Ok(())
}

fn start_log(json: bool, (facility, socket): (u8, PathBuf)) -> io::Result<()> {
    if json {
        events::use_json();
    }
    // A daemon that is being started anew is waited for.
    let is_there = socket.exists();
    sink::start(&LogTarget::Syslog { facility, socket }, "info")?;
    sink::hold();
    if !is_there {
        log::set_max_level(log::LevelFilter::Off);
    }
    Ok(())
}

/// All pipes, by the place they had.
struct SurvivorReader {
    poll: Poll,
    pipes: BTreeMap<usize, StderrState>,
    /// Those that may have more.
    queue: Vec<usize>,
    scratch: Vec<u8>,
}

impl SurvivorReader {
    fn new(pipes: Vec<Value>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut states = BTreeMap::new();
        for (place, pipe) in pipes.into_iter().enumerate() {
            let state = StderrState { registered: true, ..serde_json::from_value(pipe)? };
            set_nonblocking(&state.pipe)?;
            let mut source = SourceFd(&state.pipe.as_raw_fd());
            poll.registry().register(&mut source, Token(place), Interest::READABLE)?;
            states.insert(place, state);
        }
        let queue = states.keys().copied().collect();
        Ok(Self { poll, pipes: states, queue, scratch: vec![0; PER_TURN] })
    }

    /// Reads until the last pipe has come to its end.
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            self.read_queued();
            sink::flush();
            if self.pipes.is_empty() {
                return Ok(());
            }
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => result?,
            }
            self.queue.extend(events.iter().map(|event| event.token().0));
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let may_write =
            |place: &usize| self.pipes.get(place).is_some_and(|it| it.read < PER_SECOND);
        match sink::backlog() {
            _ if self.queue.iter().any(may_write) => Some(Duration::ZERO),
            _ if !self.queue.is_empty() => Some(NAP),
            Backlog::Nothing => None,
            Backlog::Few | Backlog::Many => Some(RETRY),
        }
    }

    /// A bounded amount of each, as the server reads it.
    fn read_queued(&mut self) {
        let now = Instant::now();
        self.queue.sort_unstable();
        self.queue.dedup();
        for place in std::mem::take(&mut self.queue) {
            let Some(state) = self.pipes.get_mut(&place) else { continue };
            if now.saturating_duration_since(state.since) >= Duration::from_secs(1) {
                (state.since, state.read) = (now, 0);
            }
            if state.read >= PER_SECOND {
                self.queue.push(place);
                continue;
            }
            match read_some(state, &mut self.scratch) {
                PipeFlow::Drained => {}
                PipeFlow::More => self.queue.push(place),
                PipeFlow::End => {
                    end_line(state);
                    // Closing it ends its registration: nobody else has it.
                    self.pipes.remove(&place);
                }
            }
        }
    }
}
