//! `redirect`: connections relayed to another server, which is the test itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};

use crate::common::clients::{echo_once, read_to_any_end, reset};
use crate::common::needs::skip;
use crate::common::procs::{self, resident_data};
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, me, own_line, read_all, tcp, tcp_line, wait_until,
};

const MIB: usize = 1 << 20;

fn relay_line(port: u16, target: &str) -> String {
    own_line(port, "internal") + &format!("    redirect = {target}\n")
}

/// A server to be relayed to, and its port.
fn target() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A daemon that relays one port, the port, and the target.
fn relay() -> (Daemon, u16, TcpListener) {
    let (listener, to) = target();
    let port = free_port();
    let daemon = Daemon::start(&relay_line(port, &format!("127.0.0.1 {to}")));
    (daemon, port, listener)
}

/// Bytes that do not repeat soon.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn mebibytes_arrive_unchanged_both_ways_at_once() {
    let (daemon, port, listener) = relay();
    let (up, down) = (noise(8 * MIB, 1), noise(8 * MIB, 2));
    let client = tcp(port);
    let server = accept(&listener);
    thread::scope(|scope| {
        for (stream, bytes) in [(&client, &up), (&server, &down)] {
            scope.spawn(move || {
                let mut stream = stream;
                stream.write_all(bytes).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
        }
        let received = scope.spawn(|| {
            let mut bytes = Vec::new();
            (&server).read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut answer = Vec::new();
        (&client).read_to_end(&mut answer).unwrap();
        assert!(answer == down, "what the client got differs");
        assert!(received.join().unwrap() == up, "what the target got differs");
    });
    let closed = daemon.wait_log(|line| line.about("closed", port));
    assert_eq!(closed.get("reason"), Some("done"));
    assert_eq!(daemon.count_peers(), (1, 0));
}

#[test]
fn the_clients_end_is_carried_over_and_the_answer_still_comes() {
    let (daemon, port, listener) = relay();
    let mut client = tcp(port);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut server = accept(&listener);
    assert_eq!(read_all(&server), "question");
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(read_all(client), "answer");
    let _ = daemon.wait_log(|line| line.about("closed", port));
}

#[test]
fn the_targets_end_is_carried_over_and_the_client_may_go_on() {
    let (daemon, port, listener) = relay();
    let mut client = tcp(port);
    let mut server = accept(&listener);
    server.write_all(b"greeting").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), "greeting");
    client.write_all(b"afterwards").unwrap();
    drop(client);
    assert_eq!(read_all(server), "afterwards");
    let _ = daemon.wait_log(|line| line.about("closed", port));
}

#[test]
fn a_reset_is_carried_over_as_one_both_ways() {
    let (daemon, port, listener) = relay();
    let client = tcp(port);
    let mut server = accept(&listener);
    assert_eq!(echo_through(&client, &mut server), "?");
    reset(client);
    let error = server.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let line = daemon.wait_log(|line| line.about("closed", port));
    assert!(line.get("reason").unwrap().starts_with("client: Connection reset"), "{}", line.raw);

    let mut client = tcp(port);
    let mut server = accept(&listener);
    assert_eq!(echo_through(&client, &mut server), "?");
    reset(server);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let _ = daemon.wait_count(2, |line| line.about("closed", port));
}

/// One byte to the target and back.
fn echo_through(mut client: &TcpStream, server: &mut TcpStream) -> String {
    client.write_all(b"?").unwrap();
    let mut byte = [0];
    server.read_exact(&mut byte).unwrap();
    server.write_all(&byte).unwrap();
    client.read_exact(&mut byte).unwrap();
    String::from_utf8_lossy(&byte).into_owned()
}

#[test]
fn a_target_that_refuses_closes_the_client_and_is_logged() {
    let (port, dead) = (free_port(), free_port());
    let daemon = Daemon::start(&relay_line(port, &format!("127.0.0.1 {dead}")));
    assert_eq!(read_to_any_end(tcp(port)), "");
    let line = daemon.wait_log(|line| line.about("failed", port));
    assert_eq!((line.get("stage"), line.level()), (Some("connect"), "ERROR"));
    let error = line.get("error").unwrap();
    assert!(error.contains(&dead.to_string()) && error.contains("refused"), "{error}");
    assert_eq!(daemon.count_peers(), (1, 0));
}

#[test]
fn the_next_address_of_a_name_is_tried() {
    // `localhost` is ::1 and 127.0.0.1 on most machines; the target is on one of them.
    let (listener, to) = target();
    let port = free_port();
    let daemon = Daemon::start(&relay_line(port, &format!("localhost {to}")));
    let client = tcp(port);
    let mut server = accept(&listener);
    assert_eq!(echo_through(&client, &mut server), "?");
    assert!(daemon.said("failed").is_empty());
}

/// A listener that answers nobody: its backlog is full.
fn black_hole() -> (std::os::fd::OwnedFd, u16, Vec<TcpStream>) {
    let hole = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let port = free_port();
    setsockopt(&hole, sockopt::ReuseAddr, &true).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&hole), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
    listen(&hole, Backlog::new(0).unwrap()).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        held.push(stream);
    }
    (hole, port, held)
}

