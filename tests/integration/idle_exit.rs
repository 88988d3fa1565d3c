//! `--idle-exit`: the server ends when nobody has been here for so long, and no sooner.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::clients::{echo_once, is_closed, udp_ask};
use crate::common::control::upgrade;
use crate::common::daemon::{BINARY, command};
use crate::common::wait::park;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, me, own_line, read_all, tcp, tcp_line, udp,
    wait_for,
};

fn leaving(time: &str) -> Setup {
    Setup::new().arg("--idle-exit").arg(time)
}

#[track_caller]
fn wait_left(daemon: &mut Daemon) {
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let line = daemon.wait_log(|line| line.is("stopping"));
    assert_eq!(line.get("signal"), Some("idle"), "{}", line.raw);
}

#[test]
fn a_server_to_which_nobody_comes_ends_well() {
    let port = free_port();
    let mut daemon = leaving("300ms").start(&tcp_line(port, "/bin/cat cat"));
    wait_left(&mut daemon);
    assert!(is_closed(port));
}

#[test]
fn it_stays_for_whoever_is_here_and_ends_after_the_last() {
    let stays = |program: &str, target: Option<&TcpListener>| {
        let port = free_port();
        let mut daemon = leaving("4s").start(&tcp_line(port, program));
        let client = tcp(port);
        let _ = daemon.wait_log(|line| line.about("accepted", port));
        let behind = target.map(|target| target.accept().unwrap());
        park(Duration::from_secs(6));
        assert!(daemon.is_running(), "{}", daemon.log.text());
        drop((client, behind));
        wait_left(&mut daemon);
    };
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = target.local_addr().unwrap().port();
    let relay = format!("internal\n    redirect = 127.0.0.1 {to}");
    thread::scope(|scope| {
        scope.spawn(|| stays("/bin/cat cat", None));
        scope.spawn(|| stays("internal echo", None));
        scope.spawn(|| stays(&relay, Some(&target)));
    });
}

#[test]
fn it_stays_for_those_who_come_again_and_again() {
    let (stream, datagram) = (free_port(), free_port());
    let text = tcp_line(stream, "/bin/echo echo here")
        + &format!("127.0.0.1:{datagram} dgram udp wait {} internal echo\n", me());
    let mut daemon = leaving("4s").start(&text);
    for _ in 0..6 {
        assert_eq!(read_all(tcp(stream)), "here\n");
        park(Duration::from_millis(500));
        assert_eq!(udp_ask(&udp(datagram), "?"), "?");
        park(Duration::from_millis(500));
    }
    assert!(daemon.is_running());
    wait_left(&mut daemon);
}

#[test]
fn run_has_it_too_and_a_wrong_time_is_wrong_usage() {
    let mut daemon = Setup::new().run(&["run", "--idle-exit", "200ms", "127.0.0.1:0", "--", "cat"]);
    wait_left(&mut daemon);
    for wrong in ["0s", "soon", "5", "-1s"] {
        let arguments = ["run", &format!("--idle-exit={wrong}"), "0", "--", "cat"];
        let output = command(&[]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn an_upgrade_does_not_begin_the_time_anew_and_keeps_it() {
    let port = free_port();
    let setup = leaving("6s").controlled();
    let mut daemon = setup.start(&tcp_line(port, "/bin/cat cat"));
    let client = tcp(port);
    assert_eq!(echo_once(&client, "?"), "?");
    upgrade(&daemon);
    assert_eq!(echo_once(&client, "?"), "?");
    drop(client);
    upgrade(&daemon);
    wait_left(&mut daemon);
}

/// A server with a listening socket of the test's, as a service manager starts it.
fn start_with(socket: &TcpListener, file: &Path, time: &str) -> Child {
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    let copy = OwnedFd::from(socket.try_clone().unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", BINARY]).arg(file);
    command.args(["--control", "none", "--idle-exit", time]);
    command.stdin(Stdio::from(copy)).stderr(Stdio::piped()).spawn().unwrap()
}

/// The other half of socket activation: who comes while the server ends waits in the backlog
/// of a socket that stays, and is served by the next one.
#[test]
fn nobody_is_lost_where_the_service_manager_holds_the_socket() {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = socket.local_addr().unwrap();
    let folder = Folder::new();
    let file = folder.write("inetd.conf", &own_line(address.port(), "/bin/echo echo here"));
    let clients = thread::spawn(move || {
        for round in 0_u64..40 {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "here\n");
            // Sooner and later than the server's end.
            park(Duration::from_millis(round * 7 % 100));
        }
    });
    let mut ends = 0;
    while !clients.is_finished() {
        let mut server = start_with(&socket, &file, "20ms");
        let status = wait_for("the server's end", || server.try_wait().unwrap());
        let mut log = String::new();
        server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(status.success() && log.contains("stopping signal=idle"), "{status}: {log}");
        ends += 1;
    }
    clients.join().unwrap();
    assert!(ends > 1, "it has ended between clients");
}

#[test]
fn a_client_that_comes_at_the_last_moment_to_a_socket_of_our_own_is_served_or_refused() {
    let port = free_port();
    let mut daemon = leaving("2s").start(&tcp_line(port, "/bin/cat cat"));
    let mut served: u64 = 0;
    while daemon.is_running() {
        if let Ok(mut client) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            served += u64::from(client.write_all(b"?").is_ok());
        }
        // A little longer each time, until that is too long.
        park(Duration::from_millis(served * 250));
    }
    wait_left(&mut daemon);
    assert!(served > 0);
}
