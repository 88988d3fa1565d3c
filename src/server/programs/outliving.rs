//! Programs that outlive the server, and the pipes that they have as standard error: with
//! nobody at the other end, their next line would end them (SIGPIPE).
//!
//! So a server that ends leaves a process behind, `oxinetd read-stderr`, which has the
//! reading ends and nothing else: no socket, no file, no lock, a session of its own. What it
//! reads it sends to the system's log, where there is one, and it ends with the last of
//! these programs. It is made when everything is closed that a next server needs, and is
//! waited for until it has let go of the rest. A server that is killed leaves nobody.

mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::unistd::dup2_stdin;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stderr_lines::{PER_SECOND, PER_TURN, PipeFlow, end_line, read_some};
use crate::log::events;
use crate::log::sink::{self, Backlog};
use crate::log::target::LogTarget;
use crate::server::state::StderrState;
use crate::sys::descriptor::set_nonblocking;
use crate::sys::handed;

/// How ps(1) calls it.
const NAME: &str = "oxinetd-stderr";

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
