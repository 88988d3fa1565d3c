//! Bytes that are not like the others: urgent ones, and those with which descriptors come. A
//! read ends before or behind them, whatever stands there, and nobody is told of that again.

use std::fs;
use std::io::{IoSlice, PipeReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, send, sendmsg, setsockopt, sockopt};

use crate::common::clients::{echo_once, read_to_any_end};
use crate::common::daemon::as_pid;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, me, procs, read_all, shell, tcp,
    tcp_line, wait_until,
};
use crate::proxy_headers::{BEHIND, line};
use crate::terminals::{IAC, Seat, WONT_NAWS, WONT_TTYPE, in_telnet, on_a_terminal};

/// Interrupt, the mark at the end of a Synch, and no more of what is on its way.
const IP: u8 = 244;
const DM: u8 = 242;
const AO: u8 = 245;

/// Sends this, the last byte as urgent.
pub(crate) fn send_urgent(client: &TcpStream, bytes: &[u8]) {
    assert_eq!(send(client.as_raw_fd(), bytes, MsgFlags::MSG_OOB).unwrap(), bytes.len());
}

/// Waits until the other side's system has all that has been sent.
fn has_arrived(client: &TcpStream) {
    let ends = [client.local_addr().unwrap(), client.peer_addr().unwrap()];
    let ends = ends.map(|it| format!(":{:04X}", it.port()));
    let is_it = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 4 && words[1].ends_with(&ends[0]) && words[2].ends_with(&ends[1])
    };
    wait_until("what has been sent to arrive", || {
        let text = fs::read_to_string("/proc/self/net/tcp").unwrap();
        let line = text.lines().find(is_it).expect("the connection").to_owned();
        line.split_whitespace().nth(4).unwrap().starts_with("00000000:")
    });
}

/// Holds a process up while something is done: then it finds all of it at once.
pub(crate) fn while_stopped(pid: u32, work: impl FnOnce()) {
    kill(as_pid(pid), Signal::SIGSTOP).unwrap();
    wait_until("the process to be stopped", || procs::state(pid) == Some('T'));
    work();
    kill(as_pid(pid), Signal::SIGCONT).unwrap();
}

#[track_caller]
fn says(mut stream: impl Read, wanted: &[u8]) {
    let mut bytes = vec![0; wanted.len()];
    stream.read_exact(&mut bytes).expect("all of it");
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(wanted));
}

/// Something urgent among what is not, which all arrives while `pid` is held up.
fn say_among_others(pid: u32, mut stream: &TcpStream) {
    while_stopped(pid, || {
        stream.write_all(b"ab").unwrap();
        send_urgent(stream, b"!");
        stream.write_all(b"cd").unwrap();
        has_arrived(stream);
    });
}

fn one_worker() -> Setup {
    Setup::new().arg("--front-workers").arg("1")
}

fn worker(daemon: &Daemon) -> u32 {
    *procs::front_workers(daemon.pid()).first().expect("a worker")
}

#[test]
fn an_urgent_byte_is_echoed_and_relayed_in_its_place_and_holds_nothing_up() {
    let ports = free_ports(4);
    let target = TcpListener::bind(("127.0.0.1", ports[3])).unwrap();
    let builtin =
        |port: u16, what: &str| format!("127.0.0.1:{port} stream tcp nowait - internal{what}");
    let text = builtin(ports[0], " echo\n")
        + &builtin(ports[1], &format!("\n    redirect = 127.0.0.1 {}\n", ports[2]))
        + &tcp_line(ports[2], "/bin/cat cat");
    let other = free_port();
    let text = text + &builtin(other, &format!("\n    redirect = 127.0.0.1 {}\n", ports[3]));
    let daemon = Daemon::start(&text);
    for port in &ports[..2] {
        let client = tcp(*port);
        assert_eq!(echo_once(&client, "?"), "?");
        say_among_others(daemon.pid(), &client);
        says(&client, b"ab!cd");
        assert_eq!(echo_once(&client, "more"), "more");
    }
    let client = tcp(other);
    let (server, _) = target.accept().unwrap();
    say_among_others(daemon.pid(), &server);
    says(&client, b"ab!cd");
}

