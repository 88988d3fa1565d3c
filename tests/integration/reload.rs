//! SIGHUP: what stays, what goes, and that no client notices.

use std::net::SocketAddr;

use crate::common::clients::{echo_once, try_tcp, udp_ask};
use crate::common::load::Load;
use crate::common::procs;
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, me, need_program, own_line, read_all, shell, tcp,
    tcp_line, udp, wait_until,
};

fn refused(port: u16) -> bool {
    try_tcp(SocketAddr::new("127.0.0.1".parse().unwrap(), port)).is_err()
}

#[test]
fn twenty_reloads_under_load_refuse_no_connection_and_leave_children_alone() {
    let ports = free_ports(3);
    let (busy, held, extra) = (ports[0], ports[1], ports[2]);
    let base = tcp_line(busy, "/bin/echo echo served") + &tcp_line(held, "/bin/cat cat");
    let mut daemon = Daemon::start(&base);
    let client = tcp(held);
    assert_eq!(echo_once(&client, "before"), "before");
    let child = daemon.accepted(held, 1)[0];
    let load = Load::start(busy, "served\n");
    for round in 0..20 {
        let more = tcp_line(extra, "/bin/echo echo extra");
        let attribute = format!("    instances = {}\n", 100 + round);
        let text = if round % 2 == 0 { base.clone() + &attribute + &more } else { base.clone() };
        let _ = daemon.reload(&text);
        load.wait_more(3);
    }
    assert!(load.finish() >= 60);
    assert_eq!(echo_once(&client, "after"), "after");
    assert!(procs::is_alive(child));
    assert!(daemon.is_running());
    daemon.stop();
}

#[test]
fn hangups_in_quick_succession_are_harmless() {
    let port = free_port();
    let mut daemon = Daemon::start(&tcp_line(port, "/bin/echo echo on"));
    let load = Load::start(port, "on\n");
    for _ in 0..300 {
        daemon.signal(nix::sys::signal::Signal::SIGHUP);
    }
    let _ = daemon.wait_log(|line| line.is("reloaded"));
    load.wait_more(20);
    let _ = load.finish();
    daemon.stop();
}

#[test]
fn an_added_service_is_served_and_a_removed_one_is_not() {
    let ports = free_ports(2);
    let (old, new) = (ports[0], ports[1]);
    let daemon = Daemon::start(&tcp_line(old, "/bin/echo echo old"));
    assert!(refused(new));
    let line = daemon.reload(&tcp_line(new, "/bin/echo echo new"));
    assert_eq!((line.number("opened"), line.number("closed")), (Some(1), Some(1)), "{}", line.raw);
    assert_eq!(read_all(tcp(new)), "new\n");
    assert!(refused(old));
}

#[test]
fn the_line_about_a_reload_counts_kept_opened_closed_and_updated() {
    let ports = free_ports(4);
    let line = |port: u16, word: &str| tcp_line(port, &format!("/bin/echo echo {word}"));
    let first = line(ports[0], "same") + &line(ports[1], "old") + &line(ports[2], "gone");
    let second = line(ports[0], "same") + &line(ports[1], "new") + &line(ports[3], "added");
    let daemon = Daemon::start(&first);
    let said = daemon.reload(&second);
    let numbers = ["kept", "opened", "closed", "updated"].map(|key| said.number(key).unwrap());
    assert_eq!(&numbers[1..], [1, 1, 1], "{}", said.raw);
    assert!(numbers[0] == 1 || numbers[0] == 2, "{}", said.raw);
}

