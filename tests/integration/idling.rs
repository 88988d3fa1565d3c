//! `idle_timeout`: connections on which nothing moves are ended, and no others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::common::clients::{echo_once, read_to_any_end};
use crate::common::control::{controlled, upgrade};
use crate::common::daemon::as_pid;
use crate::common::procs::{descriptors, is_alive};
use crate::common::tls::{behind_tls, python, site};
use crate::common::wait::{park, wait_for};
use crate::common::{
    DEADLINE, Daemon, Folder, Line, Setup, free_port, free_ports, me, need_ipv6, need_program,
    need_root, own_line, read_all, read_line, shell, tcp, tcp_line, tcp6, wait_until,
};

const SOON: &str = "    idle_timeout = 300ms\n";

/// Whether a line says that a program, or a connection without one, was idle.
fn is_idle(line: &Line, port: u16) -> bool {
    let said = line.about("timeout", port) || line.about("closed", port);
    said && line.get("reason") == Some("idle")
}

#[test]
fn a_program_whose_client_is_silent_is_terminated_and_the_log_says_why() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, "/bin/cat cat") + SOON));
    let client = tcp(port);
    let pid = daemon.accepted(port, 1)[0];
    assert_eq!(read_all(client), "", "the connection ends with the program");
    let line = daemon.wait_log(|line| line.about("timeout", port));
    assert_eq!((line.number("pid"), line.get("signal")), (Some(pid), Some("TERM")));
    assert_eq!(line.get("reason"), Some("idle"), "{}", line.raw);
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGTERM"));
}

#[test]
fn the_same_over_ipv6_and_for_entries_of_tcpmux() {
    if !need_ipv6() {
        return;
    }
    let ports = free_ports(2);
    let text = format!(
        "[::1]:{} stream tcp nowait - cat\n{SOON}\
         127.0.0.1:{} stream tcp nowait {} internal tcpmux\n\
         tcpmux/own stream tcp nowait - cat\n{SOON}",
        ports[0],
        ports[1],
        me()
    );
    let daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp6(ports[0])), "");
    let mut client = tcp(ports[1]);
    client.write_all(b"own\r\n").unwrap();
    assert_eq!(read_all(client), "");
    for label in [format!("{}/tcp", ports[0]), "tcpmux/own".to_owned()] {
        let _ = daemon.wait_log(|line| {
            line.is("timeout")
                && line.get("service") == Some(&label)
                && line.get("reason") == Some("idle")
        });
    }
}

