//! A process that asks name services, and can be killed when they do not answer.
//!
//! The modules of libc that ask them may hang, or wait ten seconds for each server that is
//! silent; nothing but the end of the process brings them back. Several processes ask at the
//! same time, so that all names together take no longer than one.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

use super::question::{NameAnswer, NameQuestion};
use crate::sys::descriptor::becomes_ready;
use crate::sys::process::{self, WorkerProcess};

/// As many ask at the same time.
const MOST: usize = 64;
/// An answer has less: users have at most some ten thousand groups.
const LARGEST: u32 = 4 << 20;

/// A process that answers one question after the other.
#[derive(Debug)]
pub(super) struct Asker {
    child: WorkerProcess,
    stream: UnixStream,
}

impl Asker {
    /// Begins one.
    ///
    /// # Errors
    /// When the system has no process or no descriptors, or this process has threads.
    pub(super) fn start() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let parent = getpid();
        let child = process::fork_to_run(|copy| {
            // In vain where the parent is gone already.
            if set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != parent {
                return 1;
            }
            copy.keep_only(&theirs);
            log::set_max_level(log::LevelFilter::Off);
            i32::from(answer_all(&theirs).is_err())
        })?;
        Ok(Self { child, stream: ours })
    }

    /// Puts a question, of which the answer is to be taken before the next one.
    fn put(&self, question: &NameQuestion) -> io::Result<()> {
        send(&self.stream, question)
    }

    /// Takes the answer, which has begun to come.
    fn take(&self) -> io::Result<NameAnswer> {
        receive(&self.stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Asks, and waits for so long. None if there is no answer: it cannot be asked again.
    pub(super) fn ask(&self, question: &NameQuestion, time: Duration) -> Option<NameAnswer> {
        self.put(question).ok()?;
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        becomes_ready(&self.stream, PollFlags::POLLIN, time).ok().filter(|ready| *ready)?;
        self.take().ok()
    }
}

impl Drop for Asker {
    /// Whatever it waits for.
    fn drop(&mut self) {
        self.child.end();
    }
}

/// In the process: until nobody asks any more.
fn answer_all(stream: &UnixStream) -> io::Result<()> {
    while let Some(question) = receive::<NameQuestion>(stream)? {
        send(stream, &question.ask())?;
    }
    Ok(())
}

fn send(mut stream: &UnixStream, what: &impl serde::Serialize) -> io::Result<()> {
    let bytes = postcard::to_allocvec(what).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_le_bytes(), bytes.as_slice()].concat())
}

/// None at the end.
fn receive<T: serde::de::DeserializeOwned>(mut stream: &UnixStream) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_le_bytes(length).min(LARGEST);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

/// Asks many questions at the same time, until `by`; hands over each answer as it comes.
/// Those who are silent until then are killed.
pub(super) fn ask_together(
    questions: Vec<NameQuestion>,
    by: Instant,
    mut answered: impl FnMut(NameQuestion, NameAnswer),
) {
    let mut waiting: VecDeque<NameQuestion> = questions.into();
    let mut busy: Vec<(Asker, NameQuestion)> = Vec::new();
    let mut idle: Vec<Asker> = Vec::new();
    loop {
        while busy.len() < MOST
            && let Some(question) = waiting.pop_front()
        {
            let Some(asker) = idle.pop().or_else(|| Asker::start().ok()) else {
                waiting.push_front(question);
                break;
            };
            if asker.put(&question).is_ok() {
                busy.push((asker, question));
            }
        }
        let left = by.saturating_duration_since(Instant::now());
        if busy.is_empty() || left.is_zero() || !some_answer(&busy, left) {
            return;
        }
        for (asker, question) in std::mem::take(&mut busy) {
            if !becomes_ready(&asker.stream, PollFlags::POLLIN, PollTimeout::ZERO).unwrap_or(true) {
                busy.push((asker, question));
            } else if let Ok(answer) = asker.take() {
                answered(question, answer);
                idle.push(asker);
            }
        }
    }
}

/// Waits until one of them answers, or has ended; false if nobody has in that time.
fn some_answer(busy: &[(Asker, NameQuestion)], time: Duration) -> bool {
    let streams =
        busy.iter().map(|(asker, _)| PollFd::new(asker.stream.as_fd(), PollFlags::POLLIN));
    let mut streams: Vec<PollFd<'_>> = streams.collect();
    let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    match poll(&mut streams, time) {
        Ok(count) => count > 0,
        Err(Errno::EINTR) => true,
        Err(_) => false,
    }
}
