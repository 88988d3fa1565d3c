//! The program on disk: which file it is, trying it out as a child, and executing it in
//! the place of the present one.
//!
//! A trial is `oxinetd try-upgrade -- NAME ARGUMENTS` with the state on standard input: it
//! reads the configuration and the state, opens nothing, prints a [`Hello`] and ends with
//! status 0. Anything else is a reason not to upgrade. A program that does not know the
//! command refuses its arguments, which is one too.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::fcntl::{AtFlags, OFlag};
use nix::unistd::{execve, execveat, pipe2};
use serde::{Deserialize, Serialize};

use super::refusal::UpgradeRefusal;
use super::state::FORMAT;
use super::variable::{VARIABLE, is_ours};
use crate::sys::descriptor;
use crate::sys::fd;

/// The command of a trial.
pub(crate) const COMMAND: &str = "try-upgrade";

/// Reads of what it says at once: more than a pipe holds.
const PIECES: usize = 32;

/// Bytes of a trial's words that are kept.
const MOST: usize = 16 * 1024;

/// What a trial that went well prints, as one line of JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The format of states that it understands.
    pub format: u32,
    /// The version of the program.
    pub version: String,
}

/// Where the program is, and what it was started with.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// None if the system did not tell.
    path: Option<PathBuf>,
    arguments: Vec<OsString>,
}

/// Which file it is, and which state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Image {
    /// The present program: to be asked for at the start, before it can be replaced.
    pub(crate) fn own() -> Self {
        let path = fs::read_link("/proc/self/exe").ok().map(|path| as_started(&path));
        Self { path, arguments: std::env::args_os().collect() }
    }

    /// As another server knew it before.
    pub(crate) fn handed_over(program: &OsStr, arguments: &[OsString]) -> Self {
        let path = (!program.is_empty()).then(|| PathBuf::from(program));
        Self { path, arguments: arguments.to_vec() }
    }

    /// Its path, to be shown and handed over; empty if it is not known.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Its arguments, the name first.
    pub(crate) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Starts a trial of what is at the path now.
    ///
    /// # Errors
    /// What the system answered: no such file, not executable.
    pub(crate) fn try_out(&self, parcel: OwnedFd) -> io::Result<Trial> {
        let path = self.path.as_ref();
        let path = path.ok_or_else(|| io::Error::other("/proc/self/exe cannot be read"))?;
        let identity = identity(path)?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        descriptor::set_nonblocking(&reader)?;
        let errors = writer.try_clone()?;
        let child = Command::new(path)
            // Under no other name: that would be another command line.
            .arg0("oxinetd")
            .args([COMMAND, "--"])
            .args(&self.arguments)
            .env_remove(VARIABLE)
            .stdin(Stdio::from(parcel))
            .stdout(Stdio::from(writer))
            .stderr(Stdio::from(errors))
            .spawn()?;
        let pipe = File::from(descriptor::raise(reader));
        let (output, path) = (Vec::new(), path.clone());
        Ok(Trial {
            child,
            pipe,
            output,
            silent: false,
            unread: false,
            status: None,
            identity,
            path,
        })
    }

    /// Executes what is at the path now in our place; comes back only if that fails. The
    /// signal mask stays as it is, so that no signal is lost between the two.
    pub(crate) fn execute(&self, invitation: &OsStr) -> io::Error {
        let attempt = || -> io::Result<io::Error> {
            let path = CString::new(self.path().as_os_str().as_bytes())?;
            let (arguments, environment) = for_exec(&self.arguments, invitation)?;
            let Err(error) = execve(&path, &arguments, &environment);
            Ok(error.into())
        };
        attempt().unwrap_or_else(|error| error)
    }
}

/// A file that is open (O_PATH): the program that runs now.
///
/// # Errors
/// open(2)'s.
pub(crate) fn open_own() -> io::Result<OwnedFd> {
    let flags = nix::libc::O_PATH;
    let file = File::options().read(true).custom_flags(flags).open("/proc/self/exe")?;
    Ok(descriptor::raise(file.into()))
}

/// Executes an open program in our place; comes back only if that fails.
pub(super) fn execute_open(number: RawFd, arguments: &[OsString], invitation: &OsStr) -> io::Error {
    let attempt = || -> io::Result<io::Error> {
        let image = fd::duplicate_from(&number, descriptor::LOWEST)?;
        let (arguments, environment) = for_exec(arguments, invitation)?;
        let flags = AtFlags::AT_EMPTY_PATH;
        let Err(error) = execveat(image.as_fd(), c"", &arguments, &environment, flags);
        Ok(error.into())
    };
    attempt().unwrap_or_else(|error| error)
}

fn for_exec(
    arguments: &[OsString],
    invitation: &OsStr,
) -> io::Result<(Vec<CString>, Vec<CString>)> {
    let arguments = arguments.iter().map(|argument| CString::new(argument.as_bytes()));
    let variable = |(name, value): (OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
    };
    // Sockets that the service manager passed to us have other numbers by now.
    let stale = |name: &OsStr| is_ours(name) || name.as_bytes().starts_with(b"LISTEN_");
    let kept = std::env::vars_os().filter(|(name, _)| !stale(name));
    let environment = kept.chain([(VARIABLE.into(), invitation.to_owned())]).map(variable);
    Ok((arguments.collect::<Result<_, _>>()?, environment.collect::<Result<_, _>>()?))
}

