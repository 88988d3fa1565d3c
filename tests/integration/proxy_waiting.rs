//! `proxy_protocol`: those who have not said yet who they are take nobody's place, and those who
//! wait for one keep it over everything that a server does.

use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::common::clients::read_to_any_end;
use crate::common::control::{controlled, status_of_port, upgrade};
use crate::common::needs::may_open;
use crate::common::{
    Daemon, Setup, free_port, free_ports, procs, read_line, shell, tcp, tcp_line, wait_until,
};
use crate::draining::drain;
use crate::proxy_headers::{BEHIND, WHO, line, say};

/// A client that has said this much.
#[track_caller]
fn begun(port: u16, bytes: &[u8]) -> TcpStream {
    let mut client = tcp(port);
    client.set_nodelay(true).unwrap();
    client.write_all(bytes).unwrap();
    client
}

/// Whether the server has not ended the connection of a client to whom it has said nothing.
fn is_open(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let nothing_yet = client.peek(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    nothing_yet
}

#[test]
fn thousands_who_say_nothing_take_no_place_and_start_no_program() {
    if !may_open(4096) {
        return;
    }
    let port = free_port();
    let text = tcp_line(port, &shell(WHO)) + BEHIND + "    instances = 2\n    proxy_timeout = 1h\n";
    let daemon = controlled(&text);
    let silent: Vec<TcpStream> = (0..2000).map(|_| tcp(port)).collect();
    // Those who have waited longest have made room for the others.
    wait_until("976 to be refused", || {
        status_of_port(&daemon, port)["refused"]["proxy"].as_u64().unwrap_or_default() >= 976
    });
    let first = begun(port, &line("192.0.2.1", 1));
    assert!(read_line(&first).contains("192.0.2.1"));
    assert!(say(port, &line("192.0.2.2", 1), "hello\n").ends_with("\nhello\n"));
    daemon.wait_count(2, |line| line.is("accepted"));
    let state = status_of_port(&daemon, port);
    assert_eq!((&state["running"], &state["accepted"]), (&1.into(), &2.into()), "{state}");
    assert!(procs::descriptors(daemon.pid()) < 1200);
    // Whoever was kept is still heard. The kernel hands over those who say nothing after a while
    // and not in the order in which they have come.
    let mut kept = silent.iter().rfind(|client| is_open(client)).unwrap();
    kept.write_all(&line("192.0.2.3", 1)).unwrap();
    assert!(read_line(kept).contains("192.0.2.3"));
    drop(silent);
    wait_until("all of them to be gone", || procs::descriptors(daemon.pid()) < 100);
}

#[test]
fn where_descriptors_are_few_those_who_are_silent_leave_most_of_them() {
    let port = free_port();
    let text = tcp_line(port, "/bin/echo echo served") + BEHIND + "    proxy_timeout = 1h\n";
    let daemon = Setup::new().controlled().after("ulimit -n 48").start(&text);
    let silent: Vec<TcpStream> = (0..100).map(|_| tcp(port)).collect();
    assert_eq!(say(port, &line("192.0.2.1", 1), ""), "served\n");
    // The kernel has them for a second.
    wait_until("most of them to be refused", || {
        status_of_port(&daemon, port)["refused"]["proxy"].as_u64().unwrap_or_default() > 80
    });
    assert_eq!(say(port, &line("192.0.2.1", 1), ""), "served\n");
    assert!(daemon.said("trouble").is_empty(), "{}", daemon.log.text());
    drop(silent);
}

#[test]
fn who_waits_when_his_service_goes_is_refused_and_the_log_says_so() {
    let ports = free_ports(3);
    let behind = |port: u16| {
        let more = "    proxy_timeout = 1h\n    instances = 1\n";
        tcp_line(port, &shell(WHO)) + BEHIND + more
    };
    let stays = tcp_line(ports[2], "/bin/echo echo served");
    let daemon = controlled(&(behind(ports[0]) + &behind(ports[1]) + &stays));
    let before = procs::descriptors(daemon.pid());
    let [half, mut placed, mut waits] = [(0, 1), (1, 2), (1, 3)].map(|(at, last)| {
        let header = line(&format!("192.0.2.{last}"), 1);
        (begun(ports[at], &header[..9]), header)
    });
    wait_until("all to be there", || procs::descriptors(daemon.pid()) >= before + 3);
    for (client, header) in [&mut placed, &mut waits] {
        client.write_all(&header[9..]).unwrap();
    }
    // Either may have the place, and the other one waits for it.
    let _ = daemon.accepted(ports[1], 1);
    let _ = daemon.reload(&stays);
    for port in &ports[..2] {
        let refused = daemon.wait_log(|line| line.about("refused", *port));
        assert_eq!(refused.get("reason"), Some("gone"), "{}", refused.raw);
    }
    assert_eq!(read_to_any_end(half.0), "");
    drop((placed, waits));
}

#[test]
fn the_server_does_nothing_while_a_part_of_a_header_is_there() {
    let port = free_port();
    let text = tcp_line(port, "/bin/echo echo served") + BEHIND + "    proxy_timeout = 1s\n";
    let daemon = Daemon::start(&text);
    let before = procs::cpu_time(daemon.pid());
    let half = begun(port, b"PROXY TCP4 192.0.2.1 ");
    assert_eq!(read_to_any_end(half), "");
    let used = procs::cpu_time(daemon.pid()).saturating_sub(before);
    assert!(used < Duration::from_millis(300), "{used:?}");
}

#[test]
fn who_may_speak_for_others_is_looked_at_again_when_the_header_is_whole() {
    let port = free_port();
    let text = tcp_line(port, &shell(WHO));
    for then in ["    proxy_protocol = require\n    proxy_from = 192.0.2.7\n", ""] {
        let daemon = Daemon::start(&(text.clone() + BEHIND));
        let before = procs::descriptors(daemon.pid());
        let mut half = begun(port, b"PROXY TCP4 192.0.2.9 ");
        wait_until("the server to have it", || procs::descriptors(daemon.pid()) > before);
        let _ = daemon.reload(&(text.clone() + then));
        half.write_all(b"198.51.100.2 2 443\r\nhello\n").unwrap();
        assert_eq!(read_to_any_end(half), "");
        let refused = daemon.wait_log(|line| line.about("refused", port));
        assert_eq!((refused.get("reason"), refused.get("why")), (Some("proxy"), Some("not_from")));
        assert!(daemon.said("accepted").is_empty());
    }
}

/// A service of one program at a time, the client of that, and one who has come before it and
/// says only now who it is.
fn full(attributes: &str) -> (Daemon, u16, TcpStream, TcpStream) {
    let port = free_port();
    let text = tcp_line(port, &shell(WHO)) + BEHIND + "    instances = 1\n" + attributes;
    let daemon = Setup::new().controlled().copied().start(&text);
    let mut second = begun(port, b"PROXY TCP4 ");
    let first = begun(port, &line("192.0.2.1", 1));
    assert!(read_line(&first).contains("192.0.2.1"));
    second.write_all(b"192.0.2.9 198.51.100.2 2 443\r\nhello\n").unwrap();
    (daemon, port, first, second)
}

/// What that one is told in the end.
#[track_caller]
fn is_served(second: &TcpStream) {
    assert_eq!(read_line(second), "TCP 192.0.2.9 2 198.51.100.2 443 127.0.0.1\n");
    assert_eq!(read_line(second), "hello\n");
}

#[test]
fn who_is_named_while_all_places_are_taken_waits_for_one() {
    let port = free_port();
    let text = tcp_line(port, &shell(WHO)) + BEHIND + "    instances = 1\n";
    let daemon = Daemon::start(&(text + "    proxy_timeout = 2s\n"));
    let mut second = begun(port, b"PROXY TCP4 ");
    let silent = begun(port, b"P");
    let first = begun(port, &line("192.0.2.1", 1));
    assert!(read_line(&first).contains("192.0.2.1"));
    second.write_all(b"192.0.2.9 198.51.100.2 2 443\r\nhello\n").unwrap();
    // For longer than the header may have taken.
    assert_eq!(read_to_any_end(silent), "");
    drop(first);
    is_served(&second);
    drop(second);
    // The lines before these are there, too.
    daemon.wait_count(2, |line| line.about("ended", port));
    let refused = daemon.said("refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
}

#[test]
fn where_nobody_waits_for_a_place_who_is_named_is_refused() {
    let (daemon, port, first, second) = full("    at_limit = refuse\n");
    assert_eq!(read_to_any_end(second), "");
    let said = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!((said.get("reason"), said.get("peer")), (Some("instances"), Some("192.0.2.9:2")));
    drop(first);
}

#[test]
fn half_a_header_and_its_end_are_refused_at_once() {
    let port = free_port();
    let text = tcp_line(port, &shell(WHO)) + BEHIND + "    proxy_timeout = 1h\n";
    let daemon = Daemon::start(&text);
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0";
    for (count, half) in [&b"PROXY TCP4 192.0.2.1 "[..], version_2].into_iter().enumerate() {
        // Both at once, and one after the other.
        let at_once = begun(port, half);
        at_once.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_any_end(at_once), "");
        let later = begun(port, half);
        assert!(say(port, &line("192.0.2.1", 1), "").contains("192.0.2.1"));
        later.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_any_end(later), "");
        assert_eq!(daemon.accepted(port, count + 1).len(), count + 1);
    }
    let refused = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!((refused.get("reason"), refused.get("why")), (Some("proxy"), Some("closed")));
    // A whole one is served, with its end right behind it.
    let whole = begun(port, &line("192.0.2.1", 1));
    whole.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_any_end(whole).contains("192.0.2.1"));
}

