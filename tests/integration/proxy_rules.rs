//! `proxy_protocol`: who may send a header, what becomes of one that is none, and that every
//! rule is about the client that it names.

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown};

use serde_json::Value;

use crate::common::clients::{read_to_any_end, tcp_from};
use crate::common::control::{controlled, status_of_port};
use crate::common::daemon::command;
use crate::common::{
    Daemon, Folder, free_port, free_ports, read_line, shell, tcp, tcp_line, wait_until,
};
use crate::proxy_headers::{BEHIND, ENDS, WHO, binary, line, say};

/// Sends something that gets no answer.
#[track_caller]
fn in_vain(port: u16, bytes: &[u8]) {
    let mut client = tcp(port);
    let _ = client.write_all(bytes);
    assert_eq!(read_to_any_end(client), "", "{bytes:?}");
}

#[test]
fn what_is_no_header_is_refused_and_starts_nothing() {
    let port = free_port();
    let daemon = controlled(&(tcp_line(port, "/bin/echo echo served") + BEHIND));
    let wrong = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 70000\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".to_vec(),
        vec![b'\n'; 5000],
        binary(0x31, 0x11, ENDS),
        binary(0x21, 0x11, &ENDS[..11]),
        binary(0x21, 0x11, &[ENDS, &[3, 0, 4, 1, 2, 3, 4]].concat()),
        binary(0x21, 0x11, &vec![0; 2033]),
    ];
    for bytes in &wrong {
        in_vain(port, bytes);
    }
    // Gone without a word, or in the middle of one.
    drop(tcp(port));
    let half = tcp(port);
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_any_end(half), "");
    let count = u64::try_from(wrong.len()).unwrap() + 2;
    wait_until("all to be counted", || status_of_port(&daemon, port)["refused"]["proxy"] == count);
    assert!(daemon.said("accepted").is_empty());
    let said = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!((said.get("reason"), said.get("via")), (Some("proxy"), None));
    assert!(said.get("peer").unwrap().starts_with("127.0.0.1:"), "{}", said.raw);
}

