//! Sockets that a service manager holds: systemd-socket-activate opens them, and starts
//! the server with them when the first client comes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use nix::sys::signal::{Signal, kill};

use crate::common::clients::{echo_once, tcp_to, try_tcp, udp_ask};
use crate::common::control::upgrade;
use crate::common::daemon::{BINARY, as_pid, command};
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, me, need_ipv6, need_program, need_root, own_line,
    procs, read_all, shell, tcp, tcp6, udp, wait_for, wait_until,
};

const ACTIVATE: &str = "systemd-socket-activate";

fn missing() -> bool {
    !need_program(ACTIVATE)
}

/// The words that start the server with sockets on these addresses, and names for them.
fn activated<'a>(options: &[&'a str], addresses: &[&'a str]) -> Vec<&'a str> {
    let listen = addresses.iter().flat_map(|address| ["-l", address]);
    [ACTIVATE].into_iter().chain(options.iter().copied()).chain(listen).collect()
}

/// Starts the server as the words say; `poke` is the client that wakes it.
#[track_caller]
fn start(words: &[&str], poke: impl FnOnce() + Send, folder: Folder, text: &str) -> Daemon {
    thread::scope(|scope| {
        scope.spawn(poke);
        Setup::new().under(words).start_in(folder, text)
    })
}

/// Wakes the server with a connection, as soon as there is somebody.
fn by_tcp(port: u16) -> impl FnOnce() + Send {
    move || {
        wait_for("a listener", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    }
}

/// Wakes it with a datagram: one that comes too early is refused.
fn by_udp(port: u16) -> impl FnOnce() + Send {
    move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        wait_until("a receiver", || {
            let _ = socket.send(b"wake up");
            // The refusal of what was sent comes with the next call.
            socket.send(b"wake up").is_ok() && socket.take_error().unwrap().is_none()
        });
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Whether the socket of a service was the manager's.
#[track_caller]
fn is_adopted(daemon: &Daemon, port: u16) -> bool {
    daemon.wait_log(|line| line.about("listening", port)).get("adopted") == Some("yes")
}

#[test]
fn a_service_takes_the_socket_of_its_address_and_opens_the_others() {
    if missing() {
        return;
    }
    let ports = free_ports(3);
    let (held, idle) = (local(ports[0]), local(ports[2]));
    let text = own_line(ports[0], "/bin/ls ls /proc/self/fd")
        + "    nodelay = yes\n"
        + &own_line(ports[1], "/usr/bin/env env")
        + "    passenv = *\n";
    let words = activated(&["-E", "NOTIFY_SOCKET=@nobody"], &[&held, &idle]);
    let daemon = start(&words, by_tcp(ports[0]), Folder::new(), &text);
    assert!(is_adopted(&daemon, ports[0]) && !is_adopted(&daemon, ports[1]));
    // 3 is the folder that ls reads.
    assert_eq!(read_all(tcp(ports[0])), "0\n1\n2\n3\n", "no descriptor of the manager's");
    let environment = read_all(tcp(ports[1]));
    assert!(environment.contains("REMOTE_ADDR=127.0.0.1"), "{environment}");
    for name in ["LISTEN_", "NOTIFY_SOCKET"] {
        assert!(!environment.contains(name), "{environment}");
    }
    let unclaimed = daemon.said("unclaimed");
    assert_eq!(unclaimed.len(), 1, "{}", daemon.log.text());
    assert_eq!(unclaimed[0].get("address"), Some(idle.as_str()));
    assert_eq!(unclaimed[0].get("type"), Some("stream"));
    // A connection has one until the server has seen that its client has gone, too.
    wait_until("low numbers to be left to connections", || {
        low_descriptors(daemon.pid()).is_empty()
    });
}

#[test]
fn an_upgrade_keeps_the_sockets_of_the_manager_and_whose_they_are() {
    if missing() {
        return;
    }
    let ports = free_ports(2);
    let (first, second) = (local(ports[0]), local(ports[1]));
    let folder = Folder::new();
    let text = own_line(ports[0], "/bin/cat cat");
    let words = activated(&[], &[&first, &second]);
    let daemon = thread::scope(|scope| {
        scope.spawn(by_tcp(ports[0]));
        Setup::new().controlled().under(&words).start_in(folder, &text)
    });
    assert!(is_adopted(&daemon, ports[0]));
    for _ in 0..2 {
        upgrade(&daemon);
        assert_eq!(echo_once(tcp(ports[0]), "hello"), "hello");
    }
    // Nobody claimed the second until now; the first goes back into the store.
    let mark = daemon.log.mark();
    let _ = daemon.reload(&own_line(ports[1], "/bin/cat cat"));
    assert_eq!(echo_once(tcp(ports[1]), "hello"), "hello");
    let lines = daemon.log.all_after(mark, |line| line.about("listening", ports[1]));
    assert_eq!(lines[0].get("adopted"), Some("yes"));
    upgrade(&daemon);
    let _ = daemon.reload(&text);
    assert_eq!(echo_once(tcp(ports[0]), "again"), "again");
    daemon.said_times(3, "unclaimed");
}

/// Sockets of the process numbered from 3 to 9, which is where they were passed.
fn low_descriptors(pid: u32) -> Vec<u32> {
    let socket = |number: &u32| {
        fs::read_link(format!("/proc/{pid}/fd/{number}"))
            .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
    };
    (3..10).filter(socket).collect()
}

#[test]
fn a_name_gives_a_service_a_socket_on_another_port() {
    if missing() {
        return;
    }
    let port = free_port();
    let held = local(port);
    let words = activated(&["--fdname", "http"], &[&held]);
    let text = format!("127.0.0.1:http stream tcp nowait {} /bin/echo echo by name\n", me());
    let daemon = start(&words, by_tcp(port), Folder::new(), &text);
    assert_eq!(read_all(tcp(port)), "by name\n");
    let line = daemon.wait_log(|line| line.is("listening"));
    assert_eq!((line.get("address"), line.get("adopted")), (Some(held.as_str()), Some("yes")));
}

#[test]
fn the_id_of_xinetd_is_such_a_name() {
    if missing() {
        return;
    }
    let (port, elsewhere) = (free_port(), free_port());
    let held = local(port);
    let words = activated(&["--fdname", "greeting"], &[&held]);
    let text = format!(
        "service hello\n{{\ntype = UNLISTED\nid = greeting\nport = {elsewhere}\nbind = 127.0.0.1\n\
         socket_type = stream\nprotocol = tcp\nwait = no\nuser = {}\nserver = /bin/echo\n\
         server_args = by id\n}}\n",
        nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
    );
    let daemon = start(&words, by_tcp(port), Folder::new(), &text);
    assert_eq!(read_all(tcp(port)), "by id\n");
    let line = daemon.wait_log(|line| line.is("listening"));
    assert_eq!(line.get("address"), Some(held.as_str()));
}

#[test]
fn one_socket_for_both_families_serves_both() {
    if missing() || !need_ipv6() {
        return;
    }
    let port = free_port();
    let all = port.to_string();
    let words = activated(&[], &[&all]);
    let text = format!("{port} stream tcp nowait {} /usr/bin/env env\n", me());
    let text = text + "    only_from = 127.0.0.0/8 ::1\n    per_source = 9\n";
    let daemon = start(&words, by_tcp(port), Folder::new(), &text);
    let four = read_all(tcp(port));
    assert!(four.contains("TCPREMOTEIP=127.0.0.1\n"), "as IPv4 clients are known: {four}");
    assert!(four.contains("TCPLOCALIP=127.0.0.1\n"), "{four}");
    assert!(read_all(tcp6(port)).contains("TCPREMOTEIP=::1\n"));
    let peer = |line: &crate::common::Line| line.get("peer").unwrap().to_owned();
    let lines = daemon.wait_count(3, |line| line.about("accepted", port));
    assert!(lines.iter().any(|line| peer(line).starts_with("127.0.0.1:")), "{lines:?}");
    assert_eq!(daemon.said("listening").iter().filter(|l| l.about("listening", port)).count(), 1);
    assert!(daemon.said("not-listening").is_empty(), "{}", daemon.log.text());
    let _ = daemon.reload(&(text + "# again\n"));
    assert!(daemon.said("not-listening").is_empty(), "{}", daemon.log.text());
}

#[test]
fn a_unix_socket_stays_with_the_manager() {
    if missing() {
        return;
    }
    let folder = Folder::new();
    let path = folder.name("socket");
    let words = activated(&[], &[&path]);
    let text = format!("{path} stream unix nowait {} /bin/cat cat\n", me());
    let wakes = path.clone();
    let poke = move || {
        wait_for("a listener", || UnixStream::connect(&wakes).ok());
    };
    let mut daemon = start(&words, poke, folder, &text);
    assert_eq!(echo_once(UnixStream::connect(&path).unwrap(), "unix"), "unix");
    let line = daemon.wait_log(|line| line.is("listening"));
    assert_eq!((line.get("address"), line.get("adopted")), (Some(path.as_str()), Some("yes")));
    daemon.stop();
    assert!(Path::new(&path).exists(), "whoever has bound it unlinks it");
}

#[test]
fn a_waiting_program_gets_the_managers_datagram_socket() {
    if missing() || !need_program("python3") {
        return;
    }
    let port = free_port();
    let held = local(port);
    let words = activated(&["--datagram"], &[&held]);
    let folder = Folder::new();
    // Answers for as long as something comes.
    let script = "import socket\n\
        s = socket.socket(fileno=0)\n\
        s.settimeout(0.3)\n\
        try:\n    while True: s.sendto(*s.recvfrom(99))\n\
        except OSError: pass\n";
    let script = folder.write("answer.py", script);
    let text = format!("{held} dgram udp wait {} python3 python3 {}\n", me(), script.display());
    let daemon = start(&words, by_udp(port), folder, &text);
    assert!(is_adopted(&daemon, port));
    assert_eq!(udp_ask(&udp(port), "one"), "one");
    let _ = daemon.wait_count(1, |line| line.about("ended", port));
    assert_eq!(udp_ask(&udp(port), "two"), "two", "by the next program");
}

#[test]
fn a_waiting_program_gets_the_managers_listening_socket() {
    if missing() || !need_program("python3") {
        return;
    }
    let port = free_port();
    let held = local(port);
    let words = activated(&[], &[&held]);
    let folder = Folder::new();
    let script = "import os, socket\n\
        c, _ = socket.socket(fileno=0).accept()\n\
        c.sendall(b'accepted by %d' % os.getpid())\n";
    let script = folder.write("accept.py", script);
    let text = format!("{held} stream tcp wait {} python3 python3 {}\n", me(), script.display());
    let daemon = start(&words, by_tcp(port), folder, &text);
    assert!(is_adopted(&daemon, port));
    let (one, two) = (read_all(tcp(port)), read_all(tcp(port)));
    assert!(one.starts_with("accepted by ") && two.starts_with("accepted by ") && one != two);
}

#[test]
fn a_program_per_peer_says_why_it_cannot_have_the_managers_socket() {
    if missing() {
        return;
    }
    let (port, other) = (free_port(), free_port());
    let held = local(port);
    let words = activated(&["--datagram"], &[&held]);
    let per_peer = format!("{held} dgram udp nowait {} /bin/cat cat\n", me());
    let text = per_peer + &own_line(other, "/bin/cat cat");
    let daemon = start(&words, by_udp(port), Folder::new(), &text);
    let line = daemon.wait_log(|line| line.about("not-listening", port));
    assert!(line.get("error").unwrap().contains("program per peer"), "{}", line.raw);
    assert!(daemon.said("unclaimed").is_empty(), "once is enough");
    let script = shell("head -c 3 >/dev/null; echo taken >&2");
    let waits = format!("{held} dgram udp wait {} {script}\n", me());
    let _ = daemon.reload(&waits);
    assert!(is_adopted(&daemon, port));
    let mark = daemon.log.mark();
    let _ = daemon.reload(&format!("{held} dgram udp nowait {} /bin/cat cat\n", me()));
    let _ = daemon.wait_after(mark, |line| line.about("not-listening", port));
}

#[test]
fn a_socket_outlives_its_service_and_serves_it_again() {
    if missing() {
        return;
    }
    let ports = free_ports(2);
    let held = local(ports[0]);
    let words = activated(&[], &[&held]);
    let both = own_line(ports[0], "/bin/echo echo here") + &own_line(ports[1], "/bin/cat cat");
    let daemon = start(&words, by_tcp(ports[0]), Folder::new(), &both);
    assert!(is_adopted(&daemon, ports[0]) && daemon.said("unclaimed").is_empty());
    let mark = daemon.log.mark();
    let _ = daemon.reload(&own_line(ports[1], "/bin/cat cat"));
    let line = daemon.wait_after(mark, |line| line.is("unclaimed"));
    assert_eq!(line.get("address"), Some(held.as_str()));
    // The manager's socket takes clients all the while.
    let early = tcp(ports[0]);
    let mark = daemon.log.mark();
    let _ = daemon.reload(&both);
    let line = daemon.wait_after(mark, |line| line.about("listening", ports[0]));
    assert_eq!(line.get("adopted"), Some("yes"));
    assert_eq!(read_all(early), "here\n");
    assert_eq!(read_all(tcp(ports[0])), "here\n");
}

#[test]
fn the_clients_of_a_stopped_service_wait_with_the_manager() {
    if missing() {
        return;
    }
    let port = free_port();
    let held = local(port);
    let words = activated(&[], &[&held]);
    let daemon = thread::scope(|scope| {
        scope.spawn(by_tcp(port));
        let setup = Setup::new().controlled().under(&words);
        setup.start(&own_line(port, "/bin/echo echo here"))
    });
    assert!(is_adopted(&daemon, port));
    let _ = daemon.answer(&["stop", &port.to_string()]);
    let mut waits = tcp(port);
    waits.set_nonblocking(true).unwrap();
    let silent = std::io::Read::read(&mut waits, &mut [0]).unwrap_err();
    assert_eq!(silent.kind(), std::io::ErrorKind::WouldBlock);
    waits.set_nonblocking(false).unwrap();
    let _ = daemon.reload(&own_line(port, "/bin/echo echo here"));
    assert!(daemon.said("unclaimed").is_empty(), "it is the stopped service's");
    let mark = daemon.log.mark();
    let _ = daemon.answer(&["start", &port.to_string()]);
    let line = daemon.wait_after(mark, |line| line.about("listening", port));
    assert_eq!(line.get("adopted"), Some("yes"));
    assert_eq!(read_all(waits), "here\n");
}

#[test]
fn an_ordinary_user_serves_a_privileged_port() {
    if missing() || !need_root() || !need_program("setpriv") {
        return;
    }
    // An address of this test's own: nobody else has its ports.
    let [high, low] = free_port().to_be_bytes();
    let address = SocketAddr::from((Ipv4Addr::new(127, high, low, 1), 79));
    let text = format!("{address} stream tcp nowait - {}\n", shell("id -u"));
    let folder = Folder::new();
    let copy = folder.copy_of(BINARY, "oxinetd");
    // The build folder may be closed to others: they start a copy.
    let exec = format!("shift; exec {copy} \"$@\"");
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &exec, "sh"];
    let held = address.to_string();
    let words = [activated(&[], &[&held]), vec!["setpriv"], user.to_vec()].concat();
    let poke = move || {
        wait_for("a listener", || try_tcp(address).ok());
    };
    let daemon = start(&words, poke, folder, &text);
    assert_eq!(daemon.wait_log(|line| line.is("listening")).get("adopted"), Some("yes"));
    assert_eq!(read_all(tcp_to(address)), "65534\n");
}

#[test]
fn a_command_and_a_daemon_in_the_background_take_sockets_too() {
    if missing() {
        return;
    }
    let port = free_port();
    let held = local(port);
    let words = activated(&[], &[&held]);
    thread::scope(|scope| {
        scope.spawn(by_tcp(port));
        let arguments = ["run", &held, "--", "echo", "a command"];
        let daemon = Setup::new().under(&words).run(&arguments);
        assert!(is_adopted(&daemon, port));
        assert_eq!(read_all(tcp(port)), "a command\n");
    });
    let port = free_port();
    let held = local(port);
    let folder = Folder::new();
    let file = folder.write("inetd.conf", &own_line(port, "/bin/echo echo a daemon"));
    let words: Vec<String> = activated(&[], &[&held]).into_iter().map(str::to_owned).collect();
    let mut command = command(&words);
    command.arg(file).arg("--daemon").stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.stderr(Stdio::null()).spawn().unwrap();
    by_tcp(port)();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let pid: u32 = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(read_all(tcp(port)), "a daemon\n");
    kill(as_pid(pid), Signal::SIGTERM).unwrap();
    wait_until("the daemon to end", || !procs::is_alive(pid));
}

#[test]
fn descriptors_that_cannot_serve_are_named_and_left() {
    let port = free_port();
    // The shell's own process becomes the server: LISTEN_PID is right.
    let script = "exec 3</dev/null; export LISTEN_FDS=5 LISTEN_FDNAMES=null LISTEN_PID=$$";
    let daemon = Setup::new().after(script).start(&own_line(port, "/bin/cat cat"));
    assert_eq!(echo_once(tcp(port), "served"), "served");
    let lines = daemon.said("not-adopted");
    let error = |n: usize| lines[n].get("error").unwrap().to_owned();
    assert_eq!(lines.len(), 2, "{}", daemon.log.text());
    assert_eq!((lines[0].get("name"), error(0)), (Some("null"), "it is not a socket".to_owned()));
    assert_eq!((lines[1].number("descriptor"), error(1)), (Some(4), "it is not open".to_owned()));
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let port = free_port();
    let setup = Setup::new().env("LISTEN_PID", "1").env("LISTEN_FDS", "2");
    let daemon = setup.start(&own_line(port, "/bin/cat cat"));
    assert_eq!(echo_once(tcp(port), "served"), "served");
    assert!(daemon.said("not-adopted").is_empty() && !is_adopted(&daemon, port));
}

/// It cannot be made anew here: the manager holds its address.
#[test]
fn a_socket_of_the_manager_that_a_program_has_ruined_stays_closed_and_says_so() {
    if missing() || !need_program("python3") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let script = "import os, socket\n\
        s = socket.socket(fileno=os.dup(0))\n\
        data, peer = s.recvfrom(100)\n\
        try: s.shutdown(2)\n\
        except OSError: pass\n";
    let script = folder.write("ruin.py", script);
    let text =
        format!("{} dgram udp wait {} python3 python3 {}\n", local(port), me(), script.display());
    let (held, other) = (local(port), free_port());
    let text = text + &own_line(other, "/bin/cat cat");
    let words = activated(&["--datagram"], &[&held]);
    let daemon = start_controlled(&words, by_udp(port), folder, &text);
    let said = daemon.wait_log(|line| line.about("not-listening", port));
    assert!(said.get("error").unwrap().contains("have the manager make a new one"), "{}", said.raw);
    daemon.said_times(1, "renewed");
    let programs = daemon.said("accepted").len();
    upgrade(&daemon);
    let mark = daemon.log.mark();
    let _ = daemon.reload(&text);
    let _ = udp(port).send(b"to nobody");
    assert_eq!(echo_once(tcp(other), "calm"), "calm");
    let again = daemon.log.all_after(mark, |line| line.about("accepted", port));
    assert_eq!((again.len(), programs > 0), (0, true), "{}", daemon.log.text());
}

#[test]
fn a_listener_of_the_manager_that_a_program_has_shut_listens_again() {
    if missing() || !need_program("python3") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let script = "import os, socket\n\
        s = socket.socket(fileno=os.dup(0))\n\
        s.accept()[0].sendall(b'served')\n\
        s.shutdown(2)\n";
    let script = folder.write("ruin.py", script);
    let text =
        format!("{} stream tcp wait {} python3 python3 {}\n", local(port), me(), script.display());
    let held = local(port);
    let words = activated(&[], &[&held]);
    let daemon = start_controlled(&words, by_tcp(port), folder, &text);
    for _ in 0..3 {
        wait_for("somebody to be served", || {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
            let mut answer = String::new();
            let _ = std::io::Read::read_to_string(&mut &stream, &mut answer);
            (answer == "served").then_some(())
        });
    }
    assert_eq!(daemon.said("not-listening").len(), 0, "{}", daemon.log.text());
}

#[track_caller]
fn start_controlled(
    words: &[&str],
    poke: impl FnOnce() + Send,
    folder: Folder,
    text: &str,
) -> Daemon {
    thread::scope(|scope| {
        scope.spawn(poke);
        Setup::new().controlled().under(words).start_in(folder, text)
    })
}