#[test]
fn who_waits_goes_over_an_upgrade() {
    let (daemon, port, first, second) = full("    proxy_timeout = 1h\n");
    let mut half = begun(port, b"PROXY TCP4 192.0.2.3 ");
    // The listener rests; it is in the backlog, or has been taken: either way it goes on.
    upgrade(&daemon);
    upgrade(&daemon);
    drop(first);
    is_served(&second);
    drop(second);
    half.write_all(b"192.0.2.4 5 6\r\n").unwrap();
    assert_eq!(read_line(&half), "TCP 192.0.2.3 5 192.0.2.4 6 127.0.0.1\n");
    assert!(daemon.said("refused").is_empty());
}

#[test]
fn half_a_header_goes_over_an_upgrade_and_its_time_with_it() {
    let port = free_port();
    let text = tcp_line(port, &shell(WHO)) + BEHIND + "    proxy_timeout = 1s\n";
    let daemon = Setup::new().controlled().copied().start(&text);
    let late = begun(port, b"PROXY TCP4 192.0.2.3 ");
    // It has been taken before this one.
    assert!(say(port, &line("192.0.2.1", 1), "").contains("192.0.2.1"));
    upgrade(&daemon);
    assert_eq!(read_to_any_end(late), "");
    let mut soon = begun(port, b"PROXY TCP4 192.0.2.3 ");
    assert!(say(port, &line("192.0.2.1", 1), "").contains("192.0.2.1"));
    upgrade(&daemon);
    soon.write_all(b"192.0.2.4 5 6\r\nhello\n").unwrap();
    assert_eq!(read_line(&soon), "TCP 192.0.2.3 5 192.0.2.4 6 127.0.0.1\n");
    assert_eq!(read_line(&soon), "hello\n");
}

