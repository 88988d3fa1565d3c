//! A program per peer (`dgram nowait`) on every address: each answers from the one that its
//! peer has asked, as the client expects.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use nix::sys::signal::Signal;

use crate::common::clients::{udp_ask, udp_read, udp_to};
use crate::common::control::upgrade;
use crate::common::needs::need_link_local;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, me, need_ipv6, need_program, need_root,
    procs, shell, wait_until,
};

const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn line(port: u16, program: &str) -> String {
    format!("{port} dgram udp nowait {} {program}\n", me())
}

/// Takes answers from `ip` alone.
fn asking(ip: Ipv4Addr, port: u16) -> UdpSocket {
    udp_to((ip, port).into())
}

/// Takes answers from everybody.
fn open_client() -> UdpSocket {
    let client = UdpSocket::bind((FIRST, 0)).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

fn read_from(client: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 512];
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
}

fn stopped(daemon: &Daemon) {
    daemon.signal(Signal::SIGSTOP);
    wait_until("it is stopped", || procs::state(daemon.pid()) == Some('T'));
}

#[test]
fn clients_of_two_addresses_are_served_over_a_reload_and_an_upgrade() {
    let port = free_port();
    let text = line(port, "/bin/cat cat");
    let daemon = Setup::new().controlled().start(&text);
    let clients = [asking(FIRST, port), asking(SECOND, port), asking(SECOND, port)];
    let talk = |round: &str| {
        for (number, client) in clients.iter().enumerate() {
            for datagram in 0..5 {
                let said = format!("{round} {number} {datagram}");
                assert_eq!(udp_ask(client, &said), said);
            }
        }
    };
    talk("new");
    let _ = daemon.reload(&text);
    talk("reloaded");
    assert_eq!(udp_ask(&asking(SECOND, port), "reloaded"), "reloaded");
    upgrade(&daemon);
    talk("upgraded");
    assert_eq!(udp_ask(&asking(SECOND, port), "upgraded"), "upgraded");
    assert_eq!(udp_ask(&asking(FIRST, port), "upgraded"), "upgraded");
    assert_eq!(daemon.accepted(port, 6).len(), 6, "each has one program all the time");
}

#[test]
fn the_program_hears_which_address_was_asked() {
    let port = free_port();
    let script = shell("head -c 1 >/dev/null; echo $UDPLOCALIP $UDPLOCALPORT $UDPREMOTEIP");
    let _daemon = Daemon::start(&line(port, &script));
    for ip in [FIRST, SECOND] {
        let said = udp_ask(&asking(ip, port), "?");
        assert_eq!(said, format!("{ip} {port} 127.0.0.1\n"));
    }
}

#[test]
fn a_client_that_asks_two_addresses_from_one_port_has_a_program_at_each() {
    let port = free_port();
    let daemon = Daemon::start(&line(port, "/bin/cat cat"));
    let client = open_client();
    for round in 0..5 {
        for ip in [FIRST, SECOND] {
            let said = format!("{ip} {round}");
            client.send_to(said.as_bytes(), (ip, port)).unwrap();
            assert_eq!(read_from(&client), (said, (ip, port).into()));
        }
    }
    assert_eq!(daemon.accepted(port, 2).len(), 2);
}

/// What the server finds when it is busy: everything in one queue.
#[test]
fn those_who_wait_in_one_queue_are_told_apart_by_what_they_asked() {
    let port = free_port();
    let daemon = Setup::new().env("RUST_LOG", "debug").start(&line(port, "/bin/cat cat"));
    let (both, second, first) = (open_client(), asking(SECOND, port), asking(FIRST, port));
    both.set_broadcast(true).unwrap();
    stopped(&daemon);
    for number in 0..3 {
        for ip in [FIRST, SECOND, Ipv4Addr::new(127, 255, 255, 255)] {
            both.send_to(format!("{ip} {number}").as_bytes(), (ip, port)).unwrap();
        }
        second.send(format!("second {number}").as_bytes()).unwrap();
        first.send(format!("first {number}").as_bytes()).unwrap();
    }
    daemon.signal(Signal::SIGCONT);
    let expected =
        |number: u32| [FIRST, SECOND].map(|ip| (format!("{ip} {number}"), (ip, port).into()));
    let seen: HashSet<_> = (0..6).map(|_| read_from(&both)).collect();
    assert_eq!(seen, (0..3).flat_map(expected).collect());
    for number in 0..3 {
        assert_eq!(udp_read(&second), format!("second {number}"));
        assert_eq!(udp_read(&first), format!("first {number}"));
    }
    assert_eq!(udp_ask(&second, "again"), "again");
    assert_eq!(daemon.accepted(port, 4).len(), 4);
    let line = daemon.wait_log(|line| line.is("unanswered"));
    assert_eq!(line.get("reason"), Some("ForMany"), "{}", line.raw);
}

#[test]
fn what_is_sent_to_many_starts_no_program() {
    let port = free_port();
    let daemon = Setup::new().env("RUST_LOG", "debug").start(&line(port, "/bin/cat cat"));
    let client = open_client();
    client.set_broadcast(true).unwrap();
    for _ in 0..2 {
        let mark = daemon.log.mark();
        client.send_to(b"everybody", ("127.255.255.255", port)).unwrap();
        let line = daemon.wait_after(mark, |line| line.is("unanswered"));
        assert_eq!(line.get("reason"), Some("ForMany"), "{}", line.raw);
        client.send_to(b"you", (SECOND, port)).unwrap();
        assert_eq!(read_from(&client), ("you".to_owned(), (SECOND, port).into()));
    }
    assert_eq!(daemon.accepted(port, 1).len(), 1);
}

