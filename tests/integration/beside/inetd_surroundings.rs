//! What goes on to programs from where the server was started: its directory and its signals,
//! there and here.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::common::clients::try_tcp;
use crate::common::daemon::BINARY;
use crate::common::peers::Peer;
use crate::common::{Folder, free_ports, read_all, tcp, wait_until};

/// Ended when the value is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where programs run, whether SIGUSR1 is blocked in them and whether SIGPIPE is ignored.
#[derive(Debug, PartialEq)]
struct Told {
    place: String,
    is_blocked: bool,
    is_ignored: bool,
}

/// What programs say under a server that was started in a folder of its own, with SIGUSR1
/// blocked.
fn told(program: &Path, options: &[&str], folder: &Folder) -> Told {
    let ports = free_ports(2);
    // No shell, which would unblock signals.
    let text = format!(
        "{} stream tcp nowait root /bin/pwd pwd\n{} stream tcp nowait root /bin/cat cat /proc/self/status\n",
        ports[0], ports[1]
    );
    let file = folder.write(&format!("{}.conf", ports[0]), &text);
    // A pid file there is nobody else's.
    let words = "mount -t tmpfs none /run && cd $0 && exec env --block-signal=USR1 \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", words]).arg(folder.path()).arg(program);
    command.args(options).arg(file).stdin(Stdio::null());
    let _server = Ended(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let is_served = |port: &u16| try_tcp(([127, 0, 0, 1], *port).into()).is_ok();
    wait_until("the server", || ports.iter().all(is_served));
    let status = read_all(tcp(ports[1]));
    let has = |name: &str, signal: Signal| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        u64::from_str_radix(mask, 16).unwrap() >> (signal as i32 - 1) & 1 == 1
    };
    Told {
        place: read_all(tcp(ports[0])).trim().to_owned(),
        is_blocked: has("SigBlk:", Signal::SIGUSR1),
        is_ignored: has("SigIgn:", Signal::SIGPIPE),
    }
}

/// What is told there of signals, and in which folder; nothing of that goes on here.
fn compare(peer: Peer, name: &str, options: &[&str], is_blocked: bool, is_ignored: bool) {
    let Some(program) = peer.find() else { return };
    let folder = Folder::new();
    let ours = folder.link(name, BINARY);
    let place = fs::canonicalize(folder.path()).unwrap().display().to_string();
    let there = Told { place, is_blocked, is_ignored };
    assert_eq!(told(&program, options, &folder), there);
    let here = Told { place: "/".to_owned(), is_blocked: false, is_ignored: false };
    assert_eq!(told(&ours, options, &folder), here);
}

#[test]
fn openbsds_inetd_leaves_programs_where_it_was_started_with_what_was_blocked() {
    compare(Peer::OpenBsd, "openbsd-inetd", &["-i"], true, false);
}

#[test]
fn gnus_inetd_leaves_programs_where_it_was_started_with_a_signal_ignored() {
    compare(Peer::Gnu, "inetutils-inetd", &["-d"], false, true);
}