/// A client that does something again and again, and a look at how long it has not been able
/// to: on a machine that holds it up nothing can be said.
fn again_and_again(time: Duration, mut act: impl FnMut()) -> Duration {
    let (start, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while start.elapsed() < time {
        act();
        longest = longest.max(last.elapsed());
        last = Instant::now();
        park(Duration::from_millis(100));
    }
    longest
}

#[test]
fn whoever_moves_either_way_is_left_alone_for_as_long_as_he_does() {
    let ports = free_ports(5);
    let limit = "    idle_timeout = 2s\n";
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = target.local_addr().unwrap().port();
    let text = tcp_line(ports[0], "/bin/cat cat")
        + limit
        + &tcp_line(ports[1], &shell("exec cat >/dev/null"))
        + limit
        + &tcp_line(ports[2], &shell("while echo x; do sleep 0.1; done"))
        + limit
        + &tcp_line(ports[3], "internal echo")
        + limit
        + &tcp_line(ports[4], &format!("internal\n    redirect = 127.0.0.1 {to}"))
        + limit;
    let daemon = Daemon::start(&text);
    let (both, mut up, down) = (tcp(ports[0]), tcp(ports[1]), tcp(ports[2]));
    let (builtin, mut relayed) = (tcp(ports[3]), tcp(ports[4]));
    let (mut behind, _) = target.accept().unwrap();
    behind.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut exchange = || {
        assert_eq!(echo_once(&both, "?"), "?");
        up.write_all(b"?").unwrap();
        assert_eq!(read_line(&down), "x\n");
        assert_eq!(echo_once(&builtin, "?"), "?");
        relayed.write_all(b"?").unwrap();
        behind.read_exact(&mut [0]).unwrap();
    };
    let held_up = again_and_again(Duration::from_secs(7), &mut exchange);
    let idle = daemon.log.all_after(0, |line| line.get("reason") == Some("idle"));
    if held_up < Duration::from_secs(1) {
        assert!(idle.is_empty(), "{}", daemon.log.text());
    }
    // Whoever does nothing any more is not. The writer writes on, and is taken from.
    for port in [ports[0], ports[1], ports[3], ports[4]] {
        let _ = daemon.wait_log(|line| is_idle(line, port));
    }
    assert_eq!(read_line(&down), "x\n");
}

#[test]
fn bytes_for_a_client_that_takes_none_do_not_move() {
    let port = free_port();
    let text = tcp_line(port, "/usr/bin/yes yes") + "    idle_timeout = 1s\n    sndbuf = 8k\n";
    let daemon = Daemon::start(&text);
    let client = tcp(port);
    let line = daemon.wait_log(|line| is_idle(line, port));
    assert_eq!(line.get("signal"), Some("TERM"));
    drop(client);
}

/// What is sent again and again to a client that has vanished, which nobody has told its system,
/// and whatever a program sends besides.
#[test]
fn bytes_for_a_client_that_has_vanished_do_not_move() {
    if !need_root() || !["unshare", "nsenter", "ip", "nc"].into_iter().all(need_program) {
        return;
    }
    let port = free_port();
    let script = shell("while echo x; do sleep 0.1; done");
    let text = tcp_line(port, &script) + "    idle_timeout = 2s\n";
    let up = "ip link set lo up && shift && exec \"$@\"";
    let daemon = Setup::new().under(&["unshare", "--net", "sh", "-c", up, "sh", "sh"]).start(&text);
    let there = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", daemon.pid())).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut client = there(&["nc", "127.0.0.1", &port.to_string()]);
    assert_eq!(read_line(client.stdout.take().unwrap()), "x\n");
    assert!(there(&["ip", "link", "set", "lo", "down"]).wait().unwrap().success());
    let line = daemon.wait_log(|line| is_idle(line, port));
    assert_eq!(line.get("signal"), Some("TERM"));
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn a_program_that_does_not_hear_is_killed_after_its_time() {
    let port = free_port();
    let script = shell("trap \"\" TERM; sleep 600 & echo $!; wait");
    let daemon = Daemon::start(&(own_line(port, &script) + SOON + "    kill_after = 200ms\n"));
    let client = tcp(port);
    let grandchild: u32 = read_line(&client).trim().parse().unwrap();
    let lines = daemon.wait_count(2, |line| is_idle(line, port));
    let signals: Vec<_> = lines.iter().map(|line| line.get("signal").unwrap()).collect();
    assert_eq!(signals, ["TERM", "KILL"]);
    wait_until("its child to be gone", || !is_alive(grandchild));
}

#[test]
fn the_time_of_a_program_is_another_one_and_whichever_is_over_first_counts() {
    let ports = free_ports(2);
    let sleep = |port| own_line(port, "/bin/sleep sleep 600");
    let text = sleep(ports[0])
        + "    idle_timeout = 1h\n    timeout = 200ms\n"
        + &sleep(ports[1])
        + SOON
        + "    timeout = 1h\n";
    let daemon = Daemon::start(&text);
    let clients = [tcp(ports[0]), tcp(ports[1])];
    let reasons = ports.iter().map(|port| {
        let line = daemon.wait_log(|line| line.about("timeout", *port));
        line.get("reason").map(str::to_owned)
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [None, Some("idle".to_owned())]);
    assert_eq!(clients.map(read_all), ["", ""]);
}

#[test]
fn built_in_services_and_relays_close_connections_on_which_nothing_moves() {
    let (ports, folder) = (free_ports(3), Folder::new());
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = target.local_addr().unwrap().port();
    let path = folder.open_folder("sockets").join("echo");
    let text = tcp_line(ports[0], "internal echo")
        + SOON
        + &tcp_line(ports[1], &format!("internal\n    redirect = 127.0.0.1 {to}"))
        + SOON
        + &tcp_line(ports[2], "internal tcpmux")
        + SOON
        + &format!("{} stream unix nowait - internal echo\n{SOON}", path.display());
    let daemon = Setup::new().start_in(folder, &text);
    let clients = [tcp(ports[0]), tcp(ports[1]), tcp(ports[2])];
    let (behind, _) = target.accept().unwrap();
    let mut local = UnixStream::connect(&path).unwrap();
    local.set_read_timeout(Some(DEADLINE)).unwrap();
    for client in clients {
        assert_eq!(read_to_any_end(client), "");
    }
    behind.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(read_to_any_end(behind), "", "the other side of the relay, too");
    assert_eq!(local.read(&mut [0]).unwrap(), 0);
    for port in ports {
        let _ = daemon.wait_log(|line| is_idle(line, port));
    }
    let _ = daemon.wait_log(|line| line.is("closed") && line.get("service") == path.to_str());
}

/// Writes until nothing is taken any more.
fn stuff(stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    wait_until("the connection to be full", || {
        let mut written = false;
        while (&*stream).write(&[b'x'; 4096]).is_ok() {
            written = true;
        }
        !written
    });
    stream.set_nonblocking(false).unwrap();
}

#[test]
fn whoever_was_idle_sees_an_end_and_no_failure() {
    let ports = free_ports(2);
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = target.local_addr().unwrap().port();
    let text = tcp_line(ports[0], &format!("internal\n    redirect = 127.0.0.1 {to}"))
        + SOON
        + &tcp_line(ports[1], "internal echo")
        + SOON;
    let daemon = Daemon::start(&text);
    let mut client = tcp(ports[0]);
    let (mut behind, _) = target.accept().unwrap();
    behind.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"up").unwrap();
    behind.write_all(b"down").unwrap();
    assert_eq!((read_all(client), read_all(behind)), ("down".to_owned(), "up".to_owned()));
    // What it has sent meanwhile is not read, and what it is sent not taken.
    let full = tcp(ports[1]);
    stuff(&full);
    let _ = daemon.wait_log(|line| is_idle(line, ports[1]));
    assert!(read_all(full).bytes().all(|byte| byte == b'x'));
}

#[test]
fn a_side_that_did_not_take_all_is_not_told_that_it_was_all() {
    let port = free_port();
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = target.local_addr().unwrap().port();
    let line = tcp_line(port, &format!("internal\n    redirect = 127.0.0.1 {to}"));
    let daemon = Daemon::start(&(line + SOON));
    let mut idle = 0;
    // On a busy machine all of it may find room behind the relay, which then owes nothing.
    let (client, error) = wait_for("a relay that has something left", || {
        let client = tcp(port);
        let (mut behind, _) = target.accept().unwrap();
        stuff(&client);
        idle += 1;
        let _ = daemon.wait_count(idle, |line| is_idle(line, port));
        behind.set_read_timeout(Some(DEADLINE)).unwrap();
        let error = behind.read_to_end(&mut Vec::new()).err()?;
        Some((client, error))
    });
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(read_all(client), "", "nothing was said to the other side, which has it all");
}

#[test]
fn a_reload_changes_the_time_for_the_next_connections() {
    let ports = free_ports(2);
    let text = |limit: &str| {
        tcp_line(ports[0], "/bin/cat cat") + limit + &tcp_line(ports[1], "internal echo") + limit
    };
    let daemon = Daemon::start(&text(""));
    let before = ports.clone().into_iter().map(tcp).collect::<Vec<_>>();
    before.iter().for_each(|client| assert_eq!(echo_once(client, "?"), "?"));
    let _ = daemon.reload(&text(SOON));
    let after = ports.iter().map(|port| tcp(*port)).collect::<Vec<_>>();
    after.into_iter().for_each(|client| assert_eq!(read_to_any_end(client), ""));
    let _ = daemon.reload(&text(""));
    before.iter().for_each(|client| assert_eq!(echo_once(client, "still here"), "still here"));
    let idle = daemon.log.all_after(0, |line| line.get("reason") == Some("idle"));
    assert_eq!(idle.len(), 2, "{}", daemon.log.text());
}

/// Also for somebody who waits for a terminal, and of whom nothing was kept when he came.
#[test]
fn whoever_waits_for_a_place_has_the_time_of_a_reload() {
    let port = free_port();
    let text = |limit: &str| {
        own_line(port, &shell("echo ready; cat")) + "    telnet = yes\n    instances = 1\n" + limit
    };
    let daemon = Daemon::start(&text(""));
    // Either may be the first; the other one waits for the place, wherever he is by then.
    let mut both = [tcp(port), tcp(port)];
    let first = daemon.accepted(port, 1)[0];
    let _ = daemon.reload(&text(SOON));
    kill(as_pid(first), Signal::SIGTERM).unwrap();
    let line = daemon.wait_log(|line| is_idle(line, port));
    assert_ne!(line.number("pid"), Some(first));
    both.iter_mut().for_each(|client| drop(client.read_to_end(&mut Vec::new())));
    daemon.wait_count(2, |line| line.about("ended", port));
}

/// An entry of tcpmux behind TLS: its worker sees what moves.
#[test]
fn an_entry_of_tcpmux_behind_tls_has_its_own_time() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "internal tcpmux", "")
        + &format!("tcpmux/own stream tcp nowait {} /bin/cat cat\n    idle_timeout = 2s\n", me());
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
it = connect(sys.argv[1])
it.sendall(b'own\r\n')
# For more than its time something moves, if this machine lets it.
start = last = time.monotonic()
held_up = False
while time.monotonic() < start + 5:
    try:
        it.sendall(b'x'); alive = it.recv(1) == b'x'
    except OSError: alive = False
    now = time.monotonic()
    held_up |= now > last + 1
    last = now
    if not alive: break
    time.sleep(0.1)
assert alive or held_up
# And then nothing.
try: assert not alive or it.recv(1) == b''
except OSError: pass
print('good')
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "good");
    let _ = daemon.wait_log(|line| line.is("timeout") && line.get("reason") == Some("idle"));
}

