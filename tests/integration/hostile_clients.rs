//! What a hostile client does before a program runs, or instead of having one: it costs nobody
//! else anything.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::common::clients::{reset, tcp_from};
use crate::common::control::{controlled, status_of_port};
use crate::common::needs::{may_open, need_root};
use crate::common::terminal::terminal;
use crate::common::tls::{behind_tls, python, site};
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, need_program, own_line, procs, read_all,
    read_line, shell, tcp, tcp_line, wait_for, wait_until,
};
use crate::proxy_headers::{WHO, line};

#[test]
fn who_is_only_connected_has_no_terminal() {
    let Some(folder) = site(&["python3"]) else { return };
    if !need_root() {
        return;
    }
    let port = free_port();
    let more = "    pty = yes\n    tls_timeout = 1h\n    instances = 1\n";
    let text = behind_tls(&folder, port, &shell("echo ready; read -r line"), more);
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let silent: Vec<TcpStream> = (0..40).map(|_| tcp(port)).collect();
    wait_until("the server to have them all", || procs::descriptors(daemon.pid()) > 40);
    let worker = wait_for("a worker", || procs::front_workers(daemon.pid()).first().copied());
    wait_until("the worker to have them all", || procs::descriptors(worker) > 80);
    assert_eq!(procs::terminals(worker) + procs::terminals(daemon.pid()), 0);
    // Nor who is past his handshake, and waits for a place.
    let script = r"
plain = [socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50) for _ in range(8)]
seats = [context().wrap_socket(it) for it in plain]
assert seats[0].recv(100).startswith(b'ready')
links = [os.readlink(f'/proc/{sys.argv[2]}/fd/{n}') for n in os.listdir(f'/proc/{sys.argv[2]}/fd')]
print(sum(it.endswith('ptmx') for it in links))
";
    let said = python(&daemon.folder, script, &[&port.to_string(), &worker.to_string()]);
    assert_eq!(said.trim(), "1");
    drop(silent);
}

#[test]
fn where_terminals_are_scarce_clients_leave_some_to_others() {
    if !(need_root() && need_program("unshare")) {
        return;
    }
    let ports = free_ports(2);
    let folder = Folder::new();
    let few = folder.write("max", "4\n");
    let hidden = format!("mount --bind {} /proc/sys/kernel/pty/max", few.display());
    let script = format!("{hidden} || exit 1; exec \"$@\"");
    let text = own_line(ports[0], &shell("echo began"))
        + "    pty = yes\n"
        + &own_line(ports[1], &shell("echo other"));
    let daemon =
        Setup::new().under(&["unshare", "-m", "sh", "-c", &script, "sh"]).start_in(folder, &text);
    // Somebody has three of the four: no more than a quarter is left.
    let own = [terminal(), terminal(), terminal()];
    for _ in 0..20 {
        assert_eq!(read_all(tcp(ports[0])), "");
    }
    assert_eq!(read_all(tcp(ports[1])), "other\n");
    let refused = daemon.wait_log(|line| line.about("refused", ports[0]));
    assert_eq!(
        (refused.get("reason"), refused.get("alert")),
        (Some("terminal"), Some("no_terminal"))
    );
    daemon.said_times(1, "trouble");
    assert!(daemon.said("accepted").iter().all(|line| line.about("accepted", ports[1])));
    drop(own);
}

#[test]
fn clients_who_go_at_once_are_no_errors() {
    let ports = free_ports(3);
    let began = shell("echo began; read -r line");
    let text = own_line(ports[0], &began)
        + "    pty = yes\n"
        + &own_line(ports[1], &began)
        + "    telnet = yes\n"
        + &tcp_line(ports[2], &shell(WHO))
        + "    proxy_protocol = require\n    proxy_from = 127.0.0.1\n    pty = yes\n";
    let daemon = controlled(&text);
    for _ in 0..100 {
        reset(tcp(ports[0]));
        reset(tcp(ports[1]));
        let mut proxied = tcp(ports[2]);
        proxied.write_all(&line("192.0.2.1", 1)).unwrap();
        reset(proxied);
    }
    for port in &ports[..2] {
        let mut seen = String::new();
        let mut seat = tcp(*port);
        while !seen.contains("began\r\n") {
            let mut bytes = [0; 64];
            let count = seat.read(&mut bytes).unwrap();
            assert!(count > 0, "{seen:?}");
            seen.extend(bytes[..count].iter().map(|byte| char::from(*byte)));
        }
    }
    wait_until("them all to be gone", || {
        ports.iter().all(|port| {
            let status = status_of_port(&daemon, *port);
            let all = |word: &str| status[word].as_u64().unwrap_or_default();
            let refused = status["refused"]["terminal"].as_u64().unwrap_or_default();
            all("running") == 0 && all("accepted") + refused >= 100
        })
    });
    for port in ports {
        let status = status_of_port(&daemon, port);
        assert_eq!(status["failed"], 0, "{status}");
    }
    let errors = daemon.log.all_after(0, |line| ["WARN", "ERROR"].contains(&line.level()));
    assert!(errors.is_empty(), "{errors:?}");
}