#[test]
fn a_target_that_does_not_answer_is_given_up_after_ten_seconds() {
    let (_hole, to, _held) = black_hole();
    let port = free_port();
    let daemon = Daemon::start(&relay_line(port, &format!("127.0.0.1 {to}")));
    let started = std::time::Instant::now();
    let client = tcp(port);
    // Others are served meanwhile: a client that goes away is noticed.
    let other = tcp(port);
    let _ = daemon.wait_count(2, |line| line.about("accepted", port));
    reset(other);
    let line = daemon.wait_log(|line| line.about("closed", port));
    assert!(line.get("reason").unwrap().starts_with("client: "), "{}", line.raw);
    assert_eq!(read_to_any_end(client), "");
    assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
    let line = daemon.wait_log(|line| line.about("failed", port));
    assert!(line.get("error").unwrap().contains("timed out"), "{}", line.raw);
    let ends = daemon.log.all_after(0, |line| line.is("closed") || line.is("failed"));
    assert!(ends[0].is("closed"), "others are not held up: {ends:?}");
    assert_eq!(daemon.count_peers(), (2, 0));
}

#[test]
fn a_side_that_does_not_read_holds_the_other_back_and_costs_no_memory() {
    let (daemon, port, listener) = relay();
    let pairs: Vec<_> = (0..20).map(|_| (tcp(port), accept(&listener))).collect();
    let before = resident_data(daemon.pid());
    let written: Vec<usize> = pairs.iter().map(|(client, _)| fill(client)).collect();
    assert!(written.iter().all(|count| *count < 64 * MIB), "{written:?}");
    let grown = resident_data(daemon.pid()).saturating_sub(before);
    // At most a chunk of 64 KiB each, and what the allocator rounds up.
    assert!(grown < 20 * 64 * 2, "{grown} KiB for 20 stalled relays");
    // Everything that was taken arrives once it is read.
    for ((client, server), written) in pairs.into_iter().zip(written) {
        client.set_nonblocking(false).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        let mut server = server;
        server.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written);
    }
    let _ = daemon.wait_count(20, |line| line.about("closed", port));
}

