//! The stub: a fresh process that changes its user and becomes a program, where that user
//! could look into a copy of the server (see `dumpable`).
//!
//! The server forks, and the copy, which is still root, does nothing but execute the
//! server's own program again, under the name [`NAME`]. What that is to do is in a sealed
//! file in memory: the steps of one program, its arguments and its environment, and nothing
//! of another's. They are the same steps, done by the same code, as in every other child.
//!
//! The user who looks into it finds what is its own anyway once the program runs. It has
//! four descriptors: the program's three, and a pipe for its failure, which is its own, so
//! that nothing can be said there of another's child. Everything that the service takes away
//! from the program (capabilities, paths, limits, privileges of set-user-ID programs) is
//! gone before the user changes.
//!
//! Whoever executes the program under that name himself can have it do what he may do.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::child::stub;
use super::environment::Environment;
use super::error::SpawnError;
use super::numbers::Numbers;
use super::pipe::new_pipe;
use super::prepared::{Pointers, Prepared};
use super::stage::{Failure, RECORD, Stage};
use super::steps::Steps;
use crate::sys::descriptor::{LOWEST, raise, set_nonblocking};
use crate::sys::fd::{duplicate_from, set_close_on_exec};
use crate::sys::{process, signals};

/// `argv[0]` of a stub; then come the numbers of two descriptors: what it is to do, and
/// where it says why it cannot.
pub(crate) const NAME: &str = "oxinetd-stub";

/// Of those that may have become their programs, so many are looked at in one turn.
const LOOKS: usize = 8;

/// What a stub is to do.
#[derive(Serialize)]
struct StubJob<'a> {
    steps: &'a Steps,
    arguments: &'a [CString],
    environment: Vec<&'a CStr>,
    numbers: Numbers,
    greeting: &'a [u8],
}

/// The same on the other side.
#[derive(Deserialize)]
struct Task {
    steps: Steps,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    numbers: Numbers,
    greeting: Vec<u8>,
}

/// Those on their way, and the program that they execute.
pub(super) struct Stubs {
    /// Ours, whatever becomes of the file's name.
    image: Option<OwnedFd>,
    /// Where each tells its failure. At its end it has become its program.
    under_way: VecDeque<(i32, File)>,
}

impl Stubs {
    /// None yet.
    pub(super) fn new() -> Self {
        let image = open_image("/proc/self/exe");
        let image = image.or_else(|| process::executed_path().and_then(open_image));
        Self { image: image.map(raise), under_way: VecDeque::new() }
    }

    /// Starts one.
    ///
    /// # Errors
    /// When the system has no processes, no descriptors or no memory; or when it has not
    /// told us which program we are.
    pub(super) fn start(
        &mut self,
        prepared: &Prepared,
        mut numbers: Numbers,
        environment: &Environment,
    ) -> Result<i32, SpawnError> {
        let image = self.image.as_ref().ok_or(SpawnError::NoImage)?;
        let (reader, failure) = new_pipe()?;
        set_nonblocking(&reader)?;
        numbers.failure = failure.as_raw_fd();
        let greeting = environment.greeting;
        let environment = environment.strings(&prepared.environment, &prepared.late_environment);
        let job = StubJob {
            steps: &prepared.steps,
            arguments: prepared.arguments.strings(),
            environment,
            numbers,
            greeting,
        };
        let job = sealed(&postcard::to_allocvec(&job).map_err(io::Error::other)?)?;
        let words = [NAME.to_owned(), job.as_raw_fd().to_string(), numbers.failure.to_string()];
        let words = words.map(|word| CString::new(word).unwrap_or_default());
        let words = Pointers::new(Vec::from(words));
        let group = prepared.confinement.group.as_ref().map(|group| group.descriptor().as_raw_fd());
        let pid = stub::start(image.as_raw_fd(), &words, job.as_raw_fd(), &numbers, group)?;
        self.under_way.push_back((pid, File::from(reader)));
        Ok(pid)
    }

    /// Forgets some of those that have become their programs; what others have told.
    pub(super) fn settle(&mut self) -> Vec<(i32, Failure)> {
        let mut failures = Vec::new();
        for _ in 0..self.under_way.len().min(LOOKS) {
            let Some((pid, mut pipe)) = self.under_way.pop_front() else { break };
            match report_of(pid, &mut pipe) {
                StubReport::NotYet => self.under_way.push_back((pid, pipe)),
                StubReport::Nothing => {}
                StubReport::Failed(failure) => failures.push((pid, failure)),
            }
        }
        failures
    }

    /// Forgets one that has been reaped; why it failed, if it has said so.
    pub(super) fn forget(&mut self, pid: i32) -> Option<Failure> {
        let at = self.under_way.iter().position(|(other, _)| *other == pid)?;
        let (_, mut pipe) = self.under_way.remove(at)?;
        match report_of(pid, &mut pipe) {
            StubReport::Failed(failure) => Some(failure),
            StubReport::Nothing | StubReport::NotYet => None,
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.under_way.is_empty()
    }
}

fn open_image(path: impl AsRef<std::path::Path>) -> Option<OwnedFd> {
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_PATH);
    options.open(path).ok().map(OwnedFd::from)
}

/// What a stub has said of itself.
enum StubReport {
    NotYet,
    /// And will say nothing any more.
    Nothing,
    Failed(Failure),
}

/// Whoever can look into a stub can write there, too, but of that one alone.
fn report_of(pid: i32, pipe: &mut File) -> StubReport {
    let mut record = [0; RECORD];
    match pipe.read(&mut record) {
        Ok(RECORD) => match Failure::of_record(record) {
            Some((of, failure)) if of == pid => StubReport::Failed(failure),
            _ => StubReport::Nothing,
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => StubReport::NotYet,
        Ok(_) | Err(_) => StubReport::Nothing,
    }
}

/// A file in memory that nobody can change.
fn sealed(bytes: &[u8]) -> io::Result<File> {
    /// Linux 6.3; some systems let no file in memory be made without it.
    const NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(8);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = memfd_create(c"oxinetd-stub", flags | NOEXEC_SEAL)
        .or_else(|_| memfd_create(c"oxinetd-stub", flags))?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_WRITE))?;
    Ok(file)
}

/// The other side: does what `numbers` lead to, and becomes the program; the status to end
/// with if it cannot.
pub(crate) fn run(mut numbers: impl Iterator<Item = OsString>) -> u8 {
    // As the server has them. The runtime has set SIGPIPE to be ignored again, which the
    // program would inherit.
    signals::take_over_signals();
    let mut number = || numbers.next()?.to_str()?.parse::<RawFd>().ok().filter(|it| *it > 2);
    let (Some(job), Some(failure)) = (number(), number()) else { return u8::MAX };
    let error = match read(job) {
        Ok(Task { steps, arguments, environment, numbers, greeting }) => {
            let (arguments, environment) = (Pointers::new(arguments), Pointers::new(environment));
            stub::do_steps(&steps, &arguments, &environment, numbers, &greeting)
        }
        Err(error) => error,
    };
    stub::fail(failure, Stage::Stub, error.raw_os_error().unwrap_or(libc::EINVAL))
}

fn read(job: RawFd) -> io::Result<Task> {
    // The program is not to have it, where the steps cannot close it.
    set_close_on_exec(job, true)?;
    let (mut file, mut bytes) = (File::from(duplicate_from(&job, LOWEST)?), Vec::new());
    // It was written up to its end.
    io::Seek::rewind(&mut file)?;
    file.read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}