/// The first processor that this process may use, so that the bound is one that is known.
fn one_processor() -> Option<String> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let first = (0..CpuSet::count()).find(|number| set.is_set(*number).unwrap_or(false));
    need_program("taskset").then_some(first?.to_string())
}

#[test]
fn a_crowd_from_one_address_gives_up_its_own_handshakes() {
    let Some(folder) = site(&["python3"]) else { return };
    let Some(processor) = one_processor() else { return };
    let ports = free_ports(2);
    let more = "    tls_timeout = 1h\n";
    let text = behind_tls(&folder, ports[0], "/bin/cat cat", more)
        + &behind_tls(&folder, ports[1], "/bin/cat cat", more);
    let under = ["taskset", "-c", &processor];
    let daemon = Setup::new().controlled().under(&under).start_in(folder, &text);
    let script = r"
crowd, own = int(sys.argv[1]), int(sys.argv[2])
plain = socket.create_connection(('127.0.0.1', own), timeout=50, source_address=('127.0.0.2', 0))
coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
it = context().wrap_bio(coming, going)
def step():
    try: it.do_handshake()
    except ssl.SSLWantReadError: return False
    finally: plain.sendall(going.read())
    return True
step()
silent = [socket.create_connection(('127.0.0.1', crowd), timeout=50) for _ in range(400)]
# The first of them has been given up.
assert silent[0].recv(1) == b''
while not step():
    said = plain.recv(65536)
    assert said, 'given up'
    coming.write(said)
it.write(b'x'); plain.sendall(going.read())
said = b''
while not said:
    coming.write(plain.recv(65536))
    try: said = it.read(1)
    except ssl.SSLWantReadError: pass
print(said.decode())
";
    let said = python(&daemon.folder, script, &[&ports[0].to_string(), &ports[1].to_string()]);
    assert_eq!(said.trim(), "x");
    let refused = daemon.wait_log(|line| line.about("refused", ports[0]));
    assert_eq!(refused.get("alert"), Some("crowded"));
    assert!(status_of_port(&daemon, ports[1])["refused"]["tls"].as_u64().unwrap_or_default() == 0);
}

const BEHIND_TWO: &str =
    "    proxy_protocol = require\n    proxy_from = 127.0.0.0/8\n    proxy_timeout = 1h\n";

#[test]
fn a_sender_that_says_nothing_silences_no_other() {
    if !may_open(4096) {
        return;
    }
    let ports = free_ports(2);
    let text = ports.iter().map(|port| tcp_line(*port, &shell(WHO)) + BEHIND_TWO);
    let daemon = controlled(&text.collect::<String>());
    let mut other = tcp_from(Ipv4Addr::new(127, 0, 0, 2), ports[1]);
    let header = line("192.0.2.1", 1);
    other.write_all(&header[..9]).unwrap();
    let silent: Vec<TcpStream> = (0..1400).map(|_| tcp(ports[0])).collect();
    wait_until("some to be refused", || {
        status_of_port(&daemon, ports[0])["refused"]["proxy"].as_u64().unwrap_or_default() > 300
    });
    other.write_all(&header[9..]).unwrap();
    assert!(read_line(&other).contains("192.0.2.1"));
    drop(silent);
}