/// Writes until the system takes no more for a while; how much it took.
fn fill(mut client: &TcpStream) -> usize {
    client.set_nonblocking(true).unwrap();
    let (mut written, mut full) = (0, 0);
    while full < 10 {
        match client.write(&[7; 65_536]) {
            Ok(count) => (written, full) = (written + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                full += 1;
                crate::common::wait::park(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    written
}

#[test]
fn unix_sockets_are_relayed_from_and_to() {
    let folder = Folder::new();
    let (inside, outside) = (folder.at("inside"), folder.at("outside"));
    let listener = UnixListener::bind(&inside).unwrap();
    let port = free_port();
    let text = relay_line(port, inside.to_str().unwrap())
        + &format!("{} stream unix nowait {} internal\n", outside.display(), me())
        + &format!("    redirect = {}\n", inside.display());
    let daemon = Daemon::start(&text);
    let mut from_tcp = tcp(port);
    let mut from_unix = UnixStream::connect(&outside).unwrap();
    from_unix.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..2 {
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"hello").unwrap();
        drop(server);
    }
    from_tcp.write_all(b"x").unwrap();
    assert_eq!(read_to_any_end(from_tcp), "hello");
    let mut text = String::new();
    from_unix.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    drop(from_unix);
    let _ = daemon.wait_count(2, |line| line.is("closed"));
}

#[test]
fn a_unix_target_whose_backlog_is_full_is_tried_until_there_is_room() {
    let folder = Folder::new();
    let path = folder.at("busy");
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let listener = listener.unwrap();
    let address = nix::sys::socket::UnixAddr::new(&path).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &address).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let in_the_way = UnixStream::connect(&path).unwrap();
    let port = free_port();
    let daemon = Daemon::start(&relay_line(port, path.to_str().unwrap()));
    let client = tcp(port);
    let _ = daemon.wait_log(|line| line.about("accepted", port));
    crate::common::wait::park(Duration::from_millis(200));
    drop(in_the_way);
    let listener = UnixListener::from(listener);
    let _ = listener.accept().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"at last").unwrap();
    drop(server);
    assert_eq!(read_all(client), "at last");
    assert!(daemon.said("failed").is_empty());
}

#[test]
fn a_reload_leaves_running_relays_with_their_target() {
    let (old, old_port) = target();
    let (new, new_port) = target();
    let port = free_port();
    let daemon = Daemon::start(&relay_line(port, &format!("127.0.0.1 {old_port}")));
    let first = tcp(port);
    let mut first_server = accept(&old);
    assert_eq!(echo_through(&first, &mut first_server), "?");
    let line = daemon.reload(&relay_line(port, &format!("127.0.0.1 {new_port}")));
    assert_eq!((line.get("kept"), line.get("updated")), (Some("1"), Some("1")));
    assert_eq!(echo_through(&first, &mut first_server), "?");
    let second = tcp(port);
    let mut second_server = accept(&new);
    assert_eq!(echo_through(&second, &mut second_server), "?");
    // Neither a program in its place nor no service at all disturbs them.
    let _ = daemon.reload(&tcp_line(port, "/bin/cat cat"));
    assert_eq!(echo_once(tcp(port), "cat"), "cat");
    let _ = daemon.wait_log(|line| line.about("ended", port));
    let _ = daemon.reload("");
    assert_eq!(echo_through(&first, &mut first_server), "?");
    assert_eq!(echo_through(&second, &mut second_server), "?");
    assert_eq!(daemon.count_peers().1, 2);
    drop((first, first_server, second, second_server));
    wait_until("the relays to be gone", || daemon.count_peers().1 == 0);
}

#[test]
fn limits_apply_to_relays_as_to_programs() {
    let (listener, to) = target();
    let port = free_port();
    let text = relay_line(port, &format!("127.0.0.1 {to}")) + "    per_source = 2\n";
    let daemon = Daemon::start(&text);
    let held: Vec<_> = (0..2).map(|_| (tcp(port), accept(&listener))).collect();
    assert_eq!(read_to_any_end(tcp(port)), "");
    let line = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(line.get("reason"), Some("per_source"));
    drop(held);
    let _ = daemon.wait_count(2, |line| line.about("closed", port));
    let client = tcp(port);
    assert_eq!(echo_through(&client, &mut accept(&listener)), "?");

    let (listener, to) = target();
    let port = free_port();
    let text = relay_line(port, &format!("127.0.0.1 {to}")) + "    instances = 1\n";
    let daemon = Daemon::start(&text);
    let first = (tcp(port), accept(&listener));
    let second = tcp(port);
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    drop(first);
    assert_eq!(echo_through(&second, &mut accept(&listener)), "?");
}

#[test]
fn without_descriptors_clients_wait_and_nobody_is_lost() {
    let (listener, to) = target();
    let port = free_port();
    let text = relay_line(port, &format!("127.0.0.1 {to}")) + "    instances = unlimited\n";
    let daemon = Setup::new().after("ulimit -n 100").start(&text);
    let clients: Vec<_> = (0..80).map(|_| tcp(port)).collect();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.write_all(b"x").unwrap();
        }
    });
    for client in clients {
        assert_eq!(read_all(client), "x");
    }
    assert!(daemon.said("failed").is_empty());
    let _ = daemon.wait_count(80, |line| line.about("closed", port));
}

/// Raises this process's limit of descriptors; false if that is not allowed.
fn raise_descriptors(wanted: u64) -> bool {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    soft >= wanted || hard >= wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok()
}

#[test]
fn two_thousand_at_once_cost_less_than_a_kibibyte_each() {
    const COUNT: usize = 2_000;
    if !raise_descriptors(7_000) {
        skip("7,000 descriptors are not allowed here");
        return;
    }
    let (listener, to) = target();
    let port = free_port();
    let text = relay_line(port, &format!("127.0.0.1 {to}")) + "    instances = unlimited\n";
    let daemon = Setup::new().after("ulimit -n 7000").start(&text);
    // What the first ones make the server allocate for good is not theirs.
    let mut warm = (tcp(port), accept(&listener));
    assert_eq!(echo_through(&warm.0, &mut warm.1), "?");
    let before = resident_data(daemon.pid());
    let mut pairs: Vec<_> = (0..COUNT).map(|_| (tcp(port), accept(&listener))).collect();
    for (client, server) in &mut pairs {
        assert_eq!(echo_through(client, server), "?");
    }
    // What the log keeps for a reader that is slow is not theirs either.
    let each = || resident_data(daemon.pid()).saturating_sub(before) * 1024 / COUNT as u64;
    wait_until("an idle relay to cost little", || each() < 1024);
    assert_eq!(daemon.count_peers(), (2_001, 2_001));
    let descriptors = || procs::descriptors(daemon.pid());
    assert!(descriptors() > 2 * COUNT);
    drop((pairs, warm));
    wait_until("every descriptor to be closed", || descriptors() < 64);
    wait_until("nobody to be there", || daemon.count_peers() == (2_001, 0));
}