#[test]
fn an_upgrade_keeps_the_time_of_whoever_is_there() {
    let ports = free_ports(3);
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = target.local_addr().unwrap().port();
    let limit = "    idle_timeout = 3s\n";
    let text = tcp_line(ports[0], "/bin/cat cat")
        + limit
        + &tcp_line(ports[1], "internal echo")
        + limit
        + &tcp_line(ports[2], &format!("internal\n    redirect = 127.0.0.1 {to}"))
        + limit;
    let daemon = controlled(&text);
    let clients = ports.iter().map(|port| tcp(*port)).collect::<Vec<_>>();
    let (_behind, _) = target.accept().unwrap();
    let _ = daemon.wait_count(3, |line| line.is("accepted"));
    for _ in 0..3 {
        upgrade(&daemon);
    }
    clients.into_iter().for_each(|client| assert_eq!(read_to_any_end(client), ""));
    for port in ports {
        let _ = daemon.wait_log(|line| is_idle(line, port));
    }
    assert!(daemon.said("trouble").is_empty(), "{}", daemon.log.text());
}

#[test]
fn a_client_whose_program_ends_sees_that_and_nothing_is_left() {
    let port = free_port();
    let text = tcp_line(port, "/bin/echo echo here") + "    idle_timeout = 1h\n";
    let mut daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(port)), "here\n");
    daemon.wait_childless();
    let before = descriptors(daemon.pid());
    for _ in 0..30 {
        assert_eq!(read_all(tcp(port)), "here\n");
    }
    wait_until("as many descriptors as before", || descriptors(daemon.pid()) <= before);
    daemon.stop();
}

#[test]
fn a_program_that_has_closed_its_connection_moves_nothing() {
    let port = free_port();
    let script = shell("exec <&- >&-; sleep 600");
    let daemon = Daemon::start(&(own_line(port, &script) + SOON));
    let client: TcpStream = tcp(port);
    let _ = daemon.wait_log(|line| is_idle(line, port));
    assert_eq!(read_all(client), "");
}

#[test]
fn where_descriptors_are_few_clients_wait_for_them_and_all_are_served() {
    let port = free_port();
    let text = tcp_line(port, "/bin/cat cat") + "    idle_timeout = 1h\n";
    let daemon = Setup::new().after("ulimit -n 40").start(&text);
    let clients: Vec<TcpStream> = (0..20).map(|_| tcp(port)).collect();
    for client in clients {
        assert_eq!(echo_once(&client, "?"), "?");
    }
    assert!(daemon.said("failed").is_empty(), "{}", daemon.log.text());
}