#[test]
fn an_urgent_byte_is_typed_in_its_place_at_a_terminal() {
    let port = free_port();
    let script = "stty raw -echo; echo ready; head -c 5 | od -An -tx1";
    let daemon = one_worker().start(&on_a_terminal(port, script));
    let mut seat = Seat::at(port);
    seat.sees("ready\n");
    say_among_others(worker(&daemon), &seat.stream);
    seat.sees("61 62 21 63 64\n");
}

/// Somebody who speaks telnet with a program that shows the first bytes that it reads.
fn reading(count: usize) -> (Daemon, Seat) {
    let port = free_port();
    let script = format!("stty raw -echo; echo ready; head -c {count} | od -An -tx1");
    let daemon = one_worker().start(&in_telnet(port, &script));
    let mut seat = Seat::at(port);
    seat.says(&[WONT_TTYPE, WONT_NAWS].concat());
    seat.sees("ready\n");
    (daemon, seat)
}

#[test]
fn a_synch_throws_away_what_is_typed_before_it_and_obeys_the_commands() {
    let (daemon, mut seat) = reading(5);
    while_stopped(worker(&daemon), || {
        seat.says(b"junk");
        // A key is interrupted by, another one erased, and something is asked.
        seat.says(&[IAC, IP, b'x', IAC, 247, IAC, 253, 99, b'y', IAC]);
        send_urgent(&seat.stream, &[DM]);
        seat.says(b"rest");
        has_arrived(&seat.stream);
    });
    seat.sees("\u{ff}\u{fc}c");
    seat.sees("03 72 65 73 74\n");
}

#[test]
fn of_two_synchs_the_second_counts() {
    let (daemon, mut seat) = reading(1);
    while_stopped(worker(&daemon), || {
        for typed in [b"a\xff", b"b\xff"] {
            seat.says(typed);
            send_urgent(&seat.stream, &[DM]);
        }
        seat.says(b"c");
        has_arrived(&seat.stream);
    });
    seat.sees("63\n");
}

#[test]
fn an_urgent_byte_that_is_no_mark_ends_it_too() {
    let (daemon, mut seat) = reading(3);
    while_stopped(worker(&daemon), || {
        seat.says(b"junk");
        send_urgent(&seat.stream, b"!");
        seat.says(b"cd");
        has_arrived(&seat.stream);
    });
    seat.sees("21 63 64\n");
    drop(daemon);
}

/// Waits until something urgent has come, and takes it.
fn urgent(stream: &TcpStream) -> u8 {
    let mut set = [PollFd::new(stream.as_fd(), PollFlags::POLLPRI)];
    let time = PollTimeout::try_from(DEADLINE).unwrap();
    assert_eq!(poll(&mut set, time).unwrap(), 1, "nothing urgent comes");
    let mut byte = [0];
    assert_eq!(recv(stream.as_raw_fd(), &mut byte, MsgFlags::MSG_OOB).unwrap(), 1);
    byte[0]
}

#[test]
fn who_wants_no_more_of_what_is_on_its_way_is_sent_a_synch() {
    let port = free_port();
    let _daemon =
        Daemon::start(&in_telnet(port, "stty -echo; echo ready; read -r line; echo got=$line"));
    let mut seat = Seat::at(port);
    seat.says(&[WONT_TTYPE, WONT_NAWS].concat());
    seat.sees("ready\r\n");
    seat.says(&[IAC, AO]);
    assert_eq!(urgent(&seat.stream), DM);
    seat.types("line\r");
    seat.sees("\u{ff}");
    // The mark is beside the others.
    assert_eq!(seat.sees("got="), "got=");
}

#[test]
fn so_is_he_in_the_middle_of_a_flood() {
    let port = free_port();
    let _daemon = Daemon::start(&in_telnet(port, "echo ready; yes"));
    let mut seat = Seat::at(port);
    seat.says(&[WONT_TTYPE, WONT_NAWS].concat());
    seat.sees("ready");
    setsockopt(&seat.stream, sockopt::OobInline, &true).unwrap();
    for _ in 0..3 {
        seat.says(&[IAC, AO]);
        seat.sees("\u{ff}\u{f2}");
        seat.sees("y\r\ny\r\n");
    }
}

