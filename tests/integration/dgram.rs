//! UDP services: a program per peer (`nowait`); one for all of them is in `waiting`.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::common::clients::{udp_ask, udp_read, udp_to};
use crate::common::procs;
use crate::common::{
    Daemon, Setup, free_port, free_ports, me, need_ipv6, need_root, shell, udp, wait_until,
};

fn udp_line(port: u16, program: &str) -> String {
    format!("127.0.0.1:{port} dgram udp nowait - {program}\n")
}

#[test]
fn two_udp_peers_at_once_have_a_program_each() {
    let port = free_port();
    let mut daemon = Daemon::start(&udp_line(port, "/bin/cat cat"));
    let (first, second) = (udp(port), udp(port));
    assert_eq!(udp_ask(&first, "one"), "one");
    assert_eq!(udp_ask(&second, "two"), "two");
    let pids = daemon.accepted(port, 2);
    assert_ne!(pids[0], pids[1]);
    for round in 0..20 {
        assert_eq!(udp_ask(&first, &format!("first {round}")), format!("first {round}"));
        assert_eq!(udp_ask(&second, &format!("second {round}")), format!("second {round}"));
    }
    daemon.said_times(2, "accepted");
    daemon.stop();
}

#[test]
fn the_log_names_the_udp_peer() {
    let port = free_port();
    let daemon = Daemon::start(&udp_line(port, "/bin/cat cat"));
    let client = udp(port);
    assert_eq!(udp_ask(&client, "x"), "x");
    let line = daemon.wait_log(|line| line.about("accepted", port));
    assert_eq!(line.get("service"), Some(format!("{port}/udp").as_str()));
    assert_eq!(line.get("peer"), Some(client.local_addr().unwrap().to_string().as_str()));
}

#[test]
fn datagrams_sent_in_a_burst_by_one_peer_all_arrive() {
    let port = free_port();
    let daemon = Daemon::start(&udp_line(port, "/bin/cat cat"));
    let client = udp(port);
    for number in 0..30 {
        client.send(format!("{number}").as_bytes()).unwrap();
    }
    let mut answers: Vec<u32> = (0..30).map(|_| udp_read(&client).parse().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, (0..30).collect::<Vec<_>>());
    // What is logged before this has come, too: the client may be faster than the log.
    let _ = daemon.count_peers();
    daemon.said_times(1, "accepted");
}

#[test]
fn a_peer_that_comes_back_after_its_program_ended_gets_a_new_one() {
    let port = free_port();
    let daemon = Daemon::start(&udp_line(port, "/usr/bin/head head -c 3"));
    let client = udp(port);
    assert_eq!(udp_ask(&client, "abc"), "abc");
    let _ = daemon.wait_count(1, |line| line.about("ended", port));
    assert_eq!(udp_ask(&client, "def"), "def");
    let pids = daemon.accepted(port, 2);
    assert_ne!(pids[0], pids[1]);
}

#[test]
fn a_hundred_udp_peers_are_each_answered_and_none_stays_behind() {
    let port = free_port();
    let daemon = Daemon::start(&udp_line(port, "/usr/bin/head head -c 5"));
    let before = procs::descriptors(daemon.pid());
    let clients: Vec<_> = (0..100).map(|_| udp(port)).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(format!("{number:05}").as_bytes()).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(udp_read(client), format!("{number:05}"));
    }
    let _ = daemon.wait_count(100, |line| line.about("ended", port));
    daemon.wait_childless();
    let kept = procs::KEPT_DESCRIPTORS;
    wait_until("the descriptors to be given back", || {
        procs::descriptors(daemon.pid()) <= before + kept
    });
}

#[test]
fn udp_over_ipv6_has_a_program_per_peer_too() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&format!("[::1]:{port} dgram udp6 nowait - /bin/cat cat\n"));
    let address = std::net::SocketAddr::new("::1".parse().unwrap(), port);
    let (first, second) = (udp_to(address), udp_to(address));
    assert_eq!(udp_ask(&first, "one"), "one");
    assert_eq!(udp_ask(&second, "two"), "two");
    let _ = daemon.accepted(port, 2);
}

