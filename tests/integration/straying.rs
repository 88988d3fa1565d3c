//! `dgram nowait` programs that make their socket one for others: those are served all the
//! same, and the program gets nothing of theirs.

use std::net::UdpSocket;
use std::time::Duration;

use crate::common::clients::{ask_until_answered, udp_ask, udp_to};
use crate::common::control::upgrade;
use crate::common::{
    Daemon, Folder, Line, Setup, free_port, me, need_ipv6, need_program, procs, udp, wait_until,
};

/// Answers its peer; told so, it does that to its socket, and says what it then gets.
fn thief(how: &str) -> String {
    format!(
        "import ctypes, os, signal, socket, sys, time\n\
         s = socket.socket(fileno=os.dup(0))\n\
         def dissolve(): ctypes.CDLL(None).connect(0, bytes(28), 28)\n\
         signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         while True:\n\
         \x20   data = s.recv(100)\n\
         \x20   words = data.split()\n\
         \x20   if words[:1] == [b'steal']: break\n\
         \x20   s.send(data.upper())\n\
         {how}\n\
         print('steals', file=sys.stderr, flush=True)\n\
         while True: print('stolen', s.recv(100), file=sys.stderr, flush=True)\n"
    )
}

const DISSOLVE: &str = "dissolve()";
/// The port of another is what it was told.
const ANOTHER: &str = "s.connect(('127.0.0.1', int(words[1])))";
/// What was left behind is in no group of the program's, and tries again after its end.
const LEAVES_SOMETHING: &str = "\
if os.fork() == 0:
\x20   os.setsid(); dissolve()
\x20   while os.getppid() != 1 and s.getsockname() and os.path.exists('/proc/%d' % leader): time.sleep(0.01)
\x20   dissolve(); time.sleep(20); os._exit(0)";

/// A service at this endpoint.
fn start(endpoint: &str, how: &str) -> Daemon {
    let folder = Folder::new();
    let how = how.replace("leader", "LEADER");
    let script = thief(&how).replacen("def dissolve", "LEADER = os.getpid()\ndef dissolve", 1);
    let script = folder.write("thief.py", &script);
    let script = script.display();
    let line = format!("{endpoint} dgram udp nowait {} python3 python3 {script}\n", me());
    Setup::new().env("RUST_LOG", "debug").controlled().start_in(folder, &line)
}

/// As clients of datagrams do: what is lost is sent again.
fn ask(client: &UdpSocket, text: &str) {
    ask_until_answered(client, text, Duration::from_secs(1));
}

fn steals(line: &Line) -> bool {
    line.is("stderr") && line.get("line") == Some("steals")
}

/// Others are served, all of them, and the program has nothing of it and is no more.
fn is_harmless(daemon: &Daemon, clients: &[UdpSocket], pid: u32) {
    for (number, client) in clients.iter().enumerate() {
        ask(client, &format!("secret {number}"));
    }
    // It may have let go only after those had come.
    let (own, server) = (clients[0].local_addr().unwrap(), clients[0].peer_addr().unwrap());
    wait_until("it to be found", || {
        let another = UdpSocket::bind((own.ip(), 0)).unwrap();
        another.connect(server).unwrap();
        ask(&another, "secret, too");
        !daemon.said("strayed").is_empty()
    });
    let said = daemon.wait_log(|line| line.is("strayed"));
    assert_eq!(said.number("pid"), Some(pid), "{}", said.raw);
    wait_until("the thief to end", || !procs::is_alive(pid));
    if daemon.said("filter").is_empty() {
        has_nothing(daemon);
    }
}

fn has_nothing(daemon: &Daemon) {
    let stolen = daemon.said("stderr");
    let stolen = stolen.iter().filter(|line| line.raw.contains("secret"));
    assert_eq!(stolen.count(), 0, "{}", daemon.log.text());
}