#[test]
fn who_waits_for_places_in_numbers_is_in_nobody_elses_way() {
    if !may_open(4096) {
        return;
    }
    let ports = free_ports(3);
    let one = |port: &u16| tcp_line(*port, &shell(WHO)) + BEHIND_TWO + "    instances = 1\n";
    let text: String = ports.iter().map(one).collect();
    let daemon = controlled(&text);
    let mut crowd = Vec::new();
    // One of them has the place, and all others wait for it. Who is somebody else waits, too.
    for port in &ports[..2] {
        let mut own: Vec<TcpStream> = (0..600).map(|_| tcp(*port)).collect();
        let mut other = tcp_from(Ipv4Addr::new(127, 0, 0, 2), *port);
        // Once the place is taken, nobody else is let in.
        let all = crowd.len() + 1;
        wait_until("all to be let in", || procs::descriptors(daemon.pid()) > all * 601);
        own[0].write_all(&line("192.0.2.1", 1)).unwrap();
        assert!(read_line(&own[0]).contains("192.0.2.1"));
        other.write_all(&line("192.0.2.9", 1)).unwrap();
        for client in &mut own[1..] {
            client.write_all(&line("192.0.2.1", 1)).unwrap();
        }
        crowd.push((own, other));
    }
    wait_until("some to be refused", || {
        let refused = |port: &u16| {
            let all = status_of_port(&daemon, *port)["refused"].clone();
            all["instances"].as_u64().unwrap_or_default()
        };
        ports.iter().map(refused).sum::<u64>() > 100
    });
    let mut third = tcp(ports[2]);
    third.write_all(&line("192.0.2.3", 1)).unwrap();
    assert!(read_line(&third).contains("192.0.2.3"));
    for (own, other) in crowd {
        drop(own);
        assert!(read_line(&other).contains("192.0.2.9"), "he has waited longest");
    }
}

#[test]
fn who_waits_for_a_place_behind_tls_has_his_time() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let more = "    instances = 1\n    tls_timeout = 5s\n";
    let text = behind_tls(&folder, port, "/bin/cat cat", more);
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50)
first = connect(sys.argv[1])
first.sendall(b'x'); assert first.recv(1) == b'x'
second = context().wrap_socket(plain)
try: print(second.recv(1) == b'')
except (ConnectionError, ssl.SSLError): print(True)
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "True");
    daemon.wait_log(|line| line.is("refused") && line.get("reason") == Some("instances"));
}

#[test]
fn who_stops_a_terminal_fills_it_and_goes_leaves_it_to_others() {
    let port = free_port();
    let text = own_line(port, &shell("echo ready; while :; do echo shown; done"));
    let daemon = Daemon::start(&(text + "    pty = yes\n    instances = 1\n"));
    let mut seat = tcp(port);
    assert_eq!(read_line(&seat), "ready\r\n");
    seat.write_all(b"\x13").unwrap();
    // What is shown is taken until nothing more is.
    seat.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while seat.read(&mut [0; 65536]).is_ok_and(|count| count > 0) {}
    seat.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // Lines, since of one that is too long the terminal itself throws the rest away.
    let lines = b"xxxxxxx\n".repeat(8192);
    assert!((0..1000).any(|_| seat.write_all(&lines).is_err()), "it is never full");
    drop(seat);
    daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(read_line(tcp(port)), "ready\r\n");
}

#[test]
fn who_is_reset_behind_tls_leaves_no_program_that_writes() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, &shell("exec yes"), "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
import struct
it = connect(sys.argv[1])
assert it.recv(1) == b'y'
it.setblocking(False)
deadline = time.monotonic() + 2
while time.monotonic() < deadline:
    try: it.send(b'x' * 16384)
    except ssl.SSLWantWriteError: time.sleep(0.05)
it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
it.close()
print('gone')
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "gone");
    daemon.wait_log(|line| line.about("ended", port));
}

#[test]
fn a_hello_without_end_is_answered_with_an_alert() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
def record(piece): return b'\x16\x03\x01' + len(piece).to_bytes(2, 'big') + piece
for length, size in ((70000, 16384), (60000, 16384), (60000, 1)):
    hello = b'\x01' + length.to_bytes(3, 'big') + b'\x03\x03' + b'x' * (length - 2)
    plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50)
    said = b''
    try:
        plain.sendall(b''.join(record(hello[at:at + size]) for at in range(0, len(hello), size)))
    except ConnectionError: pass
    try: said = plain.recv(100)
    except ConnectionError: pass
    print(length, size, said.hex())
";
    let said = python(&daemon.folder, script, &[&port.to_string()]);
    for line in said.lines() {
        assert!(line.ends_with(" 15030300020232"), "{said}");
    }
    let refused = daemon.wait_count(1, |line| line.about("refused", port));
    assert!(refused.iter().all(|line| line.get("alert") == Some("decode_error")), "{refused:?}");
}