/// The file may have been replaced before we looked; the link says so.
fn as_started(link: &Path) -> PathBuf {
    let bytes = link.as_os_str().as_bytes();
    match bytes.strip_suffix(b" (deleted)") {
        Some(before) if !link.exists() => PathBuf::from(OsStr::from_bytes(before)),
        _ => link.to_owned(),
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::metadata(path)?;
    Ok(Identity {
        file: (found.dev(), found.ino()),
        size: found.size(),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// Whether a descriptor stays open through exec(2).
///
/// # Errors
/// fcntl(2)'s.
pub(crate) fn stay_open(number: RawFd, stay: bool) -> io::Result<()> {
    fd::set_close_on_exec(number, !stay)
}

/// A program that is being tried out.
#[derive(Debug)]
pub(crate) struct Trial {
    child: Child,
    pipe: File,
    output: Vec<u8>,
    /// Nobody can say any more.
    silent: bool,
    /// There may be more that it has said.
    unread: bool,
    status: Option<ExitStatus>,
    identity: Identity,
    path: PathBuf,
}

impl Trial {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads what it says and looks whether it has ended; then whether it can go on.
    pub(crate) fn look(&mut self) -> Option<Result<(), UpgradeRefusal>> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        // Afterwards, so that the words of one that has ended are complete.
        self.listen();
        let status = self.status?;
        Some(verdict(&self.output, status).and_then(|()| match identity(&self.path) {
            Ok(now) if now == self.identity => Ok(()),
            _ => Err(UpgradeRefusal::Replaced),
        }))
    }

    /// Whether it is to be looked at again without being announced: it has said everything,
    /// and will have ended soon, or more than could be read at once.
    pub(crate) fn is_unannounced(&self) -> bool {
        self.silent || self.unread
    }

    /// As much as a pipe holds, and no more at once: it may never stop.
    fn listen(&mut self) {
        let mut piece = [0; 4096];
        self.unread = false;
        for _ in 0..PIECES {
            match self.pipe.read(&mut piece) {
                Ok(0) => {
                    self.silent = true;
                    return;
                }
                Ok(length) => {
                    let room = MOST.saturating_sub(self.output.len()).min(length);
                    self.output.extend_from_slice(piece.get(..room).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        self.unread = true;
    }

    /// Has it end, which is to be looked for as before.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
    }
}

impl AsRawFd for Trial {
    fn as_raw_fd(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }
}

fn verdict(output: &[u8], status: ExitStatus) -> Result<(), UpgradeRefusal> {
    let output = String::from_utf8_lossy(output);
    let hello = output.lines().find_map(|line| serde_json::from_str::<Hello>(line).ok());
    match hello {
        Some(Hello { format: FORMAT, .. }) if status.success() => Ok(()),
        _ if output.trim().is_empty() => Err(UpgradeRefusal::Ended(status)),
        _ if status.success() => Err(UpgradeRefusal::Unable),
        _ => {
            Err(UpgradeRefusal::Reported(output.trim().trim_start_matches("oxinetd: ").to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn judged(output: &str, status: i32) -> Result<(), String> {
        let verdict = verdict(output.as_bytes(), ExitStatus::from_raw(status << 8));
        verdict.map_err(|why| why.to_string())
    }

    #[test]
    fn only_a_hello_and_a_good_end_will_do() {
        let hello = "{\"format\":1,\"version\":\"9\"}\n";
        assert_eq!(judged(hello, 0), Ok(()));
        assert_eq!(judged(&format!("a warning\n{hello}"), 0), Ok(()));
        assert!(judged(hello, 1).is_err());
        assert!(judged("{\"format\":2,\"version\":\"9\"}", 0).is_err());
        assert!(judged("hello\n", 0).unwrap_err().contains("take over"));
        assert_eq!(judged("oxinetd: no\n", 1), Err("no".to_owned()));
        assert_eq!(judged("", 3), Err("the program ended with exit status: 3".to_owned()));
    }

    #[test]
    fn the_path_is_that_before_the_file_was_replaced() {
        let at = |link: &str| as_started(Path::new(link));
        assert_eq!(at("/no/oxinetd (deleted)"), Path::new("/no/oxinetd"));
        assert_eq!(at("/no/oxinetd"), Path::new("/no/oxinetd"));
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("x (deleted)");
        fs::write(&odd, "").unwrap();
        assert_eq!(as_started(&odd), odd);
    }

    #[test]
    fn what_is_tried_out_must_be_there_and_executable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let try_out = || {
            let parcel = File::open("/dev/null").unwrap().into();
            Image::handed_over(path.as_os_str(), &[]).try_out(parcel)
        };
        assert_eq!(try_out().unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&path, "").unwrap();
        assert_eq!(try_out().unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
}