#[test]
fn a_program_that_lets_go_of_its_peer_gets_nothing_of_others() {
    if !need_program("python3") {
        return;
    }
    for how in [DISSOLVE, LEAVES_SOMETHING] {
        let port = free_port();
        let daemon = start(&port.to_string(), how);
        let attacker = udp(port);
        assert_eq!(udp_ask(&attacker, "hello"), "HELLO");
        let pid = daemon.accepted(port, 1)[0];
        attacker.send(b"steal").unwrap();
        let _ = daemon.wait_log(steals);
        let clients: Vec<_> = (0..5).map(|_| udp(port)).collect();
        is_harmless(&daemon, &clients, pid);
        // Who comes later is served at once, the attacker, too.
        let later = udp(port);
        ask(&later, "later");
        ask(&later, "again");
        ask(&attacker, "a new program");
        daemon.said_times(1, "strayed");
    }
}

#[test]
fn a_program_that_takes_the_peer_of_another_is_ended() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let daemon = start(&port.to_string(), ANOTHER);
    let (attacker, victim) = (udp(port), udp(port));
    assert_eq!(udp_ask(&attacker, "hello"), "HELLO");
    let pid = daemon.accepted(port, 1)[0];
    let order = format!("steal {}", victim.local_addr().unwrap().port());
    attacker.send(order.as_bytes()).unwrap();
    let _ = daemon.wait_log(steals);
    is_harmless(&daemon, &[victim], pid);
}

#[test]
fn the_same_over_ipv6_and_after_an_upgrade() {
    if !need_ipv6() || !need_program("python3") {
        return;
    }
    let port = free_port();
    let daemon = start(&format!("[::]:{port}"), DISSOLVE);
    let client = || udp_to((std::net::Ipv6Addr::LOCALHOST, port).into());
    let attacker = client();
    assert_eq!(udp_ask(&attacker, "hello"), "HELLO");
    let pid = daemon.accepted(port, 1)[0];
    upgrade(&daemon);
    assert_eq!(udp_ask(&attacker, "goes on"), "GOES ON");
    attacker.send(b"steal").unwrap();
    let _ = daemon.wait_log(steals);
    is_harmless(&daemon, &[client(), client(), client()], pid);
}

/// Lets go of its peer and takes it back, again and again, and takes what has come meanwhile.
const TOGGLES: &str = "\
here = s.getpeername()
print('steals', file=sys.stderr, flush=True)
s.setblocking(False)
while True:
    dissolve()
    for n in range(3):
        try: print('got', s.recv(100), file=sys.stderr, flush=True)
        except OSError: pass
    s.connect(here)";

/// Whether it is noticed or not, it reads nothing of theirs.
#[test]
fn a_program_that_takes_its_peer_back_has_read_nothing_of_others() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let daemon = start(&port.to_string(), TOGGLES);
    let attacker = udp(port);
    assert_eq!(udp_ask(&attacker, "hello"), "HELLO");
    attacker.send(b"steal").unwrap();
    let _ = daemon.wait_log(steals);
    for number in 0..5 {
        ask(&udp(port), &format!("secret {number}"));
    }
    if daemon.said("filter").is_empty() {
        has_nothing(&daemon);
    }
}

/// An empty datagram has nothing that could be cut off: it announces the thief as others do.
#[test]
fn an_empty_datagram_of_somebody_else_tells_of_it_as_well() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let daemon = start(&port.to_string(), DISSOLVE);
    let attacker = udp(port);
    assert_eq!(udp_ask(&attacker, "hello"), "HELLO");
    let pid = daemon.accepted(port, 1)[0];
    attacker.send(b"steal").unwrap();
    let _ = daemon.wait_log(steals);
    let other = udp(port);
    wait_until("it to be noticed", || {
        let _ = other.send(b"");
        !daemon.said("strayed").is_empty()
    });
    wait_until("the thief to end", || !procs::is_alive(pid));
    ask(&other, "served");
}