#[test]
fn the_line_about_a_reload_counts_sockets_that_can_be_opened() {
    let ports = free_ports(7);
    let taken = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).unwrap();
    let lines = |ports: &[u16]| -> String {
        ports.iter().map(|port| tcp_line(*port, "/bin/echo echo x")).collect()
    };
    let numbers = |line: &crate::common::Line| {
        ["kept", "opened", "closed"].map(|key| line.number(key).unwrap())
    };
    let others: Vec<_> = ports[1..].iter().map(taken).collect();
    let daemon = Daemon::start(&lines(&ports[..4]));
    // Three that cannot be opened in the place of three that could not be.
    let said = daemon.reload(&lines(&[ports[0], ports[4], ports[5], ports[6]]));
    assert_eq!(numbers(&said), [1, 0, 0], "{}", said.raw);
    drop(others);
    let said = daemon.reload(&lines(&ports[4..]));
    let [kept, opened, closed] = numbers(&said);
    // They are tried again by themselves a second after the last time.
    assert_eq!((kept + opened, closed), (3, 1), "{}", said.raw);
    let _ = daemon.wait_count(4, |line| line.is("listening"));
}

#[test]
fn children_of_a_removed_service_run_on() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let client = tcp(port);
    assert_eq!(echo_once(&client, "one"), "one");
    let _ = daemon.reload("# nothing\n");
    assert!(refused(port));
    assert_eq!(echo_once(&client, "two"), "two");
    assert_eq!(daemon.count_peers().1, 1);
    drop(client);
    let _ = daemon.wait_log(|line| line.about("ended", port));
}

#[test]
fn children_of_a_removed_service_with_on_stop_terminate_are_ended() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, "/bin/cat cat") + "    on_stop = terminate\n"));
    let client = tcp(port);
    assert_eq!(echo_once(&client, "one"), "one");
    let _ = daemon.reload("# nothing\n");
    assert_eq!(read_all(client), "");
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGTERM"), "{}", line.raw);
}

#[test]
fn a_changed_program_keeps_the_socket_and_who_waits_in_its_backlog() {
    let port = free_port();
    let old = tcp_line(port, "/bin/cat cat") + "    instances = 1\n";
    let daemon = Daemon::start(&old);
    let first = tcp(port);
    assert_eq!(echo_once(&first, "old"), "old");
    let waiting = tcp(port);
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    let _ = daemon.reload(&(tcp_line(port, "/bin/echo echo new") + "    instances = 1\n"));
    assert_eq!(echo_once(&first, "still old"), "still old");
    drop(first);
    assert_eq!(read_all(waiting), "new\n", "served by the new program from the old backlog");
}

#[test]
fn a_raised_limit_lets_in_who_waits_in_the_backlog() {
    let port = free_port();
    let line = tcp_line(port, "/bin/cat cat");
    let daemon = Daemon::start(&(line.clone() + "    instances = 1\n"));
    let first = tcp(port);
    assert_eq!(echo_once(&first, "first"), "first");
    let second = tcp(port);
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    let _ = daemon.reload(&(line + "    instances = 2\n"));
    assert_eq!(echo_once(&second, "second"), "second");
}

#[test]
fn a_changed_attribute_holds_for_the_next_connection() {
    let port = free_port();
    let line = tcp_line(port, &shell("echo $COLOUR; umask"));
    let daemon = Daemon::start(&(line.clone() + "    env = COLOUR=red\n"));
    assert_eq!(read_all(tcp(port)), "red\n0022\n");
    let said = daemon.reload(&(line + "    env = COLOUR=blue\n    umask = 077\n"));
    assert_eq!(said.number("updated"), Some(1), "{}", said.raw);
    assert_eq!(read_all(tcp(port)), "blue\n0077\n");
}

/// What a connection has inherited from its listener: TCP_NODELAY, SO_KEEPALIVE, the sizes of
/// the buffers, and which of these have been said (SO_BUF_LOCK).
const OPTIONS: &str = "import socket; s = socket.socket(fileno=0)
of_socket = [socket.SO_KEEPALIVE, socket.SO_SNDBUF, socket.SO_RCVBUF, 72]
said = [s.getsockopt(socket.SOL_SOCKET, option) for option in of_socket]
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), *said)
";

