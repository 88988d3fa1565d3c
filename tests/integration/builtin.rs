//! The services of our own: RFC 862, 863, 864, 867, 868, over TCP and UDP.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::clients::{echo_once, udp_ask, udp_to};
use crate::common::procs;
use crate::common::{DEADLINE, Daemon, ask, free_port, me, need_ipv6, read_all, tcp, udp};

/// The names of the built-in services are the names in the services database, whose
/// ports an ordinary user cannot have; the program field's argument names them too.
fn internal(port: u16, kind: &str, name: &str) -> String {
    let (protocol, wait) = if kind == "dgram" { ("udp", "wait") } else { ("tcp", "nowait") };
    format!("127.0.0.1:{port} {kind} {protocol} {wait} {} internal {name}\n", me())
}

/// Seconds since 1900 (RFC 868) now.
fn seconds_since_1900() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2_208_988_800
}

#[test]
fn echo_over_tcp_gives_back_what_it_gets_without_a_process() {
    let port = free_port();
    let mut daemon = Daemon::start(&internal(port, "stream", "echo"));
    let client = tcp(port);
    assert_eq!(echo_once(&client, "RFC 862"), "RFC 862");
    assert!(procs::children(daemon.pid()).is_empty());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client), "");
    daemon.stop();
}

#[test]
fn echo_over_tcp_holds_a_megabyte_back_for_a_slow_reader() {
    let port = free_port();
    let _daemon = Daemon::start(&internal(port, "stream", "echo"));
    let text = "x".repeat(1 << 20);
    let stream = tcp(port);
    let mut sender = stream.try_clone().unwrap();
    let sent = text.clone();
    let worker = std::thread::spawn(move || {
        sender.write_all(sent.as_bytes()).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_all(stream) == text, "not what was sent");
    worker.join().unwrap();
}

#[test]
fn echo_over_udp_answers_each_datagram() {
    let port = free_port();
    let _daemon = Daemon::start(&internal(port, "dgram", "echo"));
    let client = udp(port);
    assert_eq!(udp_ask(&client, "one"), "one");
    assert_eq!(udp_ask(&client, "two"), "two");
}

#[test]
fn a_client_is_answered_from_the_address_that_it_has_asked() {
    let port = free_port();
    let _daemon = Daemon::start(&format!("{port} dgram udp wait - internal echo\n"));
    for ip in ["127.0.0.1", "127.0.0.2", "127.9.9.9"] {
        // Connected: what comes from another address is not taken.
        let client = udp_to(SocketAddr::new(ip.parse().unwrap(), port));
        assert_eq!(udp_ask(&client, ip), ip);
    }
    if need_ipv6() {
        let client = udp_to(SocketAddr::new("::1".parse().unwrap(), port));
        assert_eq!(udp_ask(&client, "IPv6"), "IPv6");
    }
}

#[test]
fn what_is_sent_to_many_is_not_answered() {
    let port = free_port();
    let _daemon = Daemon::start(&format!("{port} dgram udp4 wait - internal echo\n"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_broadcast(true).unwrap();
    client.send_to(b"everybody", ("127.255.255.255", port)).unwrap();
    client.send_to(b"you", ("127.0.0.1", port)).unwrap();
    let mut buffer = [0; 64];
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"you", "the first and only answer");
}

#[test]
fn discard_over_tcp_takes_everything_and_says_nothing() {
    let port = free_port();
    let _daemon = Daemon::start(&internal(port, "stream", "discard"));
    assert_eq!(ask(port, &"gone".repeat(100_000)), "");
}

#[test]
fn chargen_over_tcp_sends_the_rotating_pattern() {
    let port = free_port();
    let _daemon = Daemon::start(&internal(port, "stream", "chargen"));
    let mut bytes = vec![0; 74 * 3];
    tcp(port).read_exact(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!((lines[0].len(), lines[1].len()), (72, 72), "{text}");
    assert_eq!(lines[0][1..], lines[1][..71], "each line starts one character later");
}

#[test]
fn daytime_over_tcp_is_one_line_with_the_year() {
    let port = free_port();
    let _daemon = Daemon::start(&internal(port, "stream", "daytime"));
    let text = read_all(tcp(port));
    assert!(text.ends_with("\r\n") && text.contains("20"), "{text:?}");
    assert_eq!(text.lines().count(), 1, "{text:?}");
}

#[test]
fn time_over_tcp_is_four_bytes_since_1900() {
    let port = free_port();
    let _daemon = Daemon::start(&internal(port, "stream", "time"));
    let mut bytes = Vec::new();
    tcp(port).read_to_end(&mut bytes).unwrap();
    let said = u64::from(u32::from_be_bytes(bytes.try_into().unwrap()));
    assert!(said.abs_diff(seconds_since_1900() & 0xffff_ffff) < 60, "{said}");
}

#[test]
fn three_hundred_clients_of_a_built_in_service_are_served_in_the_loop() {
    let port = free_port();
    let text = internal(port, "stream", "echo") + "    instances = unlimited\n";
    let daemon = Daemon::start(&text);
    let before = procs::descriptors(daemon.pid());
    let clients: Vec<_> = (0..300).map(|_| tcp(port)).collect();
    for client in &clients {
        assert_eq!(echo_once(client, "x"), "x");
    }
    drop(clients);
    crate::common::wait_until("their descriptors to be closed", || {
        procs::descriptors(daemon.pid()) <= before
    });
}

#[test]
fn a_built_in_udp_service_never_answers_with_more_than_it_was_asked() {
    for name in ["chargen", "daytime"] {
        let port = free_port();
        let _daemon = Daemon::start(&internal(port, "dgram", name));
        let client = udp(port);
        // Long enough for a whole answer of either.
        let answer = udp_ask(&client, &"?".repeat(100));
        assert!(!answer.is_empty() && answer.len() <= 100, "{name}: {answer:?}");
    }
}