#[test]
fn a_program_that_answers_with_several_datagrams_reaches_its_peer_only() {
    let port = free_port();
    let script = shell("head -c 1 >/dev/null; echo one; echo two");
    let _daemon = Daemon::start(&udp_line(port, &script));
    let (asking, other) = (udp(port), udp(port));
    assert_eq!(udp_ask(&asking, "?"), "one\n");
    assert_eq!(udp_read(&asking), "two\n");
    other.set_nonblocking(true).unwrap();
    let mut buffer = [0; 16];
    assert!(other.recv(&mut buffer).is_err(), "the other peer asked nothing");
}

#[test]
fn an_empty_datagram_starts_a_program_as_well() {
    let port = free_port();
    let script = shell("head -c 1 >/dev/null; echo empty");
    let daemon = Daemon::start(&udp_line(port, &script));
    let client = udp(port);
    assert_eq!(udp_ask(&client, ""), "empty\n");
    assert_eq!(daemon.accepted(port, 1).len(), 1);
}

/// What the server finds when it is busy: datagrams of several peers in one queue.
#[test]
fn peers_that_come_at_once_wait_for_room_one_after_the_other() {
    let port = free_port();
    let line = udp_line(port, "/usr/bin/head head -c 3") + "    instances = 1\n";
    let mut daemon = Daemon::start(&line);
    let clients: Vec<UdpSocket> = (0..5).map(|_| udp(port)).collect();
    daemon.signal(Signal::SIGSTOP);
    wait_until("it is stopped", || procs::state(daemon.pid()) == Some('T'));
    for client in &clients {
        client.send(b"abc").unwrap();
    }
    daemon.signal(Signal::SIGCONT);
    for client in &clients {
        assert_eq!(udp_read(client), "abc");
    }
    let _ = daemon.wait_count(5, |line| line.about("ended", port));
    assert_eq!(daemon.said("refused").len(), 0);
    daemon.stop();
}

#[test]
fn what_one_source_may_ask_of_a_built_in_service_has_its_limit_though_wait_is_written() {
    let port = free_port();
    for wait in ["wait", "nowait"] {
        let daemon = Daemon::start(&format!(
            "127.0.0.1:{port} dgram udp {wait} {} internal echo\n    source_rate = 1/minute\n",
            me()
        ));
        let client = udp(port);
        assert_eq!(udp_ask(&client, "one"), "one");
        client.send(b"two").unwrap();
        let line = daemon.wait_log(|line| line.about("refused", port));
        assert_eq!(line.get("reason"), Some("source_rate"), "{}", line.raw);
    }
}

/// A datagram of one byte with a source port that is not ours, from 127.0.0.1.
fn forge(from: u16, to: u16) {
    let (udp, flags) = (SockProtocol::Udp, SockFlag::SOCK_CLOEXEC);
    let raw = socket(AddressFamily::Inet, SockType::Raw, flags, udp).unwrap();
    let [from, to, length] = [from, to, 9].map(u16::to_be_bytes);
    // Without a checksum.
    let packet = [&from[..], &to, &length, &[0, 0], b"x"].concat();
    let address = SockaddrIn::new(127, 0, 0, 1, 0);
    let _ = sendto(raw.as_raw_fd(), &packet, &address, MsgFlags::empty()).unwrap();
}

#[test]
fn our_own_services_are_not_set_upon_each_other() {
    if !need_root() {
        return;
    }
    let ports = free_ports(3);
    let (echo, cat, other) = (ports[0], ports[1], ports[2]);
    let text = format!("127.0.0.1:{echo} dgram udp wait root internal echo\n")
        + &udp_line(cat, "/bin/cat cat")
        + &udp_line(other, "/bin/cat cat");
    let daemon = Setup::new().env("RUST_LOG", "debug").start(&text);
    for (from, to) in [(cat, echo), (cat, cat), (echo, cat), (other, cat)] {
        let mark = daemon.log.mark();
        forge(from, to);
        let peer = format!("127.0.0.1:{from}");
        let said = |line: &crate::common::Line| line.get("peer") == Some(peer.as_str());
        let line = daemon.wait_after(mark, said);
        assert!(line.is("unanswered"), "{}", line.raw);
    }
    assert_eq!(udp_ask(&udp(cat), "others"), "others");
    assert_eq!(daemon.accepted(cat, 1).len(), 1);
}
