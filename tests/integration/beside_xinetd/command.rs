//! Options and signals: what xinetd starts with all the same, and what it takes no notice of.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};

use super::{Both, Folder, block, outcome, xinetd};
use crate::common::daemon::{BINARY, as_pid};
use crate::common::wait::wait_for;
use crate::common::{free_ports, wait_until};

const ECHO: &str = "server = /bin/echo\nserver_args = served";

/// What is no pid.
const LETTER: &str = "Dear all,\n";

/// Ended when the value is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server in the foreground with these options, `@` for the folder.
fn start(program: &Path, folder: &Folder, port: u16, options: &str) -> Ended {
    let text = block(0, ECHO, "").replace("@0", &port.to_string());
    let file = folder.write(&format!("{port}.conf"), &text);
    let options = options.replace('@', folder.path().to_str().unwrap());
    let mut command = Command::new(program);
    command.args(["-dontfork", "-f"]).arg(file).args(options.split(' '));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ended(command.spawn().unwrap())
}

fn is_served(port: u16) -> bool {
    outcome(Ipv4Addr::LOCALHOST.into(), port) == "served"
}

/// Options of which nothing comes there, and the status here.
const OPTIONS: [(&str, i32); 5] = [
    ("-pidfile @/nosuch/pid", 71),
    ("-pidfile @/letter", 71),
    ("-syslog LOCAL3", 2),
    ("-syslog nonsense", 2),
    ("-foo", 2),
];

#[test]
fn options_that_are_wrong_keep_the_server_from_starting_here_alone() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let letter = folder.write("letter", LETTER);
    let name = folder.link("xinetd", BINARY);
    let mut wrong = Vec::new();
    for (options, status) in OPTIONS {
        let ports = free_ports(2);
        let mut ours = start(&name, &folder, ports[1], options);
        let ended = wait_for("its end", || ours.0.try_wait().unwrap()).code();
        if ended != Some(status) {
            wrong.push(format!("{options}: {ended:?} here"));
        }
        assert_eq!(std::fs::read_to_string(&letter).unwrap(), LETTER);
        let mut theirs = start(&xinetd, &folder, ports[0], options);
        wait_until(options, || is_served(ports[0]) || theirs.0.try_wait().unwrap().is_some());
        if !is_served(ports[0]) {
            wrong.push(format!("{options}: not served there"));
        }
        if options.contains("letter") {
            let own = format!("{}\n", theirs.0.id());
            wait_until("xinetd's pid", || std::fs::read_to_string(&letter).unwrap() == own);
        }
        let _ = folder.write("letter", LETTER);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_interrupt_ends_the_server_here_alone() {
    let Some(xinetd) = xinetd() else { return };
    let mut both = Both::start(&xinetd, Folder::new(), 1, &block(0, ECHO, ""));
    kill(as_pid(both.real.child.id()), Signal::SIGINT).unwrap();
    both.ours.signal(Signal::SIGINT);
    assert!(both.ours.wait_exit().success());
    assert!(is_served(both.theirs[0]));
    assert!(both.real.child.try_wait().unwrap().is_none());
}