#[test]
fn a_client_of_tcpmux_is_who_the_header_names_after_an_upgrade_too() {
    let port = free_port();
    let text = tcp_line(port, "internal tcpmux")
        + BEHIND
        + &format!("tcpmux/who stream tcp nowait - {}\n", shell(WHO));
    let daemon = Setup::new().controlled().copied().start(&text);
    let mut client = begun(port, &line("192.0.2.1", 1));
    daemon.wait_log(|line| line.about("accepted", port));
    upgrade(&daemon);
    client.write_all(b"who\r\n").unwrap();
    assert_eq!(read_line(&client), "TCP 192.0.2.1 1 198.51.100.2 443 127.0.0.1\n");
}

#[test]
fn a_reload_leaves_those_who_wait_alone_and_is_for_them_too() {
    let (daemon, port, first, second) = full("    proxy_timeout = 1h\n");
    let text = tcp_line(port, &shell(WHO)) + BEHIND + "    instances = 2\n";
    daemon.reload(&text);
    // There is a second place now.
    is_served(&second);
    drop((first, second));
    daemon.wait_childless();
    let mut half = begun(port, b"PROXY TCP4 192.0.2.3 ");
    assert!(say(port, &line("192.0.2.1", 1), "").contains("192.0.2.1"));
    daemon.reload(&(text.clone() + "    only_from = 192.0.2.1\n"));
    half.write_all(b"192.0.2.4 5 6\r\n").unwrap();
    assert_eq!(read_to_any_end(half), "", "it is not among those who may connect now");
    let mut half = begun(port, b"PROXY TCP4 192.0.2.1 ");
    assert!(say(port, &line("192.0.2.1", 1), "").contains("192.0.2.1"));
    daemon.reload("");
    let _ = half.write_all(b"192.0.2.4 5 6\r\n");
    assert_eq!(read_to_any_end(half), "", "the service is gone");
}

#[test]
fn a_service_that_is_stopped_serves_nobody_who_waits() {
    let (daemon, port, first, second) = full("    proxy_timeout = 1h\n");
    daemon.answer(&["stop", &format!("{port}/tcp")]);
    assert_eq!(read_to_any_end(second), "");
    drop(first);
}

#[test]
fn a_server_that_drains_serves_those_who_have_come() {
    let (mut daemon, _, first, second) = full("    proxy_timeout = 1h\n");
    let client = drain(&daemon, "3600");
    assert!(daemon.is_running());
    drop(first);
    is_served(&second);
    drop(second);
    assert!(daemon.wait_exit().success());
    assert!(client.wait_with_output().unwrap().status.success());
}

#[test]
fn who_has_said_nothing_by_the_end_of_a_drain_is_closed() {
    let (mut daemon, _, first, second) = full("    proxy_timeout = 1h\n");
    let client = drain(&daemon, "0");
    assert_eq!(read_to_any_end(second), "");
    drop(first);
    assert!(daemon.wait_exit().success());
    assert!(client.wait_with_output().unwrap().status.success());
}
