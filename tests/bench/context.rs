//! What all sections share: programs, a folder, ports, how long to measure.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::{Result, hello};

/// Descriptors that the largest section needs, in the client and in the server.
const DESCRIPTORS: u64 = 65_536;

/// Ports are looked for between these two: below what clients get by themselves.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// No sample is taken a second time after that.
const RETRIES_END: Duration = Duration::from_secs(150);

/// Which builds are measured.
#[derive(Default)]
pub(crate) struct Builds {
    /// None is the one of this tree.
    pub(crate) server: Option<PathBuf>,
    pub(crate) before: Option<PathBuf>,
}

pub(crate) struct Context {
    /// Everything temporary; removed at the end.
    pub(crate) dir: TempDir,
    /// The cheapest program there is, and what it prints.
    pub(crate) hello: hello::Hello,
    pub(crate) root: bool,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    server: PathBuf,
    /// Another build of it, to be compared with.
    pub(crate) before: Option<PathBuf>,
    next_port: Cell<u16>,
    begin: Instant,
}

impl Context {
    pub(crate) fn new(quick: bool, rounds: Option<usize>, builds: Builds) -> Result<Self> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // Root may raise the limit; others take what there is.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard.max(DESCRIPTORS))
            .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
        let dir = tempfile::Builder::new().prefix("oxinetd-bench").tempdir()?;
        // Programs in it are run as nobody too.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(Self {
            hello: hello::write(dir.path())?,
            dir,
            root: nix::unistd::geteuid().is_root(),
            quick,
            rounds: rounds.unwrap_or(if quick { 1 } else { 5 }).max(1),
            server: builds.server.unwrap_or_else(|| env!("CARGO_BIN_EXE_oxinetd").into()),
            before: builds.before,
            next_port: Cell::new(PORTS.start),
            begin: Instant::now(),
        })
    }

    /// Length of one sample.
    pub(crate) fn sample(&self) -> Duration {
        Duration::from_millis(if self.quick { 250 } else { 500 })
    }

    /// `full`, or `quick` when there is little time.
    pub(crate) fn amount(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Whether there is time left to measure again what has been disturbed.
    pub(crate) fn has_time(&self) -> bool {
        !self.quick && self.begin.elapsed() < RETRIES_END
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// How many descriptors a process may have.
    pub(crate) fn descriptors(&self) -> usize {
        getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft as usize)
    }

    /// Ports of 127.0.0.1 that nobody has, and that are not given out again soon.
    pub(crate) fn ports(&self, count: usize) -> Result<Vec<SocketAddr>> {
        let mut found = Vec::with_capacity(count);
        for _ in PORTS {
            if found.len() == count {
                break;
            }
            let port = self.next_port.get();
            self.next_port.set(if port + 1 < PORTS.end { port + 1 } else { PORTS.start });
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if TcpListener::bind(address).is_ok() {
                found.push(address);
            }
        }
        if found.len() < count { Err("too few free ports".into()) } else { Ok(found) }
    }

    pub(crate) fn port(&self) -> Result<SocketAddr> {
        self.ports(1)?.first().copied().ok_or_else(|| "no free port".into())
    }

    /// The machine and the settings, for whoever reads the figures later.
    pub(crate) fn describe(&self) {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name").map(str::to_owned))
            .unwrap_or_default();
        let processors = read("/proc/cpuinfo").matches("processor\t").count();
        println!(
            "{processors} x {}, Linux {}, as {}, {} rounds of {} ms, hello: {}",
            processor.trim_start_matches([' ', '\t', ':']),
            read("/proc/sys/kernel/osrelease").trim(),
            if self.root { "root" } else { "an ordinary user" },
            self.rounds,
            self.sample().as_millis(),
            self.hello.what,
        );
    }

    /// The server under test.
    pub(crate) fn server(&self) -> &Path {
        &self.server
    }
}