#[test]
fn options_of_connections_change_and_are_forgotten_when_they_are_said_no_more() {
    if !need_program("python3") {
        return;
    }
    let folder = Folder::new();
    let script = folder.write("options.py", OPTIONS);
    let port = free_port();
    let line = own_line(port, &format!("python3 python3 {}", script.display()));
    let ask = || -> Vec<u32> {
        let said = read_all(tcp(port));
        said.split_whitespace().map(|number| number.parse().unwrap()).collect()
    };
    let daemon = Setup::new().start_in(folder, &line);
    let plain = ask();
    assert_eq!((plain[0], plain[1], plain[4]), (0, 0, 0), "{plain:?}");
    let steps = [
        ("    nodelay = yes\n", [1, 0, plain[2], plain[3], 0]),
        ("    keepalive = yes\n", [0, 1, plain[2], plain[3], 0]),
        ("    sndbuf = 32k\n    rcvbuf = 16k\n", [0, 0, 65_536, 32_768, 3]),
        ("    rcvbuf = 16k\n", [0, 0, plain[2], 32_768, 2]),
        ("", [0, 0, plain[2], plain[3], 0]),
    ];
    for (attributes, expected) in steps {
        let said = daemon.reload(&(line.clone() + attributes));
        assert_eq!((said.number("kept"), said.number("updated")), (Some(1), Some(1)));
        assert_eq!(ask(), expected, "{attributes:?}");
    }
}

#[test]
fn a_service_can_change_between_nowait_and_wait() {
    let port = free_port();
    let line = |wait: &str, program: &str| {
        format!("127.0.0.1:{port} dgram udp {wait} {} {program}\n", me())
    };
    let nowait = line("nowait", "/usr/bin/head head -c 3");
    let wait = line("wait", &shell("head -c 3 >/dev/null; echo waited >&2"));
    let daemon = Daemon::start(&nowait);
    assert_eq!(udp_ask(&udp(port), "one"), "one");
    let _ = daemon.reload(&wait);
    udp(port).send(b"two").unwrap();
    let _ = daemon.wait_log(|line| line.is("stderr") && line.get("line") == Some("waited"));
    let _ = daemon.wait_count(2, |line| line.about("ended", port));
    let _ = daemon.reload(&nowait);
    assert_eq!(udp_ask(&udp(port), "six"), "six");
}

#[test]
fn a_service_changed_to_wait_while_a_child_runs_waits_for_nobody_else() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let client = tcp(port);
    assert_eq!(echo_once(&client, "nowait"), "nowait");
    let script = shell("echo waiting >&2; exec sleep 60");
    let _ = daemon.reload(&format!("127.0.0.1:{port} stream tcp wait {} {script}\n", me()));
    let _second = tcp(port);
    let _ = daemon.wait_log(|line| line.is("stderr") && line.get("line") == Some("waiting"));
    assert_eq!(echo_once(&client, "undisturbed"), "undisturbed");
}

#[test]
fn a_waiting_program_keeps_its_socket_over_a_reload() {
    let port = free_port();
    let script = shell("echo started >&2; head -c 6 >/dev/null");
    let line = format!("127.0.0.1:{port} dgram udp wait {} {script}\n", me());
    let daemon = Daemon::start(&line);
    udp(port).send(b"one").unwrap();
    let _ = daemon.wait_log(|line| line.is("stderr"));
    let _ = daemon.reload(&(line.clone() + "    instances = 7\n"));
    udp(port).send(b"two").unwrap();
    let _ = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(daemon.accepted(port, 1).len(), 1, "no second program while the first ran");
    udp(port).send(b"again").unwrap();
    let _ = daemon.accepted(port, 2);
}

#[test]
fn an_empty_file_ends_the_listening_and_a_full_one_resumes_it() {
    let port = free_port();
    let line = tcp_line(port, "/bin/echo echo here");
    let daemon = Daemon::start("");
    assert!(refused(port));
    let _ = daemon.reload(&line);
    assert_eq!(read_all(tcp(port)), "here\n");
    let _ = daemon.reload("");
    wait_until("the port to be closed", || refused(port));
    let _ = daemon.reload(&line);
    assert_eq!(read_all(tcp(port)), "here\n");
}
