//! `wait` services: the program gets the socket itself, and nobody else starts meanwhile.

use std::collections::VecDeque;
use std::net::{TcpStream, UdpSocket};

use nix::sys::signal::{Signal, kill};

use crate::common::clients::{udp_ask, udp_read};
use crate::common::daemon::as_pid;
use crate::common::procs;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, me, need_program, read_all, shell, tcp, udp,
    wait_until,
};

/// Accepts `count` connections on descriptor 0, one after the other, and says its pid to each.
fn acceptor(count: u32) -> String {
    format!(
        "import os, socket\n\
         listener = socket.socket(fileno=0)\n\
         for _ in range({count}):\n\
         \x20   connection, _ = listener.accept()\n\
         \x20   connection.sendall(b'pid %d\\n' % os.getpid())\n\
         \x20   connection.close()\n"
    )
}

/// A `wait` service of this kind (`stream tcp`), whose program is a script.
fn scripted(port: u16, kind: &str, script: &str) -> Daemon {
    let folder = Folder::new();
    let script = folder.write("served.py", script);
    let script = script.display();
    let line = format!("127.0.0.1:{port} {kind} wait {} python3 python3 {script}\n", me());
    Setup::new().start_in(folder, &line)
}

#[test]
fn a_waiting_tcp_program_accepts_the_connections_itself() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let mut daemon = scripted(port, "stream tcp", &acceptor(2));
    let first = read_all(tcp(port));
    assert_eq!(read_all(tcp(port)), first, "the same program serves both");
    let _ = daemon.wait_count(1, |line| line.about("ended", port));
    let third = read_all(tcp(port));
    assert!(third.starts_with("pid ") && third != first, "a new program for the third");
    daemon.stop();
}

#[test]
fn a_waiting_tcp_program_finds_its_listening_socket_blocking() {
    let port = free_port();
    // Octal flags in fdinfo: 04000 is O_NONBLOCK.
    let script = shell("grep flags /proc/self/fdinfo/0 >&2; sleep 0.2");
    let daemon = Daemon::start(&format!("127.0.0.1:{port} stream tcp wait {} {script}\n", me()));
    let client = tcp(port);
    let line = daemon.wait_log(|line| line.is("stderr"));
    let flags = line.get("line").unwrap().split_whitespace().last().unwrap().to_owned();
    let flags = flags.trim_start_matches("\\x09");
    let flags = flags.rsplit(|c: char| !c.is_digit(8)).next().unwrap();
    assert_eq!(u32::from_str_radix(flags, 8).unwrap() & 0o4000, 0, "{}", line.raw);
    drop(client);
}

/// Ends after `first`, and leaves behind who has the socket, too, has each call on it wait, and
/// does `then` with it.
fn leaves_a_blocker(first: &str, then: &str) -> String {
    format!(
        "import fcntl, os, socket, sys, time\n\
         {first}\n\
         if os.fork() == 0:\n\
         \x20   os.setsid()\n\
         \x20   print('blocks', os.getpid(), file=sys.stderr, flush=True)\n\
         \x20   for _ in range(60000):\n\
         \x20       fcntl.fcntl(0, fcntl.F_SETFL, 0)\n\
         \x20       {then}\n\
         \x20       time.sleep(0.001)\n"
    )
}

/// Ends what a program has left behind, whatever becomes of the test.
struct Leftover(u32);

impl Leftover {
    fn of(daemon: &Daemon) -> Self {
        let line = daemon.wait_log(|line| line.is("stderr"));
        let said = line.get("line").unwrap();
        Self(said.strip_prefix("blocks ").unwrap().parse().unwrap())
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let _ = kill(as_pid(self.0), Signal::SIGKILL);
    }
}