/// Sends this with a descriptor.
fn send_with(client: &UnixStream, bytes: &[u8], descriptor: &impl std::os::fd::AsRawFd) {
    let (parts, numbers) = ([IoSlice::new(bytes)], [descriptor.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(client.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
}

/// Waits until nobody has the other end of a pipe.
fn is_nobodys(pipe: &PipeReader) {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    wait_until("nobody to have the descriptor", || match nix::unistd::read(pipe, &mut [0; 8]) {
        Ok(0) => true,
        Err(Errno::EAGAIN) => false,
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_descriptor_that_somebody_sends_is_closed_and_what_stands_behind_it_is_served_at_once() {
    let folder = Folder::new();
    let sockets = folder.open_folder("sockets");
    let [echo, relay, cat, seat] =
        ["echo", "relay", "cat", "seat"].map(|name| sockets.join(name).display().to_string());
    let entry = |path: &str, what: &str| format!("{path} stream unix nowait {} {what}\n", me());
    let script = shell("stty raw -echo; echo ready; exec cat");
    let text = entry(&echo, "internal echo")
        + &entry(&relay, &format!("internal\n    redirect = {cat}"))
        + &entry(&cat, "/bin/cat cat")
        + &entry(&seat, &format!("{script}\n    pty = yes"));
    let daemon = one_worker().start_in(folder, &text);
    for path in [&echo, &relay, &seat] {
        let client = UnixStream::connect(path).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        if *path == seat {
            says(&client, b"ready\n");
        }
        assert_eq!(echo_once(&client, "?"), "?");
        let pid = if *path == seat { worker(&daemon) } else { daemon.pid() };
        let (reader, writer) = std::io::pipe().unwrap();
        while_stopped(pid, || {
            (&client).write_all(b"ab").unwrap();
            send_with(&client, b"!", &writer);
            (&client).write_all(b"cd").unwrap();
        });
        says(&client, b"ab!cd");
        drop(writer);
        is_nobodys(&reader);
    }
}

#[test]
fn so_is_one_that_somebody_sends_with_a_request_to_the_server() {
    let daemon = Setup::new().controlled().start(&tcp_line(free_port(), "/bin/cat cat"));
    let client = UnixStream::connect(daemon.folder.at("control")).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    while_stopped(daemon.pid(), || {
        (&client).write_all(b"sta").unwrap();
        send_with(&client, b"t", &writer);
        (&client).write_all(b"us\n").unwrap();
    });
    assert!(read_all(&client).contains("services"));
    drop(writer);
    is_nobodys(&reader);
}

#[test]
fn a_header_may_come_with_a_descriptor_and_before_something_urgent() {
    let (port, folder) = (free_port(), Folder::new());
    let path = folder.open_folder("sockets").join("here");
    let text = tcp_line(port, "/bin/cat cat")
        + BEHIND
        + &format!("{} stream unix nowait {} /bin/cat cat\n", path.display(), me())
        + "    proxy_protocol = require\n";
    let daemon = Setup::new().start_in(folder, &text);
    let header = line("192.0.2.1", 1);
    let local = UnixStream::connect(&path).unwrap();
    local.set_read_timeout(Some(DEADLINE)).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    send_with(&local, &header, &writer);
    assert_eq!(echo_once(&local, "the program's"), "the program's");
    drop(writer);
    is_nobodys(&reader);
    // The urgent byte is the program's, which does not look for it.
    let client = tcp(port);
    while_stopped(daemon.pid(), || {
        (&client).write_all(&header).unwrap();
        send_urgent(&client, b"!");
        (&client).write_all(b"behind").unwrap();
        has_arrived(&client);
    });
    says(&client, b"behind");
    daemon.said_times(2, "accepted");
}

#[test]
fn a_header_with_something_urgent_in_it_is_none() {
    let port = free_port();
    let text = tcp_line(port, "/bin/cat cat") + BEHIND + "    proxy_timeout = 300ms\n";
    let daemon = Daemon::start(&text);
    let (client, header) = (tcp(port), line("192.0.2.1", 1));
    while_stopped(daemon.pid(), || {
        send_urgent(&client, &header[..9]);
        (&client).write_all(&header[9..]).unwrap();
        has_arrived(&client);
    });
    assert_eq!(read_to_any_end(&client), "");
    assert_eq!(daemon.wait_log(|line| line.about("refused", port)).get("reason"), Some("proxy"));
}
