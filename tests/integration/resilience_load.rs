//! Many connections: held, silent, reset, quick, and more than there are descriptors.

use std::net::TcpStream;
use std::time::Duration;

use crate::common::clients::{echo_once, reset};
use crate::common::procs;
use crate::common::wait::park;
use crate::common::{Daemon, Setup, free_port, free_ports, read_all, tcp, tcp_line, wait_until};

/// Waits until nothing of former connections is left, in /proc as in the counts.
#[track_caller]
fn settled(daemon: &Daemon, descriptors: usize) {
    daemon.wait_childless();
    wait_until("the descriptors to be given back", || {
        procs::descriptors(daemon.pid()) <= descriptors + procs::KEPT_DESCRIPTORS
    });
    wait_until("no peer to be running", || daemon.count_peers().1 == 0);
}

#[test]
fn three_thousand_quick_connections_leave_no_zombie_and_no_descriptor() {
    let port = free_port();
    let mut daemon = Daemon::start(&tcp_line(port, "/bin/true true"));
    // One to warm up: what is allocated once stays.
    let _ = read_all(tcp(port));
    daemon.wait_childless();
    let before = procs::descriptors(daemon.pid());
    for _ in 0..300 {
        let clients: Vec<TcpStream> = (0..10).map(|_| tcp(port)).collect();
        for client in clients {
            assert_eq!(read_all(client), "");
        }
    }
    settled(&daemon, before);
    assert!(procs::zombies(daemon.pid()).is_empty());
    assert_eq!(daemon.count_peers(), (3001, 0));
    daemon.stop();
}

#[test]
fn a_storm_of_resets_is_survived_without_a_trace() {
    let port = free_port();
    let mut daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    assert_eq!(echo_once(tcp(port), "warm"), "warm");
    daemon.wait_childless();
    let before = procs::descriptors(daemon.pid());
    for _ in 0..50 {
        let clients: Vec<TcpStream> = (0..10).map(|_| tcp(port)).collect();
        clients.into_iter().for_each(reset);
    }
    assert_eq!(echo_once(tcp(port), "still here"), "still here");
    settled(&daemon, before);
    daemon.stop();
}

#[test]
fn five_hundred_silent_connections_do_not_keep_another_service_from_answering() {
    let ports = free_ports(2);
    let text = tcp_line(ports[0], "/bin/cat cat")
        + "    instances = unlimited\n"
        + &tcp_line(ports[1], "/bin/echo echo awake");
    let daemon = Daemon::start(&text);
    let silent: Vec<_> = (0..500).map(|_| tcp(ports[0])).collect();
    let _ = daemon.accepted(ports[0], 500);
    // Each has its deadline.
    for _ in 0..20 {
        assert_eq!(read_all(tcp(ports[1])), "awake\n");
    }
    drop(silent);
    let _ = daemon.wait_count(500, |line| line.about("ended", ports[0]));
    daemon.wait_childless();
}

#[test]
fn clients_waiting_in_a_full_service_cost_no_processor_time() {
    let port = free_port();
    let text = tcp_line(port, "/bin/cat cat") + "    instances = 1\n";
    let daemon = Daemon::start(&text);
    let _clients: Vec<_> = (0..50).map(|_| tcp(port)).collect();
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    wait_calm(&daemon, Duration::from_millis(300));
}

/// Waits until the daemon takes less processor time than `most` in a second: on a busy machine
/// it may still have to do then what was asked of it before.
#[track_caller]
fn wait_calm(daemon: &Daemon, most: Duration) {
    wait_until("it to need little processor time", || {
        let before = procs::cpu_time(daemon.pid());
        park(Duration::from_secs(1));
        procs::cpu_time(daemon.pid()).saturating_sub(before) < most
    });
}

#[test]
fn without_descriptors_left_it_waits_instead_of_spinning_and_recovers() {
    let ports = free_ports(2);
    let text = tcp_line(ports[0], "/bin/cat cat")
        + "    instances = unlimited\n"
        + &tcp_line(ports[1], "/usr/bin/head head -c 1")
        + "    instances = unlimited\n";
    let mut daemon = Setup::new().after("ulimit -n 32").start(&text);
    let mut clients: Vec<_> = (0..80).map(|_| tcp(ports[0])).collect();
    assert_eq!(echo_once(&clients[0], "first"), "first");
    wait_calm(&daemon, Duration::from_millis(300));
    assert!(daemon.is_running());
    let waiting = clients.split_off(1);
    drop(clients);
    // As those before them leave, each of the rest is served.
    for client in waiting {
        assert_eq!(echo_once(&client, "in turn"), "in turn");
    }
    assert_eq!(echo_once(tcp(ports[1]), "x"), "x");
    let lines = daemon.log.mark();
    assert!(lines < 1000, "{lines} lines: one for an episode is enough");
    wait_until("everybody to be gone", || daemon.count_peers().1 == 0);
    daemon.stop();
}

#[test]
fn without_processes_left_the_client_is_not_lost() {
    if !crate::common::need_root() || !crate::common::need_program("setpriv") {
        return;
    }
    // RLIMIT_NPROC counts all processes of a user: a user id that nobody else has.
    let port = free_port();
    let folder = crate::common::Folder::new();
    let copy = folder.copy_of(crate::common::daemon::BINARY, "oxinetd");
    let exec = format!("shift; ulimit -p 6; exec {copy} \"$@\"");
    let user = format!("{}", 700_000 + std::process::id() % 100_000);
    let words =
        ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "sh", "-c", &exec, "sh"];
    let text = tcp_line(port, "/bin/cat cat");
    let mut daemon = Setup::new().under(&words).start_in(folder, &text);
    let clients: Vec<_> = (0..20).map(|_| tcp(port)).collect();
    assert_eq!(echo_once(&clients[0], "first"), "first");
    wait_calm(&daemon, Duration::from_millis(400));
    drop(clients);
    wait_until("a new client to be served", || {
        use std::io::{Read, Write};
        let mut client = tcp(port);
        let mut byte = [0];
        client.write_all(b"x").is_ok() && client.read_exact(&mut byte).is_ok()
    });
    assert!(daemon.is_running());
}
