//! `keepalive` with its times: on the connections of programs, of relays both ways, and of what
//! tcpmux starts.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, me, need_ipv6, need_program, own_line, read_all,
    tcp, tcp_line, tcp6, wait_until,
};

/// What a connection has: SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT.
const OPTIONS: &str = "import socket; s = socket.socket(fileno=0)
if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN): s = s.accept()[0]
said = [s.getsockopt(socket.IPPROTO_TCP, option) for option in (4, 5, 6)]
s.send(' '.join(map(str, [s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *said])).encode())
";

const TIMES: &str = "    keepalive = 20m 75s 6\n";
const WITH_TIMES: &str = "1 1200 75 6";

/// What the system says where nobody says anything.
fn usual(keepalive: u8) -> String {
    let read = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/tcp_keepalive_{name}");
        fs::read_to_string(path).unwrap().trim().to_owned()
    };
    format!("{keepalive} {} {} {}", read("time"), read("intvl"), read("probes"))
}

/// The program of a service that tells them.
fn teller(folder: &Folder) -> String {
    format!("python3 python3 {}", folder.write("options.py", OPTIONS).display())
}

#[test]
fn connections_have_the_times_that_are_said_and_lose_them_when_they_are_not() {
    if !need_program("python3") || !need_ipv6() {
        return;
    }
    let (folder, ports) = (Folder::new(), free_ports(3));
    let teller = teller(&folder);
    let text = |said: &str| {
        own_line(ports[0], &teller)
            + said
            + &format!("[::1]:{} stream tcp nowait {} {teller}\n{said}", ports[1], me())
            + &format!("127.0.0.1:{} stream tcp wait {} {teller}\n{said}", ports[2], me())
    };
    let daemon = Setup::new().start_in(folder, &text(TIMES));
    let all = || [tcp(ports[0]), tcp6(ports[1]), tcp(ports[2])].map(read_all);
    assert_eq!(all(), [WITH_TIMES; 3]);
    for (said, expected) in [
        ("    keepalive = yes\n", usual(1)),
        (TIMES, WITH_TIMES.to_owned()),
        ("", usual(0)),
        ("    keepalive = 1s 32767s 127\n", "1 1 32767 127".to_owned()),
        ("    keepalive = no\n", usual(0)),
    ] {
        let _ = daemon.reload(&text(said));
        assert_eq!(all(), [expected.as_str(); 3], "{said:?}");
    }
}

#[test]
fn an_entry_of_tcpmux_has_its_own() {
    if !need_program("python3") {
        return;
    }
    let (folder, port) = (Folder::new(), free_port());
    let teller = teller(&folder);
    let entry = |name: &str, said: &str| {
        format!("tcpmux/{name} stream tcp nowait {} {teller}\n{said}", me())
    };
    let text = tcp_line(port, "internal tcpmux") + &entry("plain", "") + &entry("times", TIMES);
    let _daemon = Setup::new().start_in(folder, &text);
    for (name, expected) in [("plain", usual(0)), ("times", WITH_TIMES.to_owned())] {
        let mut client = tcp(port);
        client.write_all(format!("{name}\r\n").as_bytes()).unwrap();
        assert_eq!(read_all(client), expected);
    }
}

#[test]
fn both_sides_of_a_relay_have_them() {
    if !need_program("ss") {
        return;
    }
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, to) = (free_port(), target.local_addr().unwrap().port());
    let line = tcp_line(port, &format!("internal\n    redirect = 127.0.0.1 {to}"));
    let _daemon = Daemon::start(&(line + TIMES));
    let _client = tcp(port);
    let (_behind, _) = target.accept().unwrap();
    // 20 minutes are 19 and some seconds by then.
    for side in [format!("sport = :{port}"), format!("dport = :{to}")] {
        wait_until("the time of one side", || {
            let words = ["-tnoH", "state", "established", &side];
            let output = Command::new("ss").args(words).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.contains("timer:(keepalive,19min") || text.contains("timer:(keepalive,20min")
        });
    }
}