#[test]
fn whoever_has_a_datagram_socket_still_cannot_make_the_server_wait_at_it() {
    if !need_program("python3") {
        return;
    }
    let (port, other, folder) = (free_port(), free_port(), Folder::new());
    let script = folder.write("blocker.py", &leaves_a_blocker("os.read(0, 100)", "pass"));
    let line = |what: &str| format!("127.0.0.1:{port} dgram udp {what}\n");
    let waiting = format!("wait {} python3 python3 {}\n", me(), script.display());
    let waiting = line(&format!("{waiting}    only_from = 127.0.0.2"));
    let daytime = format!("127.0.0.1:{other} stream tcp nowait {} internal daytime\n", me());
    let mut daemon = Setup::new().start_in(folder, &format!("{waiting}{daytime}"));
    let from = |address: &str| {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket
    };
    from("127.0.0.2").send(b"start it").unwrap();
    let _leftover = Leftover::of(&daemon);
    let _ = daemon.wait_log(|line| line.about("ended", port));
    // Each of these is looked at by the server, and found to be refused.
    for _ in 0..20 {
        from("127.0.0.1").send(b"refused").unwrap();
        assert!(!read_all(tcp(other)).is_empty());
    }
    let _ = daemon.wait_log(|line| line.about("refused", port));
    // The same socket, answered by the server itself.
    let _ = daemon.reload(&format!("{}{daytime}", line(&format!("nowait {} internal echo", me()))));
    let client = from("127.0.0.1");
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..20 {
        client.send(b"hello").unwrap();
        assert_eq!(udp_read(&client), "hello");
        assert!(!read_all(tcp(other)).is_empty());
    }
    daemon.stop();
}

#[test]
fn whoever_has_a_listening_socket_still_cannot_make_the_server_wait_at_it() {
    if !need_program("python3") {
        return;
    }
    let (port, other, folder) = (free_port(), free_port(), Folder::new());
    let first = "socket.socket(fileno=os.dup(0)).accept()[0].sendall(b'program')";
    // It takes clients away, too: whoever has been told of one finds nobody.
    let then = "socket.socket(fileno=os.dup(0)).accept()";
    let script = folder.write("blocker.py", &leaves_a_blocker(first, then));
    let line = |what: &str| {
        format!(
            "127.0.0.1:{port} stream tcp {what}\n\
             127.0.0.1:{other} stream tcp nowait {} internal daytime\n",
            me()
        )
    };
    let waiting = format!("wait {} python3 python3 {}", me(), script.display());
    let mut daemon = Setup::new().start_in(folder, &line(&waiting));
    assert_eq!(read_all(tcp(port)), "program");
    let _leftover = Leftover::of(&daemon);
    let _ = daemon.wait_log(|line| line.about("ended", port));
    let _ = daemon.reload(&line(&format!("nowait {} /bin/echo echo server", me())));
    for _ in 0..20 {
        assert_eq!(read_all(tcp(port)), "server\n");
        assert!(!read_all(tcp(other)).is_empty());
    }
    daemon.stop();
}

#[test]
fn a_waiting_udp_program_gets_all_datagrams_until_it_ends() {
    let port = free_port();
    let script = shell("echo started >&2; head -c 9 >/dev/null; sleep 0.1");
    let daemon = Daemon::start(&format!("127.0.0.1:{port} dgram udp wait {} {script}\n", me()));
    let (first, second) = (udp(port), udp(port));
    first.send(b"one").unwrap();
    let _ = daemon.wait_log(|line| line.is("stderr"));
    second.send(b"two").unwrap();
    first.send(b"six").unwrap();
    let _ = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(daemon.accepted(port, 1).len(), 1, "one program for all three");
    first.send(b"new").unwrap();
    let pids = daemon.accepted(port, 2);
    assert_ne!(pids[0], pids[1]);
}

#[test]
fn a_waiting_udp_program_answers_whoever_asked() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let daemon = scripted(
        port,
        "dgram udp",
        "import socket\n\
         s = socket.socket(fileno=0)\n\
         for _ in range(3):\n\
         \x20   data, peer = s.recvfrom(100)\n\
         \x20   s.sendto(data.upper(), peer)\n",
    );
    let (first, second) = (udp(port), udp(port));
    assert_eq!(udp_ask(&first, "one"), "ONE");
    assert_eq!(udp_ask(&second, "two"), "TWO");
    assert_eq!(udp_ask(&first, "three"), "THREE");
    let _ = daemon.wait_log(|line| line.about("ended", port));
    second.send(b"four").unwrap();
    assert_eq!(udp_read(&second), "FOUR");
    assert_eq!(daemon.accepted(port, 2).len(), 2);
}

