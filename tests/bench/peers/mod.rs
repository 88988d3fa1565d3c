//! Other superservers, where they can be had: those installed, and as root on Debian
//! what apt can bring, unpacked or built in the build folder and never installed.

mod apt;
mod busybox;
mod package;
mod settings;
mod tool;

use std::cell::LazyCell;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::context::Context;
use crate::daemon::{Daemon, Log};

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    origin: Origin,
    /// Adds to the command that runs it what makes it serve.
    settings: fn(&Context, Command, &Job<'_>) -> Result<Command>,
    /// It changes the user for each connection, as the line says.
    pub(crate) switches: bool,
}

/// Where a peer is to be had.
enum Origin {
    /// In a package of Debian, at that place inside of it.
    Package(&'static str, &'static str),
    /// In busybox, under that name.
    Busybox(&'static str),
}

/// What runs a program: the program, or what has to come before it and then the program.
type Words = Vec<OsString>;

/// What a peer is to do.
pub(crate) struct Job<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) user: &'a str,
    pub(crate) program: &'a Path,
    /// argv[0] first.
    pub(crate) arguments: &'a [String],
}

const PEERS: [Peer; 6] = [
    Peer {
        name: "xinetd",
        origin: Origin::Package("xinetd", "usr/sbin/xinetd"),
        settings: settings::xinetd,
        switches: true,
    },
    Peer {
        name: "openbsd-inetd",
        origin: Origin::Package("openbsd-inetd", "usr/sbin/inetd"),
        settings: settings::openbsd_inetd,
        switches: true,
    },
    Peer {
        name: "busybox inetd",
        origin: Origin::Busybox("inetd"),
        settings: settings::busybox_inetd,
        switches: true,
    },
    Peer {
        name: "busybox tcpsvd",
        origin: Origin::Busybox("tcpsvd"),
        settings: settings::busybox_tcpsvd,
        switches: false,
    },
    Peer {
        name: "tcpserver",
        origin: Origin::Package("ucspi-tcp", "usr/bin/tcpserver"),
        settings: settings::tcpserver,
        switches: false,
    },
    Peer {
        name: "systemd-socket-activate",
        origin: Origin::Package("systemd", "usr/bin/systemd-socket-activate"),
        settings: settings::systemd_socket_activate,
        switches: false,
    },
];

/// A peer that is there to be run.
pub(crate) struct Found {
    pub(crate) peer: &'static Peer,
    words: Words,
}

/// Fetches what is not there yet; says of those that cannot be had why not.
pub(crate) fn gather(context: &Context) -> Vec<Found> {
    // Two peers are the same program: it is looked for, and built, once.
    let busybox = LazyCell::new(|| busybox::find(context).map_err(|error| error.to_string()));
    let mut found = Vec::new();
    for peer in &PEERS {
        let words = match peer.origin {
            _ if peer.switches && !context.root => {
                Err("it changes the user, and only root may".into())
            }
            Origin::Package(package, inside) => package::find(context, package, inside),
            Origin::Busybox(name) => (*busybox)
                .clone()
                .map(|program| vec![program.into(), name.into()])
                .map_err(Into::into),
        };
        match words {
            Ok(words) => found.push(Found { peer, words }),
            Err(error) => println!("missing: {}: {error}", peer.name),
        }
    }
    found
}

impl Found {
    /// Runs it; why not, if it cannot be.
    pub(crate) fn start(&self, context: &Context, job: &Job<'_>) -> Result<Daemon> {
        let name = self.peer.name;
        let (first, rest) = self.words.split_first().ok_or("nothing to run")?;
        let mut command = Command::new(first);
        command.args(rest);
        let command = (self.peer.settings)(context, command, job)?;
        let log = context.path(&format!("{name}-{}.log", job.address.port()));
        let log = if name == "systemd-socket-activate" {
            // It says something of every connection.
            Log::Nowhere
        } else {
            Log::File(&log)
        };
        Daemon::start(&command, job.address, log)
    }
}

/// Where what is fetched is kept, for this run and the ones after it.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}

/// Programs that are fetched are run as root, and so only root fetches them.
fn may_fetch(context: &Context) -> Result<()> {
    if context.root { Ok(()) } else { Err("not installed, and only root fetches it".into()) }
}
