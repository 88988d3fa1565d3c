//! A server as a subprocess, killed when it goes out of scope.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::context::Context;
use crate::process::{self, Cpu, pause};
use crate::{Result, process::cpu};

/// A server that does not answer by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Daemon {
    child: Child,
    /// From the start of the process until a client is accepted.
    pub(crate) started_in: Duration,
    /// Processor time it took to get there, in microseconds, with children it has reaped
    /// (of which the system tells ticks of 10 ms).
    pub(crate) start_cpu: f64,
}

impl Daemon {
    /// Runs `command` until it accepts at `ready`. What it prints goes to `log`.
    pub(crate) fn start(command: &Command, ready: SocketAddr, log: Log<'_>) -> Result<Self> {
        let mut command = in_a_session(command)?;
        command.stdin(Stdio::null()).stdout(log.open()?).stderr(log.open()?);
        let begin = Instant::now();
        let child = command.spawn()?;
        let mut daemon = Self { child, started_in: Duration::ZERO, start_cpu: 0.0 };
        while TcpStream::connect_timeout(&ready, Duration::from_secs(5)).is_err() {
            if let Some(status) = daemon.child.try_wait()? {
                return Err(format!("it ended with {status}{}", log.tail()).into());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("it does not answer{}", log.tail()).into());
            }
            pause(Duration::from_millis(1));
        }
        daemon.started_in = begin.elapsed();
        daemon.start_cpu = daemon.cpu()?.tree;
        // What it has started for that client is over before anything is measured.
        pause(Duration::from_millis(20));
        Ok(daemon)
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Processor time so far, when no child is left or has had time to end.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        cpu(self.pid())
    }

    /// Waits until at most `count` children are left, or they get no fewer: the
    /// ceiling reaps its last ones with the next connection.
    pub(crate) fn settle(&self, count: usize) {
        let (mut last, mut same) = (usize::MAX, 0);
        while same < 5 {
            let left = process::children(self.pid());
            if left <= count {
                return;
            }
            same = if left < last { 0 } else { same + 1 };
            last = left;
            pause(Duration::from_millis(10));
        }
    }

    pub(crate) fn hang_up(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid()), Signal::SIGHUP)?)
    }
}

/// The same command in a session of its own, as servers run: the kernel shares out
/// processors by session (sched(7), autogroup), and the client's must not be the
/// server's. The environment is as bare as a server's, too: several of them pass theirs
/// on, and cargo's `LD_LIBRARY_PATH` would make each `date` look for its libraries in
/// cargo's folders first.
fn in_a_session(command: &Command) -> Result<Command> {
    let mut wrapped = Command::new(std::env::current_exe()?);
    wrapped.arg("__session").arg(command.get_program()).args(command.get_args());
    wrapped.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(wrapped)
}

/// The other side of it. The server dies with the benchmark, however that ends.
pub(crate) fn become_server(words: &[&str]) -> Result<()> {
    let [program, arguments @ ..] = words else { return Err("__session PROGRAM".into()) };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    nix::unistd::setsid()?;
    // As service managers do it; a program's directory is usually this one, too.
    nix::unistd::chdir("/")?;
    Err(Command::new(program).args(arguments).exec().into())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a server's own words go.
#[derive(Clone, Copy)]
pub(crate) enum Log<'a> {
    Nowhere,
    File(&'a Path),
}

impl Log<'_> {
    fn open(self) -> Result<Stdio> {
        Ok(match self {
            Log::Nowhere => Stdio::null(),
            Log::File(path) => File::options().create(true).append(true).open(path)?.into(),
        })
    }

    /// Its last lines, for a message.
    fn tail(self) -> String {
        let Log::File(path) = self else { return String::new() };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let from = text.len().saturating_sub(400);
        format!(": {}", text.get(from..).unwrap_or(&text).trim())
    }
}

/// oxinetd with a file of its own.
pub(crate) struct Oxinetd {
    pub(crate) daemon: Daemon,
    pub(crate) file: PathBuf,
}

/// How oxinetd is run.
pub(crate) struct Setup<'a> {
    pub(crate) file: &'a str,
    pub(crate) ready: SocketAddr,
    pub(crate) options: &'a [&'a str],
    /// Only warnings are logged, and to a file; else everything, to /dev/null.
    pub(crate) quiet: bool,
}

impl Oxinetd {
    pub(crate) fn start(context: &Context, setup: &Setup<'_>) -> Result<Self> {
        Self::start_build(context, context.server(), setup)
    }

    /// The same with a build of its own.
    pub(crate) fn start_build(context: &Context, build: &Path, setup: &Setup<'_>) -> Result<Self> {
        let name = format!("oxinetd-{}", setup.ready.port());
        let file = context.path(&format!("{name}.conf"));
        std::fs::write(&file, setup.file)?;
        let log = context.path(&format!("{name}.log"));
        let mut command = Command::new(build);
        // A line left out would be measured as refused connections.
        command.arg("--strict").args(setup.options).arg(&file);
        let log = if setup.quiet {
            command.env("RUST_LOG", "warn");
            Log::File(&log)
        } else {
            Log::Nowhere
        };
        Ok(Self { daemon: Daemon::start(&command, setup.ready, log)?, file })
    }
}
