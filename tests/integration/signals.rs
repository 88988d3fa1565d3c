//! SIGUSR1, SIGUSR2, SIGTERM, SIGINT: what the server says and how it ends.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;

use nix::sys::signal::Signal;

use crate::common::clients::echo_once;
use crate::common::load::Load;
use crate::common::procs;
use crate::common::{Daemon, Setup, free_port, free_ports, read_all, tcp, tcp_line, wait_until};

#[test]
fn counts_are_exact_with_hundreds_of_connections_under_load() {
    let ports = free_ports(2);
    let (held, busy) = (ports[0], ports[1]);
    let text = tcp_line(held, "/bin/cat cat")
        + "    instances = unlimited\n"
        + &tcp_line(busy, "/bin/echo echo on");
    let daemon = Daemon::start(&text);
    let clients: Vec<_> = (0..300).map(|_| tcp(held)).collect();
    for client in &clients {
        assert_eq!(echo_once(client, "x"), "x");
    }
    assert_eq!(daemon.count_peers(), (300, 300));
    let load = Load::start(busy, "on\n");
    load.wait_more(30);
    let (total, running) = daemon.count_peers();
    assert!(total > 300 && running >= 300, "{total} {running}");
    let extra = load.finish();
    let _ = daemon.wait_count(extra as usize, |line| line.about("ended", busy));
    assert_eq!(daemon.count_peers(), (300 + extra, 300));
    drop(clients);
    let _ = daemon.wait_count(300, |line| line.about("ended", held));
    assert_eq!(daemon.count_peers(), (300 + extra, 0));
}

#[test]
fn usr1_lists_every_running_peer_with_address_service_and_pid() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let clients: Vec<_> = (0..120).map(|_| tcp(port)).collect();
    let wanted: BTreeSet<String> =
        clients.iter().map(|client| client.local_addr().unwrap().to_string()).collect();
    let pids: BTreeSet<u32> = daemon.accepted(port, 120).into_iter().collect();
    let lines = daemon.list_peers(120);
    let running = lines.iter().filter(|line| line.get("state") == Some("running"));
    let (addresses, listed): (BTreeSet<String>, BTreeSet<u32>) = running
        .map(|line| (line.get("address").unwrap().to_owned(), line.number("pid").unwrap()))
        .unzip();
    assert_eq!(addresses, wanted);
    assert_eq!(listed, pids);
    let label = format!("{port}/tcp");
    assert!(lines.iter().all(|line| line.get("service") == Some(label.as_str())));
}

#[test]
fn usr1_also_tells_of_peers_that_have_ended() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let (leaving, staying) = (tcp(port), tcp(port));
    let gone = leaving.local_addr().unwrap().to_string();
    let here = staying.local_addr().unwrap().to_string();
    let _ = daemon.accepted(port, 2);
    drop(leaving);
    let _ = daemon.wait_log(|line| line.about("ended", port));
    let lines = daemon.list_peers(2);
    let state_of = |address: &str| {
        let line = lines.iter().find(|line| line.get("address") == Some(address));
        line.and_then(|line| line.get("state")).map(str::to_owned)
    };
    assert_eq!(state_of(&gone).as_deref(), Some("ended"));
    assert_eq!(state_of(&here).as_deref(), Some("running"));
}

#[test]
fn counts_survive_a_reload() {
    let port = free_port();
    let line = tcp_line(port, "/bin/cat cat");
    let daemon = Daemon::start(&line);
    let clients: Vec<_> = (0..5).map(|_| tcp(port)).collect();
    let _ = daemon.accepted(port, 5);
    let _ = daemon.reload(&(line + "    instances = 100\n"));
    assert_eq!(daemon.count_peers(), (5, 5));
    let _ = daemon.reload("");
    assert_eq!(daemon.count_peers(), (5, 5), "of a service that is gone, too");
    drop(clients);
    let _ = daemon.wait_count(5, |line| line.about("ended", port));
    assert_eq!(daemon.count_peers(), (5, 0));
}

