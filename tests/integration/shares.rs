//! Clients that hold what the server has for them, where descriptors are few: others are
//! served beside them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::clients::{echo_once, tcp_from, try_tcp};
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_ports, me, need_program, need_root, wait_for,
};

/// The daemon may have so many descriptors: some fifty of them are for its own clients.
const LIMIT: &str = "ulimit -n 128";
/// More than it may have.
const FLOOD: usize = 150;

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const ANOTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn start(text: &str) -> Daemon {
    Setup::new().controlled().after(LIMIT).start(text)
}

/// As many as can be had, without a word.
fn flood(port: u16) -> Vec<TcpStream> {
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    (0..FLOOD).filter_map(|_| try_tcp(to).ok()).collect()
}

fn line(port: u16, what: &str) -> String {
    format!(
        "127.0.0.1:{port} stream tcp nowait {} internal {what}\n    instances = unlimited\n",
        me()
    )
}

#[test]
fn silent_clients_of_tcpmux_keep_nobody_from_other_services() {
    let ports = free_ports(3);
    let text = line(ports[0], "tcpmux")
        + &line(ports[1], "echo")
        + &format!("{}    redirect = 127.0.0.1 {}\n", line(ports[2], ""), ports[1]);
    let daemon = start(&text);
    let silent = flood(ports[0]);
    let _ = daemon.wait_count(5, |line| line.about("accepted", ports[0]));
    let began = Instant::now();
    // More than what tcpmux has not.
    let mut held = Vec::new();
    for _ in 0..50 {
        let stream = tcp_from(ATTACKER, ports[1]);
        assert_eq!(echo_once(&stream, "here"), "here");
        held.push(stream);
    }
    assert_eq!(echo_once(tcp_from(ANOTHER, ports[2]), "relayed"), "relayed");
    // Not because they have had their time.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    let said = daemon.wait_log(|line| line.about("closed", ports[0]));
    assert_eq!(said.get("reason"), Some("displaced"), "{}", said.raw);
    drop(silent);
}

#[test]
fn one_service_leaves_some_to_others() {
    let ports = free_ports(2);
    let daemon = start(&(line(ports[0], "discard") + &line(ports[1], "echo")));
    let _silent = flood(ports[0]);
    let _ = daemon.wait_log(|line| line.is("trouble"));
    assert_eq!(echo_once(tcp_from(ANOTHER, ports[1]), "here"), "here");
}

/// Sources at unix sockets are users.
#[test]
fn one_source_leaves_some_to_others_at_any_service() {
    if !need_root() || !need_program("socat") {
        return;
    }
    let folder = Folder::new();
    let path = folder.at("s");
    let text = format!(
        "{} stream unix nowait root internal echo\n    instances = unlimited\n\
         \x20   socket_mode = 0666\n",
        path.display()
    );
    let daemon = Setup::new().controlled().after(LIMIT).start_in(folder, &text);
    let _silent: Vec<_> = (0..FLOOD).filter_map(|_| UnixStream::connect(&path).ok()).collect();
    let said = daemon.wait_log(|line| line.is("refused"));
    assert_eq!(said.get("reason"), Some("share"), "{}", said.raw);
    let to = format!("UNIX-CONNECT:{}", path.display());
    let another = Command::new("setpriv")
        .args(["--reuid=1", "--regid=1", "--clear-groups", "socat", "-t", "60", "-", &to])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    another.stdin.as_ref().unwrap().write_all(b"here\n").unwrap();
    let output = another.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n");
}

#[test]
fn those_without_a_name_go_when_others_need_their_place() {
    let ports = free_ports(2);
    let daemon = start(&(line(ports[0], "tcpmux") + &line(ports[1], "echo")));
    // All of them together have half.
    let silent: Vec<_> = (3..7)
        .flat_map(|last| [last; 30])
        .map(|last| tcp_from(Ipv4Addr::new(127, 0, 0, last), ports[0]))
        .collect();
    let _ = daemon.wait_count(10, |line| line.about("accepted", ports[0]));
    let mut held = Vec::new();
    for last in 10..60 {
        let stream = tcp_from(Ipv4Addr::new(127, 0, 0, last), ports[1]);
        assert_eq!(echo_once(&stream, "here"), "here");
        held.push(stream);
    }
    let said = daemon.wait_log(|line| line.about("closed", ports[0]));
    assert_eq!(said.get("reason"), Some("displaced"), "{}", said.raw);
    drop(silent);
}

/// Byte by byte it could take hours.
#[test]
fn a_name_that_never_ends_has_its_time() {
    let ports = free_ports(1);
    let text = format!("{}    idle_timeout = 2s\n", line(ports[0], "tcpmux"));
    let daemon = Daemon::start(&text);
    let mut client = tcp_from(ATTACKER, ports[0]);
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let began = Instant::now();
    wait_for("the end", || {
        assert!(began.elapsed() < DEADLINE);
        let _ = client.write_all(b"x");
        match client.read(&mut [0; 64]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            _ => Some(()),
        }
    });
    let said = daemon.wait_log(|line| line.about("closed", ports[0]));
    assert_eq!(said.get("reason"), Some("idle"), "{}", said.raw);
}
