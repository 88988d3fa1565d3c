//! The log tells what has happened in the order in which it has, and of each client one
//! beginning and one end, however the server ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::common::clients::echo_once;
use crate::common::control::{controlled, upgrade};
use crate::common::procs;
use crate::common::{
    Daemon, Line, free_port, free_ports, me, own_line, read_line, shell, tcp, tcp_line, wait_until,
};

/// What ends a client that was accepted.
const ENDS: [&str; 4] = ["ended", "closed", "failed", "detached"];

/// Whether the server polls some program, which it does when that is some milliseconds old.
fn watches_a_program(server: u32) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{server}/fd")).unwrap();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.into_iter().any(|link| link.to_string_lossy().contains("pidfd"))
}

/// How many clients of a service there are after each of its lines, for whoever counts them.
#[track_caller]
fn counted(daemon: &Daemon, port: u16) -> Vec<(Line, i32)> {
    let lines = daemon.log.all_after(0, |line| line.about(line.word(), port)).into_iter();
    let count = |now: &mut i32, line: Line| {
        *now += i32::from(line.is("accepted")) - i32::from(ENDS.contains(&line.word()));
        Some((line, *now))
    };
    lines.scan(0, count).collect()
}

/// How many there are at most.
#[track_caller]
fn most_at_once(daemon: &Daemon, port: u16) -> i32 {
    let counts = counted(daemon, port).into_iter().map(|(_, count)| count);
    let (least, most) = counts.fold((0, 0), |(least, most), it| (it.min(least), it.max(most)));
    assert_eq!(least, 0, "somebody has gone who had not come: {}", daemon.log.text());
    most
}

/// The end of a program and the next client come to the server in one turn.
#[test]
fn an_end_stands_before_whoever_has_its_place() {
    for limits in [
        "    instances = 1\n",
        "    instances = 1\n    at_limit = refuse\n",
        "    per_source = 1\n",
    ] {
        let port = free_port();
        let daemon = Daemon::start(&(tcp_line(port, "/bin/cat cat") + limits));
        let mut client = tcp(port);
        assert_eq!(echo_once(&client, "x"), "x");
        for round in 1..=5 {
            let pid = daemon.accepted(port, round).pop().unwrap();
            wait_until("it to be watched", || watches_a_program(daemon.pid()));
            daemon.signal(Signal::SIGSTOP);
            wait_until("the server to stop", || procs::state(daemon.pid()) == Some('T'));
            drop(client);
            wait_until("the program to end", || !procs::is_alive(pid));
            client = tcp(port);
            daemon.signal(Signal::SIGCONT);
            assert_eq!(echo_once(&client, "x"), "x", "{}", daemon.log.text());
        }
        daemon.accepted(port, 6);
        assert_eq!(most_at_once(&daemon, port), 1, "{limits}: {}", daemon.log.text());
    }
}

/// Clients wait in the backlog and come one after the other.
#[test]
fn so_it_is_with_those_who_wait() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, "/bin/cat cat") + "    instances = 2\n"));
    let clients: Vec<TcpStream> = (0..40).map(|_| tcp(port)).collect();
    for client in clients {
        assert_eq!(echo_once(&client, "x"), "x");
    }
    daemon.wait_count(40, |line| line.about("ended", port));
    assert_eq!(most_at_once(&daemon, port), 2, "{}", daemon.log.text());
    // It begins to bite when it is reached.
    let lines = counted(&daemon, port);
    let (_, then) = lines.iter().find(|(line, _)| line.is("limit-begin")).unwrap();
    assert_eq!(*then, 2, "{}", daemon.log.text());
}

/// Everything that can serve a client: programs that go on and that end with the server,
/// built-in services, a relay to one of them, an entry of tcpmux, a `wait` service.
struct Everybody {
    daemon: Daemon,
    ports: Vec<u16>,
    clients: Vec<TcpStream>,
}

impl Everybody {
    fn start(deaf: bool) -> Self {
        let ports = free_ports(6);
        let stubborn = shell("trap : TERM; echo here; while :; do sleep 600 & wait; done");
        let hears = shell("echo here; exec cat");
        let ends = "    on_stop = terminate\n    kill_after = 1h\n";
        let wait = tcp_line(ports[4], &shell("echo here >&2; exec sleep 600"));
        let text = own_line(ports[0], &shell("echo here; exec cat"))
            + &own_line(ports[1], if deaf { &stubborn } else { &hears })
            + ends
            + &own_line(ports[2], "internal echo")
            + &own_line(ports[3], "internal")
            + &format!("    redirect = 127.0.0.1 {}\n", ports[2])
            + &wait.replace("nowait", "wait")
            + &format!("127.0.0.1:{} stream tcp nowait {} internal tcpmux\n", ports[5], me())
            + &format!("tcpmux/own stream tcp nowait {} {}\n", me(), shell("echo +; exec cat"));
        let daemon = controlled(&text);
        let mut clients: Vec<TcpStream> = ports.iter().map(|port| tcp(*port)).collect();
        assert_eq!([&clients[0], &clients[1]].map(read_line), ["here\n"; 2]);
        assert_eq!([&clients[2], &clients[3]].map(|client| echo_once(client, "x")), ["x"; 2]);
        clients[5].write_all(b"own\r\n").unwrap();
        assert_eq!(read_line(&clients[5]), "+\n");
        let _ = daemon.wait_log(|line| line.about("stderr", ports[4]));
        Self { daemon, ports, clients }
    }

