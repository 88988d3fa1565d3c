//! TCPMUX (RFC 1078): services chosen by name on one port.

use std::io::Write;

use nix::sys::signal::Signal;

use crate::common::clients::{read_to_any_end, reset};
use crate::common::{Daemon, free_port, me, read_line, shell, tcp, wait_until};

/// tcpmux's own port is privileged; the tests put the multiplexer elsewhere.
fn mux(port: u16) -> String {
    format!("127.0.0.1:{port} stream tcp nowait {} internal tcpmux\n", me())
}

fn entries() -> String {
    let greet = shell("echo plus");
    let own = shell("echo +own greeting; cat");
    format!("tcpmux/+date stream tcp nowait - {greet}\ntcpmux/own stream tcp nowait - {own}\n")
}

fn ask_mux(port: u16, request: &str) -> String {
    let mut client = tcp(port);
    client.write_all(request.as_bytes()).unwrap();
    read_to_any_end(client)
}

#[test]
fn a_service_behind_tcpmux_with_a_plus_is_greeted_for() {
    let port = free_port();
    let mut daemon = Daemon::start(&(mux(port) + &entries()));
    let answer = ask_mux(port, "date\r\n");
    let (greeting, rest) = answer.split_once("\r\n").unwrap();
    assert!(greeting.starts_with('+'), "{answer:?}");
    assert_eq!(rest, "plus\n");
    daemon.stop();
}

#[test]
fn a_service_behind_tcpmux_without_a_plus_greets_by_itself_and_has_the_connection() {
    let port = free_port();
    let _daemon = Daemon::start(&(mux(port) + &entries()));
    let mut client = tcp(port);
    client.write_all(b"OWN\r\n").unwrap();
    assert_eq!(read_line(&client), "+own greeting\n");
    client.write_all(b"talk\n").unwrap();
    assert_eq!(read_line(&client), "talk\n");
}

#[test]
fn bytes_sent_behind_the_name_at_once_reach_the_program() {
    let port = free_port();
    let _daemon = Daemon::start(&(mux(port) + &entries()));
    let mut client = tcp(port);
    client.write_all(b"own\r\nearly\n").unwrap();
    assert_eq!(read_line(&client), "+own greeting\n");
    assert_eq!(read_line(&client), "early\n");
}

#[test]
fn help_lists_the_names_behind_tcpmux() {
    let port = free_port();
    let _daemon = Daemon::start(&(mux(port) + &entries()));
    let answer = ask_mux(port, "HELP\r\n");
    let names: Vec<&str> = answer.lines().map(str::trim).collect();
    assert!(names.contains(&"date") && names.contains(&"own"), "{answer:?}");
}

#[test]
fn an_unknown_name_is_refused_with_a_minus() {
    let port = free_port();
    let _daemon = Daemon::start(&(mux(port) + &entries()));
    assert!(ask_mux(port, "nothing\r\n").starts_with('-'));
}

#[test]
fn an_endless_name_is_not_waited_for() {
    let port = free_port();
    let daemon = Daemon::start(&(mux(port) + &entries()));
    let mut client = tcp(port);
    let _ = client.write_all(&[b'a'; 4096]);
    let answer = read_to_any_end(client);
    assert!(answer.is_empty() || answer.starts_with('-'), "{answer:?}");
    assert!(daemon.said("accepted").iter().all(|line| line.get("service") != Some("tcpmux/own")));
}

#[test]
fn the_end_of_a_client_who_is_gone_before_the_greeting_is_told() {
    let port = free_port();
    let daemon = Daemon::start(&(mux(port) + &entries()));
    daemon.signal(Signal::SIGSTOP);
    let mut client = tcp(port);
    client.write_all(b"date\r\n").unwrap();
    reset(client);
    daemon.signal(Signal::SIGCONT);
    // By tcpmux, or by the program, which is told as any is whose client is gone: what tcpmux says
    // of one whom it has handed on is not the end.
    wait_until("him to be gone", || daemon.count_peers() == (1, 0));
    let _ = daemon.wait_log(|line| line.about("closed", port));
}