#[test]
fn the_log_says_why_a_header_is_none() {
    let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
    let wrong = [
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), "no_header"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 70000\r\n".to_vec(), "malformed"),
        (binary(0x21, 0x11, &ENDS[..11]), "malformed"),
        (long.into_bytes(), "too_long"),
        (binary(0x21, 0x11, &vec![0; 2033]), "too_long"),
        (binary(0x21, 0x11, &[ENDS, &[3, 0, 4, 1, 2, 3, 4]].concat()), "checksum"),
        (Vec::new(), "closed"),
        (b"PROXY TCP4".to_vec(), "timeout"),
    ];
    // A line a second is told of each service: so each has one of its own.
    let ports = free_ports(9);
    let (foreign, ports) = ports.split_first().unwrap();
    let service = |((_, wanted), port): (&(Vec<u8>, &str), &u16)| {
        // Nobody else is too slow, however slow this is.
        let patience = if *wanted == "timeout" { "1s" } else { "1m" };
        let line = tcp_line(*port, "/bin/echo echo served") + BEHIND;
        line + &format!("    proxy_timeout = {patience}\n")
    };
    let text: String = wrong.iter().zip(ports).map(service).collect();
    let other = "    proxy_protocol = require\n    proxy_from = 127.0.0.2\n";
    let daemon = Daemon::start(&(text + &tcp_line(*foreign, "/bin/echo echo served") + other));
    let why = |port: u16| {
        let line = daemon.wait_log(|line| line.about("refused", port));
        assert_eq!(line.get("reason"), Some("proxy"), "{}", line.raw);
        line.get("why").unwrap_or_default().to_owned()
    };
    in_vain(*foreign, &line("192.0.2.1", 1));
    assert_eq!(why(*foreign), "not_from");
    for ((bytes, wanted), port) in wrong.iter().zip(ports) {
        let mut client = tcp(*port);
        client.write_all(bytes).unwrap();
        if *wanted == "closed" {
            client.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(read_to_any_end(client), "", "{bytes:?}");
        assert_eq!(why(*port), *wanted, "{bytes:?}");
    }
    // Many of them are no flood of lines, and all are told of.
    let port = ports[0];
    let told = || {
        let lines = daemon.said("refused").into_iter().filter(|line| line.about("refused", port));
        lines.map(|line| line.number("left_out").unwrap() + 1).collect::<Vec<_>>()
    };
    let began = std::time::Instant::now();
    for _ in 0..300 {
        in_vain(port, b"nonsense\r\n");
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    wait_until("all are told of", || told().iter().sum::<u32>() == 301);
    assert!(told().len() < seconds + 10, "{:?} in {seconds} s", told());
}

#[test]
fn who_may_not_send_a_header_is_nobody_whatever_it_says() {
    let port = free_port();
    let attributes = "    proxy_protocol = require\n    proxy_from = 127.0.0.2\n";
    let daemon = Daemon::start(&(tcp_line(port, "/bin/echo echo served") + attributes));
    for bytes in [line("127.0.0.2", 1), binary(0x21, 0x11, ENDS), b"hello\n".to_vec()] {
        in_vain(port, &bytes);
    }
    let said = daemon.wait_log(|line| line.about("refused", port));
    assert!(said.get("peer").unwrap().starts_with("127.0.0.1:"), "{}", said.raw);
    assert_eq!((said.get("reason"), said.get("via")), (Some("proxy"), None));
    let mut proxy = tcp_from(Ipv4Addr::new(127, 0, 0, 2), port);
    proxy.write_all(&line("192.0.2.1", 1)).unwrap();
    assert_eq!(read_line(&proxy), "served\n");
    daemon.wait_log(|line| line.is("accepted"));
    daemon.said_times(1, "accepted");
}

#[test]
fn a_header_that_does_not_come_in_time_is_refused() {
    let port = free_port();
    let text = tcp_line(port, "/bin/echo echo served") + BEHIND + "    proxy_timeout = 200ms\n";
    let daemon = controlled(&text);
    let silent = tcp(port);
    let mut half = tcp(port);
    half.write_all(b"PROXY TCP4 192.0.2.1 ").unwrap();
    assert_eq!(read_to_any_end(silent), "");
    assert_eq!(read_to_any_end(half), "");
    assert_eq!(status_of_port(&daemon, port)["refused"]["proxy"], 2);
    assert!(daemon.said("accepted").is_empty());
}

#[test]
fn a_refused_proxy_is_told_so_where_the_service_says_something() {
    let (port, folder) = (free_port(), Folder::new());
    folder.write("no", "not for you\r\n");
    folder.write("yes", "welcome\r\n");
    let text = tcp_line(port, "/bin/echo echo served")
        + BEHIND
        + "    banner_fail = no\n    banner_success = yes\n    only_from = 192.0.2.0/24\n";
    let _daemon = crate::common::Setup::new().start_in(folder, &text);
    assert_eq!(say(port, b"hello", ""), "not for you\r\n");
    assert_eq!(say(port, &line("198.51.100.7", 1), ""), "not for you\r\n");
    assert_eq!(say(port, &line("192.0.2.1", 1), ""), "welcome\r\nserved\n");
}

#[test]
fn who_may_connect_is_asked_of_the_client_that_is_named() {
    let port = free_port();
    let rules = "    only_from = 192.0.2.0/24\n    no_access = 192.0.2.66\n";
    let daemon = Daemon::start(&(tcp_line(port, "/bin/echo echo served") + BEHIND + rules));
    assert_eq!(say(port, &line("192.0.2.1", 1), ""), "served\n");
    for bad in ["192.0.2.66", "203.0.113.1", "127.0.0.1"] {
        in_vain(port, &line(bad, 1));
    }
    // The proxy itself is no client of this service.
    in_vain(port, b"PROXY UNKNOWN\r\n");
    let said = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!((said.get("reason"), said.get("peer")), (Some("access"), Some("192.0.2.66:1")));
    assert!(said.get("via").unwrap().starts_with("127.0.0.1:"), "{}", said.raw);
}

#[test]
fn a_source_is_the_client_that_is_named() {
    let port = free_port();
    let rules = "    per_source = 1\n    source_rate = 2/minute\n";
    let daemon = controlled(&(tcp_line(port, &shell(WHO)) + BEHIND + rules));
    let hold = |client: &str| {
        let mut stream = tcp(port);
        stream.write_all(&line(client, 1)).unwrap();
        assert!(read_line(&stream).contains(client));
        stream
    };
    let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(hold);
    in_vain(port, &line("192.0.2.1", 2));
    assert_eq!(status_of_port(&daemon, port)["refused"]["per_source"], 1);
    drop(clients);
    daemon.wait_childless();
    drop(hold("192.0.2.1"));
    daemon.wait_childless();
    in_vain(port, &line("192.0.2.1", 3));
    assert_eq!(status_of_port(&daemon, port)["refused"]["source_rate"], 1);
}

#[test]
fn those_who_are_here_are_listed_and_ended_by_the_address_that_is_named() {
    let port = free_port();
    let daemon = controlled(&(tcp_line(port, &shell(WHO)) + BEHIND));
    let mut client = tcp(port);
    client.write_all(&line("192.0.2.1", 7)).unwrap();
    read_line(&client);
    let peers: Value = serde_json::from_str(&daemon.answer(&["peers", "--json"])).unwrap();
    assert_eq!(peers["peers"][0]["address"], "192.0.2.1:7");
    assert!(!daemon.ask(&["kill", "127.0.0.1"]).status.success());
    assert!(daemon.answer(&["kill", "192.0.2.1"]).starts_with("sent TERM to "));
    assert_eq!(read_to_any_end(client), "");
    let said = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!((said.get("peer"), said.get("signal")), (Some("192.0.2.1:7"), Some("SIGTERM")));
}

#[test]
fn mistakes_are_said_with_their_place() {
    let folder = Folder::new();
    let check = |text: &str| {
        let file = folder.write("inetd.conf", text);
        let output = command(&[]).arg("check").arg(file).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout)
    };
    let attributes = "    proxy_from = 192.0.2.7\n    proxy_protocol = require\n";
    for (service, why) in [
        ("8080 stream tcp wait - cat", "with `wait`, the program takes the connections itself"),
        ("8080 dgram udp wait - cat", "datagrams are no connection"),
        ("echo dgram udp wait - internal", "datagrams are no connection"),
        ("/run/x seqpacket unix nowait - cat", "it stands at the beginning of a stream"),
        ("tcpmux/x stream tcp nowait - cat", "the connection is one of tcpmux"),
    ] {
        let said = check(&format!("{service}\n{attributes}"));
        assert!(said.contains(&format!("`proxy_protocol` cannot be: {why}")), "{said}");
        assert!(said.contains("inetd.conf:3:5"), "{said}");
    }
    let said = check("8080 stream tcp nowait - cat\n    proxy_protocol = accept\n");
    assert!(said.contains("`proxy_protocol` needs `proxy_from`"), "{said}");
    assert!(said.contains("inetd.conf:2:5"), "{said}");
    let said = check("8080 stream tcp nowait - cat\n    proxy_timeout = 1s\n");
    assert!(said.contains("`proxy_timeout` has no effect: `proxy_protocol` is `no`"), "{said}");
    let said = check("8080 stream tcp nowait - cat\n    proxy_send = v1\n");
    assert!(said.contains("`proxy_send` has no effect: there is no `redirect`"), "{said}");
    let said = check("@x stream unix nowait - cat\n    proxy_protocol = require\n");
    assert!(said.contains("everybody on this machine may name any client"), "{said}");
    // What defaults say is for those that can have it.
    let defaults = format!(".defaults\n{attributes}");
    let said = check(&(defaults + "8080 stream tcp wait - cat\n80 stream tcp nowait - cat\n"));
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
}
