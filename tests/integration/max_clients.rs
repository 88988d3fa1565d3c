//! `max_clients`: a service stops by itself after so many clients.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;

use crate::banners::{LONG, long, narrow};
use crate::common::clients::{echo_once, is_closed, read_to_any_end, tcp_from, udp_ask};
use crate::common::control::{controlled, status, status_of, status_of_port, upgrade};
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, me, need_ipv6, own_line, read_all, read_line,
    shell, tcp, tcp_line, tcp6, udp, wait_until,
};

fn limit(count: u32) -> String {
    format!("    max_clients = {count}\n")
}

/// Waits until the service of this label says that it has stopped.
#[track_caller]
fn wait_stopped(daemon: &Daemon, label: &str, count: usize) {
    let lines = daemon
        .wait_count(count, |line| line.is("service-stopped") && line.get("service") == Some(label));
    assert_eq!(lines[0].get("reason"), Some("max_clients"), "{}", lines[0].raw);
}

#[track_caller]
fn wait_port_stopped(daemon: &Daemon, port: u16) {
    wait_stopped(daemon, &format!("{port}/tcp"), 1);
}

#[test]
fn a_service_stops_after_its_clients_and_starts_when_it_is_told() {
    let port = free_port();
    let daemon = controlled(&(tcp_line(port, "/bin/cat cat") + &limit(2)));
    for round in 1..=2 {
        let first = tcp(port);
        assert_eq!(echo_once(&first, "?"), "?");
        drop(first);
        let second = tcp(port);
        assert_eq!(echo_once(&second, "?"), "?");
        wait_stopped(&daemon, &format!("{port}/tcp"), round);
        assert!(is_closed(port));
        assert_eq!(echo_once(&second, "the last one is served"), "the last one is served");
        let said = status_of_port(&daemon, port);
        assert_eq!((&said["state"], &said["stopped"]), (&"stopped".into(), &"max_clients".into()));
        let table = daemon.answer(&["status"]);
        assert!(table.contains("stopped (max_clients)"), "{table}");
        let _ = daemon.answer(&["start", &port.to_string()]);
        assert!(status_of_port(&daemon, port).get("stopped").is_none());
    }
    assert_eq!(status_of_port(&daemon, port)["accepted"], 4);
}

#[test]
fn all_sockets_of_a_service_count_together_and_refused_clients_do_not() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let line = format!("[::1],127.0.0.1:{port} stream tcp nowait - echo echo here\n");
    let daemon = Daemon::start(&(line + "    no_access = 127.0.0.9\n" + &limit(2)));
    for _ in 0..5 {
        assert_eq!(read_to_any_end(tcp_from(Ipv4Addr::new(127, 0, 0, 9), port)), "");
    }
    assert_eq!(read_all(tcp(port)), "here\n");
    assert_eq!(read_all(tcp6(port)), "here\n");
    wait_port_stopped(&daemon, port);
    assert!(is_closed(port));
}

