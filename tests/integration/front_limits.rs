//! What bounds and ends sessions, where a worker stands between the client and the program: TLS,
//! a terminal, telnet, a terminal behind TLS.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::draining::drain;
use crate::common::clients::is_closed;
use crate::common::daemon::as_pid;
use crate::common::needs::search_path;
use crate::common::tls::make_certificate;
use crate::common::wait::park;
use crate::common::{
    Daemon, Folder, Setup, free_port, need_program, own_line, procs, shell, tcp, wait_until,
};

/// What stands in front: the attributes, whether the client speaks TLS, and telnet.
const FRONTS: [(&str, bool, bool); 4] = [
    ("", true, false),
    ("    pty = yes\n", false, false),
    ("    telnet = yes\n", false, true),
    ("    pty = yes\n", true, false),
];

/// The telnet client has no terminal and no window.
const NOTHING: [u8; 6] = [255, 252, 24, 255, 252, 31];

/// Somebody who is served, who waits for what he wants to see.
struct Visitor {
    ear: Box<dyn Read>,
    mouth: Option<Box<dyn Write>>,
    client: Option<Child>,
    seen: String,
}

impl Visitor {
    fn at(port: u16, (_, has_tls, has_telnet): (&str, bool, bool)) -> Self {
        let seen = String::new();
        if !has_tls {
            let mut stream = tcp(port);
            if has_telnet {
                stream.write_all(&NOTHING).unwrap();
            }
            let mouth: Box<dyn Write> = Box::new(stream.try_clone().unwrap());
            return Self { ear: Box::new(stream), mouth: Some(mouth), client: None, seen };
        }
        let mut client = Command::new("timeout");
        client.args(["60", "openssl", "s_client", "-quiet", "-connect"]);
        client.arg(format!("127.0.0.1:{port}")).env("PATH", search_path());
        let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        let (ear, mouth) = (client.stdout.take().unwrap(), client.stdin.take().unwrap());
        Self { ear: Box::new(ear), mouth: Some(Box::new(mouth)), client: Some(client), seen }
    }

    fn says(&mut self, text: &str) {
        let mouth = self.mouth.as_mut().unwrap();
        mouth.write_all(text.as_bytes()).unwrap();
        mouth.flush().unwrap();
    }