#[test]
fn the_server_does_not_look_at_the_socket_while_the_program_has_it() {
    let port = free_port();
    let script = shell("sleep 60");
    let daemon = Daemon::start(&format!("127.0.0.1:{port} dgram udp wait {} {script}\n", me()));
    let client = udp(port);
    client.send(b"x").unwrap();
    let pid = daemon.accepted(port, 1)[0];
    let before = procs::cpu_time(daemon.pid());
    for _ in 0..50 {
        let _ = client.send(b"more");
    }
    let _ = daemon.count_peers();
    let used = procs::cpu_time(daemon.pid()).checked_sub(before).unwrap();
    assert!(used.as_millis() < 300, "unread datagrams must not keep it busy: {used:?}");
    assert!(procs::is_alive(pid));
    assert_eq!(daemon.accepted(port, 1).len(), 1);
}

#[test]
fn a_waiting_program_that_dies_at_once_is_started_ever_more_slowly() {
    let port = free_port();
    let script = shell("exit 1");
    let daemon = Daemon::start(&format!("127.0.0.1:{port} dgram udp wait {} {script}\n", me()));
    // The datagram stays unread, so the socket stays readable.
    udp(port).send(b"unread").unwrap();
    let lines = daemon.wait_count(2, |line| line.about("backoff", port));
    assert_eq!(lines[0].get("delay"), Some("1s"), "{}", lines[0].raw);
    assert_eq!(lines[1].get("delay"), Some("2s"), "{}", lines[1].raw);
    let starts = daemon.said("accepted").len();
    assert!(starts <= 15, "{starts} starts until the second pause");
}

#[test]
fn two_waiting_services_run_beside_each_other() {
    let (one, two) = (free_port(), free_port());
    let script = shell("sleep 60");
    let line = |port| format!("127.0.0.1:{port} dgram udp wait {} {script}\n", me());
    let daemon = Daemon::start(&(line(one) + &line(two)));
    udp(one).send(b"x").unwrap();
    let _ = daemon.accepted(one, 1);
    udp(two).send(b"x").unwrap();
    let _ = daemon.accepted(two, 1);
    wait_until("both to run", || daemon.count_peers().1 == 2);
}

#[test]
fn a_waiting_tcp_program_that_takes_one_connection_and_ends_well_is_started_again_at_once() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let daemon = scripted(port, "stream tcp", &acceptor(1));
    // The next always waits already when a program ends: it has failed at nothing.
    let clients: Vec<_> = (0..5).map(|_| tcp(port)).collect();
    for client in clients {
        assert!(read_all(client).starts_with("pid "));
    }
    assert!(daemon.said("backoff").is_empty(), "{}", daemon.log.text());
}

#[test]
fn a_waiting_udp_program_that_answers_one_request_is_started_again_at_once_for_an_equal_one() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let daemon = scripted(
        port,
        "dgram udp",
        "import socket\n\
         s = socket.socket(fileno=0)\n\
         data, peer = s.recvfrom(100)\n\
         s.sendto(data, peer)\n",
    );
    let client = udp(port);
    for _ in 0..30 {
        client.send(b"the same").unwrap();
    }
    for _ in 0..30 {
        assert_eq!(udp_read(&client), "the same");
    }
    assert!(daemon.said("backoff").is_empty(), "{}", daemon.log.text());
}

#[test]
fn a_datagram_on_which_the_program_fails_costs_only_whoever_has_sent_it() {
    let port = free_port();
    let script = shell("test \"$(dd bs=9 count=1 status=none)\" = good && echo good >&2");
    let daemon = Daemon::start(&format!("127.0.0.1:{port} dgram udp wait {} {script}\n", me()));
    let (bad, good) = (udp(port), udp(port));
    for _ in 0..10 {
        bad.send(b"bad\n").unwrap();
    }
    good.send(b"good\n").unwrap();
    let _ = daemon.wait_log(|line| line.is("stderr"));
    assert!(daemon.said("backoff").is_empty(), "{}", daemon.log.text());
}

/// How many wait is all that is known of a stream: the program may have taken one, and another
/// have come.
#[test]
fn a_waiting_program_that_takes_one_client_each_time_is_not_held_up_for_long_by_many() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let daemon = scripted(port, "stream tcp", &acceptor(1));
    let mut waiting: VecDeque<TcpStream> = (0..3).map(|_| tcp(port)).collect();
    for _ in 0..30 {
        let client = waiting.pop_front().unwrap();
        waiting.push_back(tcp(port));
        assert!(read_all(client).starts_with("pid "));
    }
    let longest = daemon.said("backoff").into_iter().filter(|it| it.get("delay") != Some("0.100s"));
    assert_eq!(longest.count(), 0, "{}", daemon.log.text());
}