#[test]
fn every_kind_of_service_stops_after_its_max_clients() {
    let (ports, folder) = (free_ports(6), Folder::new());
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = target.local_addr().unwrap().port();
    let path = folder.open_folder("sockets").join("here");
    let text = [
        tcp_line(ports[0], "internal echo"),
        tcp_line(ports[1], &format!("internal\n    redirect = 127.0.0.1 {to}")),
        format!("127.0.0.1:{} dgram udp wait {} internal echo\n", ports[2], me()),
        format!("127.0.0.1:{} dgram udp nowait - cat\n", ports[3]),
        tcp_line(ports[4], "internal tcpmux"),
        format!("tcpmux/+own stream tcp nowait - {}\n", shell("echo own")),
        format!("{} stream unix nowait {} echo echo here\n", path.display(), me()),
    ];
    // All of them but tcpmux itself.
    let once = |line: &String| {
        if line.contains("tcpmux\n") { line.clone() } else { line.clone() + &limit(1) }
    };
    let text: String = text.iter().map(once).collect();
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let builtin = tcp(ports[0]);
    let relayed = tcp(ports[1]);
    let (mut behind, _) = target.accept().unwrap();
    behind.write_all(b"behind\n").unwrap();
    assert_eq!(read_line(&relayed), "behind\n");
    assert_eq!(udp_ask(&udp(ports[2]), "?"), "?");
    let peer = udp(ports[3]);
    assert_eq!(udp_ask(&peer, "?"), "?");
    let mut mux = tcp(ports[4]);
    mux.write_all(b"own\r\n").unwrap();
    assert!(read_all(mux).ends_with("own\n"));
    assert_eq!(read_all(UnixStream::connect(&path).unwrap()), "here\n");
    for (index, protocol) in [(0, "tcp"), (1, "tcp"), (2, "udp"), (3, "udp")] {
        wait_stopped(&daemon, &format!("{}/{protocol}", ports[index]), 1);
    }
    wait_stopped(&daemon, "tcpmux/own", 1);
    wait_stopped(&daemon, path.to_str().unwrap(), 1);
    assert!(!path.exists() && is_closed(ports[0]) && is_closed(ports[1]));
    assert_eq!(echo_once(&builtin, "still"), "still");
    assert_eq!(udp_ask(&peer, "still"), "still", "its program has its own socket");
    let mut mux = tcp(ports[4]);
    mux.write_all(b"own\r\n").unwrap();
    assert!(read_all(mux).starts_with('-'), "an entry that is stopped is not available");
    assert_eq!(status_of(&daemon, "tcpmux/own")["stopped"], "max_clients");
    let _ = daemon.answer(&["start", "tcpmux/own"]);
    let mut mux = tcp(ports[4]);
    mux.write_all(b"own\r\n").unwrap();
    assert!(read_all(mux).ends_with("own\n"));
}

#[test]
fn a_program_that_has_the_socket_has_it_to_its_end() {
    let port = free_port();
    let script = shell("head -c 2 >&2");
    let line = format!("127.0.0.1:{port} dgram udp wait {} {script}\n", me());
    let daemon = controlled(&(line + &limit(1)));
    let client = udp(port);
    client.send(b"a").unwrap();
    let _ = daemon.wait_log(|line| line.about("accepted", port));
    assert_eq!(status_of(&daemon, &format!("{port}/udp"))["state"], "busy");
    client.send(b"b").unwrap();
    let _ = daemon.wait_log(|line| line.about("ended", port));
    wait_stopped(&daemon, &format!("{port}/udp"), 1);
    daemon.said_times(1, "accepted");
    let _ = daemon.answer(&["start", &port.to_string()]);
    udp(port).send(b"cd").unwrap();
    let _ = daemon.accepted(port, 2);
}

#[test]
fn who_is_still_reading_a_banner_is_the_last_one_and_is_served() {
    let port = free_port();
    let (folder, text) = long();
    let line = tcp_line(port, "/bin/cat cat") + LONG + &limit(1);
    let daemon = Setup::new().start_in(folder, &line);
    let mut client = narrow(port);
    wait_port_stopped(&daemon, port);
    client.write_all(b"me").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(client), text + "me");
}

#[test]
fn a_reload_leaves_a_stopped_service_so_unless_it_is_another_one() {
    let ports = free_ports(2);
    let line = tcp_line(ports[0], "/bin/echo echo here");
    let other = tcp_line(ports[1], "/bin/echo echo other");
    let daemon = controlled(&(line.clone() + &limit(1)));
    assert_eq!(read_all(tcp(ports[0])), "here\n");
    wait_port_stopped(&daemon, ports[0]);
    let _ = daemon.reload(&(line.clone() + &limit(1) + &other));
    assert_eq!(read_all(tcp(ports[1])), "other\n");
    assert!(is_closed(ports[0]));
    let _ = daemon.reload(&(line.clone() + &limit(2)));
    for _ in 0..2 {
        assert_eq!(read_all(tcp(ports[0])), "here\n");
    }
    wait_stopped(&daemon, &format!("{}/tcp", ports[0]), 2);
    // Whoever has stopped it by hand means that it stays so.
    let _ = daemon.answer(&["stop", &ports[0].to_string()]);
    let _ = daemon.reload(&(line + &limit(3)));
    assert!(is_closed(ports[0]));
    assert_eq!(status_of_port(&daemon, ports[0])["stopped"], "command");
}