    /// The words with which the clients of each service end, when the server has.
    #[track_caller]
    fn ends(mut self) -> BTreeMap<String, Vec<String>> {
        assert!(self.daemon.wait_exit().success());
        let _ = self.daemon.log.wait(0, 1, |line| line.is("stopped"));
        let text = self.daemon.log.text();
        let who = |line: &Line| {
            (line.get("service").unwrap().to_owned(), line.get("peer").map(str::to_owned))
        };
        let (mut open, mut ends) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
        for line in self.daemon.log.all_after(0, |line| line.get("service").is_some()) {
            if line.is("accepted") {
                open.push(who(&line));
            } else if ENDS.contains(&line.word()) {
                let at = open.iter().position(|one| *one == who(&line));
                open.remove(at.unwrap_or_else(|| panic!("{} of nobody: {text}", line.raw)));
                ends.entry(self.name(&line)).or_default().push(line.word().to_owned());
            }
        }
        assert!(open.is_empty(), "no end of {open:?}: {text}");
        drop(self.clients);
        ends
    }

    /// What a line's service is called here, whatever its port is.
    fn name(&self, line: &Line) -> String {
        let service = line.get("service").unwrap();
        let number = self.ports.iter().position(|port| service == format!("{port}/tcp"));
        number.map_or_else(
            || service.to_owned(),
            |number| ["goes on", "ends", "built-in", "relay", "wait", "tcpmux"][number].to_owned(),
        )
    }
}

fn words(of: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    of.iter().map(|(name, words)| ((*name).to_owned(), owned(words))).collect()
}

#[test]
fn each_client_has_one_end_when_the_server_stops() {
    for upgrades in [false, true] {
        let everybody = Everybody::start(false);
        if upgrades {
            upgrade(&everybody.daemon);
            assert_eq!(echo_once(&everybody.clients[2], "y"), "y");
        }
        everybody.daemon.signal(Signal::SIGTERM);
        let wanted = words(&[
            ("goes on", &["detached"]),
            ("ends", &["ended"]),
            // Of its own client, and of the relay.
            ("built-in", &["closed", "closed"]),
            ("relay", &["closed"]),
            ("wait", &["detached"]),
            ("tcpmux", &["closed"]),
            ("tcpmux/own", &["detached"]),
        ]);
        assert_eq!(everybody.ends(), wanted);
    }
}

#[test]
fn each_client_has_one_end_when_the_server_drains() {
    let everybody = Everybody::start(false);
    assert!(everybody.daemon.answer(&["stop", "--drain=0"]).ends_with("stopped\n"));
    let ends = everybody.ends();
    let of_programs = ["goes on", "ends", "wait", "tcpmux/own"].map(|name| ends[name].join(" "));
    assert_eq!(of_programs, ["ended"; 4], "{ends:?}");
    assert_eq!(["relay", "tcpmux"].map(|name| ends[name].join(" ")), ["closed"; 2], "{ends:?}");
}

#[test]
fn a_second_signal_says_what_it_costs_and_each_client_has_one_end() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let everybody = Everybody::start(true);
        let (daemon, ports) = (&everybody.daemon, everybody.ports.clone());
        daemon.signal(Signal::SIGTERM);
        let _ = daemon.wait_log(|line| line.is("draining"));
        daemon.signal(second);
        let line = daemon.wait_log(|line| line.is("cut-short"));
        assert_eq!(line.get("signal"), Some(second.as_str()), "{}", line.raw);
        let numbers = ["programs", "connections"].map(|key| line.number(key));
        assert_eq!(numbers, [Some(1), Some(3)], "{}", line.raw);
        let services = line.get("services").unwrap();
        assert!(services.starts_with(&format!("{}/tcp 2, ", ports[2])), "{}", line.raw);
        for port in [ports[1], ports[3]] {
            assert!(services.contains(&format!("{port}/tcp 1")), "{}", line.raw);
        }
        let killed = daemon.wait_log(|line| line.about("ended", ports[1]));
        assert_eq!(killed.get("signal"), Some("SIGKILL"), "{}", killed.raw);
        let wanted = words(&[
            ("goes on", &["detached"]),
            ("ends", &["ended"]),
            ("built-in", &["closed", "closed"]),
            ("relay", &["closed"]),
            ("wait", &["detached"]),
            ("tcpmux", &["closed"]),
            ("tcpmux/own", &["detached"]),
        ]);
        assert_eq!(everybody.ends(), wanted);
    }
}