/// A program in Python, written into the folder of a server.
fn python(folder: &Folder, script: &str) -> String {
    format!("python3 python3 {}", folder.write("options.py", script).display())
}

/// Options that only the server needs would be in the way of a program with little room for
/// what comes with a datagram, or would send its multicasts elsewhere.
#[test]
fn the_program_has_a_socket_like_any_other() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let folder = Folder::new();
    let script = "import socket\n\
        s = socket.socket(fileno=0)\n\
        v, level = (4, 0) if s.family == socket.AF_INET else (6, 41)\n\
        peer = s.recvfrom(9)[1]\n\
        told = s.getsockopt(level, 8 if v == 4 else 49)\n\
        sends = s.getsockopt(0, 32, 4).hex() if v == 4 else s.getsockopt(41, 17)\n\
        s.send(b'%d %d %s %d' % (v, told, str(sends).encode(), peer == s.getpeername()))\n";
    let program = python(&folder, script);
    let daemon = Setup::new().controlled().start_in(folder, &line(port, &program));
    let ask = || {
        for ip in [FIRST, SECOND] {
            assert_eq!(udp_ask(&asking(ip, port), "?"), "4 0 00000000 1");
        }
        if need_ipv6() {
            let client = udp_to(SocketAddr::new("::1".parse().unwrap(), port));
            assert_eq!(udp_ask(&client, "?"), "6 0 0 1");
        }
    };
    ask();
    upgrade(&daemon);
    ask();
}

/// Nor has one that is given the socket for itself, whatever the server has done with it.
#[test]
fn a_program_that_takes_over_the_socket_is_told_nothing_either() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let folder = Folder::new();
    let script = "import socket\n\
        s = socket.socket(fileno=0)\n\
        _, peer = s.recvfrom(9)\n\
        s.sendto(b'%d' % s.getsockopt(0, 8), peer)\n";
    let program = python(&folder, script);
    let daemon = Setup::new().controlled().start_in(folder, &line(port, "/bin/cat cat"));
    assert_eq!(udp_ask(&asking(SECOND, port), "one"), "one");
    upgrade(&daemon);
    let _ = daemon.reload(&format!("{port} dgram udp wait {} {program}\n", me()));
    assert_eq!(udp_ask(&asking(FIRST, port), "?"), "0");
}

#[test]
fn addresses_of_ipv6_are_told_apart_by_their_interface_too() {
    let Some((_, address)) = need_link_local() else { return };
    let port = free_port();
    let script = shell("head -c 4 >/dev/null; echo $UDPLOCALIP; exec cat");
    let daemon = Daemon::start(&line(port, &script));
    let own: [SocketAddr; 2] = ["[::1]:0".parse().unwrap(), address.into()];
    let client = |own: SocketAddr| {
        let (client, mut asked) = (UdpSocket::bind(own).unwrap(), own);
        asked.set_port(port);
        client.connect(asked).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    };
    let clients = own.map(client);
    let scoped = format!("{}%{}\n", address.ip(), address.scope_id());
    stopped(&daemon);
    clients.iter().for_each(|client| assert_eq!(client.send(b"what").unwrap(), 4));
    daemon.signal(Signal::SIGCONT);
    assert_eq!(clients.each_ref().map(udp_read), ["::1\n".to_owned(), scoped.clone()]);
    clients.iter().for_each(|client| assert_eq!(udp_ask(client, "again"), "again"));
    // Alone in the queue.
    let alone = client(address.into());
    assert_eq!(udp_ask(&alone, "what"), scoped);
    assert_eq!(udp_ask(&alone, "again"), "again");
}

/// As `ip addr add 192.0.2.1/24` gives it: the system tells the address itself where another has
/// that of its network's broadcasts. A second one is not the one from which the system answers.
#[test]
fn addresses_that_were_given_without_a_broadcast_address_are_answered() {
    if !need_root() || !["unshare", "nsenter", "ip", "python3"].into_iter().all(need_program) {
        return;
    }
    let ports = free_ports(2);
    let text = line(ports[0], "/bin/cat cat") + &line(ports[1], "internal echo");
    let script = "ip link set lo up && ip link add v0 type veth peer name v1 && \
        ip link set v0 up && ip addr add 192.0.2.1/24 dev v0 && \
        ip addr add 192.0.2.2/24 dev v0 && shift && exec \"$@\"";
    let daemon = Setup::new().under(&["unshare", "--net", "sh", "-c", script, "sh", "sh"]);
    let daemon = daemon.start(&text);
    let script = "import socket, sys\n\
        for port in sys.argv[1:]:\n\
        \x20for ip in '192.0.2.1', '192.0.2.2':\n\
        \x20 client = socket.socket(type=socket.SOCK_DGRAM)\n\
        \x20 client.settimeout(20)\n\
        \x20 client.bind(('192.0.2.1', 0))\n\
        \x20 client.connect((ip, int(port)))\n\
        \x20 client.send(ip.encode())\n\
        \x20 print(client.recv(99).decode())\n";
    let output = std::process::Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", daemon.pid()))
        .args(["python3", "-c", script])
        .args(ports.iter().map(ToString::to_string))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "192.0.2.1\n192.0.2.2\n".repeat(2), "{output:?}");
}