#[test]
fn an_upgrade_goes_on_counting_and_keeps_what_is_stopped() {
    let ports = free_ports(2);
    let text = tcp_line(ports[0], "/bin/echo echo here")
        + &limit(3)
        + &tcp_line(ports[1], "/bin/cat cat")
        + &limit(1);
    let daemon = controlled(&text);
    assert_eq!(read_all(tcp(ports[0])), "here\n");
    let last = tcp(ports[1]);
    wait_port_stopped(&daemon, ports[1]);
    for _ in 0..2 {
        upgrade(&daemon);
        assert!(is_closed(ports[1]));
        assert_eq!(status_of_port(&daemon, ports[1])["stopped"], "max_clients");
        assert_eq!(echo_once(&last, "?"), "?");
        assert_eq!(read_all(tcp(ports[0])), "here\n");
    }
    wait_port_stopped(&daemon, ports[0]);
    assert_eq!(status_of_port(&daemon, ports[0])["accepted"], 3);
    let all = status(&daemon, None);
    assert_eq!(all["failed"], 0, "{all}");
}

#[test]
fn run_ends_with_its_service_when_its_last_program_has() {
    let script = "read line; echo \"$line\"; exit 3";
    let mut daemon =
        Setup::new().run(&["run", "-o", "max_clients=2", "127.0.0.1:0", "--", "sh", "-c", script]);
    let port = port_of(&daemon);
    let (mut first, mut second) = (tcp(port), tcp(port));
    let _ = daemon.wait_log(|line| line.is("service-stopped"));
    assert!(is_closed(port) && daemon.is_running());
    second.write_all(b"second\n").unwrap();
    assert_eq!(read_all(second), "second\n");
    let _ = daemon.wait_log(|line| line.is("ended"));
    assert!(daemon.is_running());
    first.write_all(b"first\n").unwrap();
    assert_eq!(read_all(first), "first\n");
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let line = daemon.wait_log(|line| line.is("stopping"));
    assert_eq!(line.get("signal"), Some("max_clients"));
    daemon.said_times(2, "ended");
}

#[test]
fn run_ends_with_a_relay_and_with_a_program_that_waits() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = format!("redirect=127.0.0.1 {}", target.local_addr().unwrap().port());
    let arguments = ["run", "-o", "max_clients=1", "-o", &to, "127.0.0.1:0", "--", "internal"];
    let mut daemon = Setup::new().run(&arguments);
    let mut client = tcp(port_of(&daemon));
    let (behind, _) = target.accept().unwrap();
    client.write_all(b"hello\n").unwrap();
    assert_eq!(read_line(&behind), "hello\n");
    assert!(daemon.is_running());
    drop((client, behind));
    assert!(daemon.wait_exit().success());
    let arguments = ["run", "--udp", "-o", "wait=yes", "-o", "max_clients=1", "127.0.0.1:0"];
    let program = ["--", "sh", "-c", "head -c 1"];
    let mut daemon = Setup::new().run(&[&arguments[..], &program[..]].concat());
    udp(port_of(&daemon)).send(b"?").unwrap();
    assert!(daemon.wait_exit().success());
}

/// Where it listens.
#[track_caller]
fn port_of(daemon: &Daemon) -> u16 {
    let line = daemon.wait_log(|line| line.is("listening"));
    line.get("address").unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn run_that_has_more_clients_to_come_goes_on() {
    let port = free_port();
    let mut daemon = Daemon::start(&(own_line(port, "/bin/echo echo here") + &limit(1)));
    assert_eq!(read_all(tcp(port)), "here\n");
    wait_port_stopped(&daemon, port);
    wait_until("the last program to be gone", || daemon.count_peers().1 == 0);
    assert!(daemon.is_running(), "only `run` ends with its service");
    daemon.stop();
}
