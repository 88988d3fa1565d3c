//! Other superservers, where they can be had: those installed, and as root on
//! Debian what apt can bring, unpacked into the build folder and never installed.
//! Each is set up as fast as it can be.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::context::Context;
use crate::daemon::{Daemon, Log};

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    package: &'static str,
    /// Where the package has it.
    inside: &'static str,
    /// What to run for a program at an address.
    command: fn(&Context, &Path, &Job<'_>) -> Result<Command>,
    /// It changes the user for each connection, as the line says.
    pub(crate) switches: bool,
}

/// What a peer is to do.
pub(crate) struct Job<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) user: &'a str,
    pub(crate) program: &'a Path,
    /// argv[0] first.
    pub(crate) arguments: &'a [String],
}

pub(crate) const PEERS: [Peer; 4] = [
    Peer {
        name: "xinetd",
        package: "xinetd",
        inside: "usr/sbin/xinetd",
        command: xinetd,
        switches: true,
    },
    Peer {
        name: "openbsd-inetd",
        package: "openbsd-inetd",
        inside: "usr/sbin/inetd",
        command: openbsd_inetd,
        switches: true,
    },
    Peer {
        name: "tcpserver",
        package: "ucspi-tcp",
        inside: "usr/bin/tcpserver",
        command: tcpserver,
        switches: false,
    },
    Peer {
        name: "systemd-socket-activate",
        package: "systemd",
        inside: "usr/bin/systemd-socket-activate",
        command: systemd_socket_activate,
        switches: false,
    },
];

impl Peer {
    /// Runs it; why not, if it cannot be.
    pub(crate) fn start(&self, context: &Context, job: &Job<'_>) -> Result<Daemon> {
        let program = self.find(context)?;
        let command = (self.command)(context, &program, job)?;
        let log = context.path(&format!("{}-{}.log", self.name, job.address.port()));
        let log = if self.name == "systemd-socket-activate" {
            // It says something of every connection.
            Log::Nowhere
        } else {
            Log::File(&log)
        };
        Daemon::start(&command, job.address, log)
    }

    fn find(&self, context: &Context) -> Result<PathBuf> {
        let file = Path::new(self.inside).file_name().unwrap_or_default();
        // Another `inetd` in the path would be measured under the wrong name.
        if self.package != "openbsd-inetd" {
            for folder in ["/usr/sbin", "/usr/bin"] {
                let installed = Path::new(folder).join(file);
                if installed.exists() {
                    return Ok(installed);
                }
            }
        }
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
        let unpacked = cache.join(self.inside);
        if !unpacked.exists() {
            if !context.root {
                return Err("not installed, and only root downloads it".into());
            }
            self.download(&cache)?;
        }
        if unpacked.exists() { Ok(unpacked) } else { Err("the package lacks it".into()) }
    }

    fn download(&self, cache: &Path) -> Result<()> {
        let debs = cache.join(format!("{}.debs", self.package));
        std::fs::create_dir_all(&debs)?;
        let quietly = |command: &mut Command| -> Result<bool> {
            Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
        };
        let fetch = ["60", "apt-get", "-q", "download", self.package];
        if !quietly(Command::new("timeout").args(fetch).current_dir(&debs))? {
            return Err(format!("apt-get cannot download {}", self.package).into());
        }
        for deb in std::fs::read_dir(&debs)? {
            if !quietly(Command::new("dpkg").arg("-x").arg(deb?.path()).arg(cache))? {
                return Err(format!("dpkg cannot unpack {}", self.package).into());
            }
        }
        Ok(())
    }
}

fn xinetd(context: &Context, program: &Path, job: &Job<'_>) -> Result<Command> {
    let port = job.address.port();
    let file = context.path(&format!("xinetd-{port}.conf"));
    // An empty attribute is a mistake to it.
    let server_args = match job.arguments.get(1..) {
        None | Some([]) => String::new(),
        Some(words) => format!(" server_args = {}\n", words.join(" ")),
    };
    let text = format!(
        "defaults\n{{\n instances = UNLIMITED\n per_source = UNLIMITED\n cps = 1000000 1\n}}\n\
         service bench\n{{\n type = UNLISTED\n port = {port}\n bind = {}\n socket_type = stream\n \
         protocol = tcp\n wait = no\n user = {}\n server = {}\n{} \
         flags = NOLIBWRAP\n}}\n",
        job.address.ip(),
        job.user,
        job.program.display(),
        server_args,
    );
    std::fs::write(&file, text)?;
    let mut command = Command::new(program);
    command.arg("-dontfork").arg("-f").arg(file);
    command.arg("-pidfile").arg(context.path(&format!("xinetd-{port}.pid")));
    // Without a syslog daemon it does not start otherwise.
    command.arg("-filelog").arg(context.path(&format!("xinetd-{port}.filelog")));
    Ok(command)
}

fn openbsd_inetd(context: &Context, program: &Path, job: &Job<'_>) -> Result<Command> {
    let file = context.path(&format!("inetd-{}.conf", job.address.port()));
    let line = format!(
        "{} stream tcp nowait {} {} {}\n",
        job.address,
        job.user,
        job.program.display(),
        job.arguments.join(" ")
    );
    std::fs::write(&file, line)?;
    let mut command = Command::new(program);
    command.args(["-i", "-q", "1024", "-R", "2000000000"]).arg(file);
    Ok(command)
}

fn tcpserver(_: &Context, program: &Path, job: &Job<'_>) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(["-q", "-H", "-R", "-P", "-l0", "-c", "100000", "-b", "1024"]);
    command.arg(job.address.ip().to_string()).arg(job.address.port().to_string());
    command.arg(job.program).args(job.arguments.get(1..).unwrap_or_default());
    Ok(command)
}

fn systemd_socket_activate(_: &Context, program: &Path, job: &Job<'_>) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(["--accept", "--inetd", "--listen"]).arg(job.address.to_string());
    command.arg(job.program).args(job.arguments.get(1..).unwrap_or_default());
    Ok(command)
}