#[test]
fn term_tells_the_peers_and_their_number_and_ends_with_status_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let port = free_port();
        let mut daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
        let clients = [tcp(port), tcp(port)];
        let _ = daemon.accepted(port, 2);
        daemon.signal(signal);
        assert!(daemon.wait_exit().success());
        drop(clients);
        daemon.log.wait(0, 2, |line| line.is("peer"));
        let counts = daemon.said("peers");
        let last = counts.last().unwrap();
        assert_eq!((last.number("total"), last.number("running")), (Some(2), Some(2)));
        let stopping = &daemon.said("stopping")[0];
        assert_eq!(stopping.get("signal"), Some(signal.as_str()), "{}", stopping.raw);
        assert_eq!(daemon.log.wait(0, 1, |line| line.is("stopped")).len(), 1);
    }
}

#[test]
fn with_on_stop_terminate_the_programs_end_with_the_server() {
    let port = free_port();
    let text = tcp_line(port, "/bin/cat cat") + "    on_stop = terminate\n";
    let mut daemon = Daemon::start(&text);
    let client = tcp(port);
    let pid = daemon.accepted(port, 1)[0];
    daemon.stop();
    assert_eq!(read_all(client), "");
    wait_until("the program to end", || !procs::is_alive(pid));
}

#[test]
fn with_on_stop_leave_a_program_serves_its_client_to_the_end() {
    let port = free_port();
    let mut daemon = Daemon::start(&(tcp_line(port, "/bin/cat cat") + "    on_stop = leave\n"));
    let client = tcp(port);
    assert_eq!(echo_once(&client, "before"), "before");
    let pid = daemon.accepted(port, 1)[0];
    daemon.stop();
    assert_eq!(echo_once(&client, "after"), "after");
    drop(client);
    wait_until("the program to end", || !procs::is_alive(pid));
}

#[test]
fn a_second_server_can_have_the_port_at_once_after_the_first_stopped() {
    let port = free_port();
    let line = tcp_line(port, "/bin/cat cat");
    let mut first = Daemon::start(&line);
    let client = tcp(port);
    assert_eq!(echo_once(&client, "old"), "old");
    first.stop();
    let second = Daemon::start(&line);
    assert!(second.said("not-listening").is_empty(), "{}", second.log.text());
    assert_eq!(echo_once(tcp(port), "new"), "new");
    assert_eq!(echo_once(&client, "left"), "left");
}

#[test]
fn a_storm_of_all_signals_leaves_the_server_serving() {
    let port = free_port();
    let mut daemon = Daemon::start(&tcp_line(port, "/bin/echo echo on"));
    let load = Load::start(port, "on\n");
    for _ in 0..50 {
        for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGPIPE] {
            daemon.signal(signal);
        }
    }
    load.wait_more(20);
    let served = load.finish();
    let _ = daemon.wait_count(served as usize, |line| line.about("ended", port));
    assert_eq!(daemon.count_peers(), (served, 0));
    daemon.stop();
}

#[test]
fn a_mistake_of_the_program_or_a_watchdog_ends_it_at_once() {
    // What the kernel sends for a mistake, and what a service manager's watchdog sends.
    for signal in [
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ] {
        let port = free_port();
        let text = tcp_line(port, "/bin/cat cat");
        let mut daemon = Setup::new().after("ulimit -c 0").start(&text);
        let client = tcp(port);
        assert_eq!(echo_once(&client, "before"), "before");
        daemon.signal(signal);
        assert_eq!(daemon.wait_exit().signal(), Some(signal as i32), "{signal}");
        // It ends nobody else.
        assert_eq!(echo_once(&client, "after"), "after");
    }
}

#[test]
fn the_signals_that_it_reads_are_blocked_and_those_that_end_it_are_not() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let blocked = u64::from_str_radix(&procs::status_field(&status, "SigBlk"), 16).unwrap();
    let is_blocked = |signal: Signal| blocked & (1 << (signal as i32 - 1)) != 0;
    let free: Vec<Signal> = Signal::iterator().filter(|signal| !is_blocked(*signal)).collect();
    let wanted = [
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGKILL,
        Signal::SIGSEGV,
        Signal::SIGSTOP,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGURG,
        Signal::SIGSYS,
    ];
    let numbers = |signals: &[Signal]| signals.iter().map(|it| *it as i32).collect::<BTreeSet<_>>();
    assert_eq!(numbers(&free), numbers(&wanted), "{free:?}");
}
