//! What the server leaves to the process that reads on.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve, pipe2, setsid};
use serde_json::Value;

use super::ReaderMessage;
use crate::log::events;
use crate::log::sink;
use crate::server::Server;
use crate::sys::descriptor::{becomes_ready, set_nonblocking};
use crate::sys::{fd, handed, process};

/// The command that it is.
const COMMAND: &str = "read-stderr";

/// Milliseconds that it may take to let go of what was ours.
const PATIENCE: u16 = 5_000;

impl Server {
    /// At the end: leaves a reader to the programs that run on.
    pub(in crate::server) fn leave_reader(&mut self) {
        // Nobody outlives process 1.
        if std::process::id() == 1 {
            return;
        }
        for key in self.programs.stderr.keys() {
            self.programs.read_last(key, &mut self.reactor);
        }
        let states = self.programs.stderr.iter().map(|(_, state)| state);
        let pipes: Vec<Value> = states.flat_map(serde_json::to_value).collect();
        if pipes.is_empty() {
            return;
        }
        let descriptors = handed::written().into_iter().collect();
        let (json, log) = (events::is_json(), sink::system_log());
        let program = self.upgrading.image.path();
        let message = ReaderMessage { json, log, descriptors, pipes };
        // Without it, programs that run on end with their next line.
        if let Err(error) = self.facts.reserve.with(|| leave(&message, program)) {
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