    /// Reads until this has been shown, and forgets everything up to it.
    #[track_caller]
    fn sees(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(wanted) {
                let rest = self.seen.split_off(at + wanted.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let mut bytes = [0; 4096];
            let count = self.ear.read(&mut bytes).unwrap();
            assert!(count > 0, "the end instead of {wanted:?} after {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    /// It goes on.
    #[track_caller]
    fn is_served(&mut self) {
        self.says("on\n");
        self.sees("on");
    }

    /// Whatever kind of end.
    fn sees_the_end(&mut self) {
        let mut bytes = [0; 4096];
        while self.ear.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            // It passes that on.
            let _ = kill(as_pid(client.id()), Signal::SIGTERM);
            let _ = client.wait();
        }
    }
}

/// A server with this one service in each way, one after the other.
#[track_caller]
fn each_way(
    setup: &Setup,
    script: &str,
    more: &str,
    act: impl Fn(Daemon, u16, (&str, bool, bool)),
) {
    if !need_program("openssl") {
        return;
    }
    for front in FRONTS {
        let (folder, port) = (Folder::new(), free_port());
        make_certificate(&folder, "site", "DNS:localhost", "90");
        let mut text = own_line(port, &shell(script)) + front.0 + more;
        if front.1 {
            text += &format!("    tls = {} {}\n", folder.name("site.pem"), folder.name("site.key"));
        }
        act(setup.clone().start_in(folder, &text), port, front);
    }
}

const CAT: &str = "echo ready; cat";

#[test]
fn timeout_ends_programs_behind_every_front() {
    each_way(&Setup::new(), CAT, "    timeout = 300ms\n", |daemon, port, front| {
        Visitor::at(port, front).sees_the_end();
        let line = daemon.wait_log(|line| line.about("timeout", port));
        assert_eq!(line.get("reason"), None, "{}", line.raw);
        daemon.wait_log(|line| line.about("ended", port));
    });
}

#[test]
fn idle_timeout_ends_programs_behind_every_front() {
    each_way(&Setup::new(), CAT, "    idle_timeout = 500ms\n", |daemon, port, front| {
        Visitor::at(port, front).sees_the_end();
        daemon.wait_log(|line| line.about("ended", port));
    });
}

#[test]
fn they_are_listed_and_ended_by_who_they_are() {
    each_way(&Setup::new().controlled(), CAT, "", |daemon, port, front| {
        let mut first = Visitor::at(port, front);
        first.sees("ready");
        let mut second = Visitor::at(port, front);
        second.sees("ready");
        let peers: Vec<String> = daemon
            .wait_count(2, |line| line.about("accepted", port))
            .iter()
            .map(|line| line.get("peer").unwrap().to_owned())
            .collect();
        let listed = daemon.list_peers(2);
        for peer in &peers {
            assert!(peer.starts_with("127.0.0.1:"), "{peer}");
            assert!(listed.iter().any(|line| line.raw.contains(peer)), "{peer}: {listed:?}");
        }
        // By the address and port of one.
        daemon.answer(&["kill", &peers[0]]);
        first.sees_the_end();
        second.is_served();
        daemon.wait_count(1, |line| line.about("ended", port));
        // By the address of all.
        daemon.answer(&["kill", "127.0.0.1"]);
        second.sees_the_end();
        daemon.wait_count(2, |line| line.about("ended", port));
        assert_eq!(daemon.count_peers().1, 0);
    });
}

#[test]
fn what_a_program_leaves_behind_ends() {
    let script = "sh -c \"trap : HUP; echo left=\\$\\$; while :; do sleep 1; done\" & \
                  read -r line; kill -0 $! && echo over";
    let more = "    leftovers = end\n";
    each_way(&Setup::new(), script, more, |daemon, port, front| {
        let mut visitor = Visitor::at(port, front);
        visitor.sees("left=");
        let number = visitor.sees("\n");
        visitor.says("go\n");
        visitor.sees("over");
        let left: u32 = number.trim().parse().unwrap();
        wait_until("what is left to be gone", || !procs::is_alive(left));
        visitor.sees_the_end();
        daemon.wait_log(|line| line.about("ended", port));
    });
}

#[test]
fn a_service_stops_after_its_last_client() {
    each_way(&Setup::new(), CAT, "    max_clients = 2\n", |daemon, port, front| {
        let mut both = [Visitor::at(port, front), Visitor::at(port, front)];
        both.iter_mut().for_each(|visitor| _ = visitor.sees("ready"));
        let line = daemon.wait_log(|line| line.is("service-stopped"));
        assert_eq!(line.get("reason"), Some("max_clients"));
        wait_until("nobody to listen", || is_closed(port));
        both.iter_mut().for_each(Visitor::is_served);
        drop(both);
        daemon.wait_count(2, |line| line.about("ended", port));
    });
}

#[test]
fn an_idle_server_stays_for_them_and_ends_after_the_last() {
    let setup = Setup::new().arg("--idle-exit").arg("1s");
    each_way(&setup, CAT, "", |mut daemon, port, front| {
        let mut visitor = Visitor::at(port, front);
        visitor.sees("ready");
        park(Duration::from_secs(2));
        assert!(daemon.is_running(), "{}", daemon.log.text());
        visitor.is_served();
        drop(visitor);
        assert_eq!(daemon.wait_exit().code(), Some(0));
        let line = daemon.wait_log(|line| line.is("stopping"));
        assert_eq!(line.get("signal"), Some("idle"), "{}", line.raw);
    });
}

#[test]
fn a_server_that_drains_waits_for_them() {
    each_way(&Setup::new().controlled(), CAT, "", |mut daemon, port, front| {
        let mut visitor = Visitor::at(port, front);
        visitor.sees("ready");
        let workers = procs::children(daemon.pid());
        let mut client = drain(&daemon, "3600");
        wait_until("the port to be closed", || is_closed(port));
        visitor.is_served();
        assert!(daemon.is_running());
        drop(visitor);
        assert!(daemon.wait_exit().success(), "{}", daemon.log.text());
        assert!(client.wait().unwrap().success());
        wait_until("its workers to be gone", || workers.iter().all(|pid| !procs::is_alive(*pid)));
    });
}

#[test]
fn a_server_that_is_killed_leaves_its_sessions_their_workers() {
    each_way(&Setup::new(), CAT, "", |mut daemon, port, front| {
        let mut visitor = Visitor::at(port, front);
        visitor.sees("ready");
        let children = procs::children(daemon.pid());
        daemon.signal(Signal::SIGKILL);
        let _ = daemon.wait_exit();
        visitor.is_served();
        drop(visitor);
        let are_gone = || children.iter().all(|pid| !procs::is_alive(*pid));
        wait_until("program and worker to be gone", are_gone);
    });
}
