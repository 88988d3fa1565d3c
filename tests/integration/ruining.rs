//! `wait` programs that leave their socket in a state of no use: whatever it is, the next
//! client is served, and no program is started for nobody.

use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::clients::{Packets, try_tcp};
use crate::common::control::upgrade;
use crate::common::needs::kernel_lacks;
use crate::common::strace::Strace;
use crate::common::{
    DEADLINE, Daemon, Folder, Line, Setup, free_port, free_ports, me, need_ipv6, need_program,
    read_all, tcp, udp, wait_for,
};

/// What a program does with `s`, its socket, and `peer`, the one whom it has served last.
/// ENOTCONN is what shutdown(2) says of datagrams, and yet does it.
pub(crate) const SHUT: &str = "shut(2)";
const SHUT_READING: &str = "shut(0)";
const SHUT_WRITING: &str = "shut(1)";
pub(crate) const CONNECT: &str = "s.connect(peer)";
const UNREAD_ERRORS: &str = "\
s.setsockopt(*((41, 25) if s.family == socket.AF_INET6 else (0, 11)), 1)
for port in (1, 2, 3): s.sendto(b'x', (peer[0], port))";
pub(crate) const FILTER: &str = "drop_all()";
pub(crate) const LOCKED_FILTER: &str = "drop_all(); s.setsockopt(socket.SOL_SOCKET, 44, 1)";
const DISSOLVE: &str = "ctypes.CDLL(None).connect(0, bytes(16), 16)";
const SOMEBODYS_CONNECTION: &str = "shut(2)
t = socket.socket(); t.bind(('127.0.0.1', 0)); t.listen(); s.connect(t.getsockname())";
const NO_BACKLOG: &str = "s.listen(0); s.setsockopt(socket.SOL_SOCKET, 8, 1)";

pub(crate) const HELPERS: &str = "\
import ctypes, fcntl, os, socket, struct, sys
s = socket.socket(fileno=os.dup(0))
def shut(how):
    try: s.shutdown(how)
    except OSError: pass
def drop_all():
    code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0))
    # An ordinary user may not everywhere.
    try: s.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HL', 1, ctypes.addressof(code)))
    except PermissionError: print('no filter', file=sys.stderr, flush=True)
def serve():
    global connection
    if s.type == socket.SOCK_DGRAM:
        data, peer = s.recvfrom(100)
        s.sendto(data.upper(), peer)
    else:
        connection, peer = s.accept()
        connection.sendall(b'SERVED')
        connection.close()
    return peer
";

/// Serves one client, and does that.
fn ruins(how: &str) -> String {
    format!("{HELPERS}peer = serve()\n{how}\n")
}

/// Its first run takes nothing, and does that.
fn ruins_at_first(how: &str, mark: &str) -> String {
    format!(
        "{HELPERS}peer = ('127.0.0.1', 9)\n\
         if not os.path.exists('{mark}'):\n\
         \x20   open('{mark}', 'w').close()\n\
         \x20   {how}\n\
         \x20   sys.exit(0)\n\
         serve()\n"
    )
}

/// Where a service is, and how one asks it.
pub(crate) enum Place {
    Tcp(u16),
    Udp(UdpSocket, u16),
    Stream(String),
    Datagrams(UnixDatagram, String),
    Packets(String),
}

impl Place {
    pub(crate) fn tcp() -> Self {
        Self::Tcp(free_port())
    }

    pub(crate) fn udp() -> Self {
        let port = free_port();
        Self::Udp(udp(port), port)
    }

    pub(crate) fn stream(folder: &Folder) -> Self {
        Self::Stream(folder.name("s"))
    }

    pub(crate) fn datagrams(folder: &Folder) -> Self {
        let client = UnixDatagram::bind(folder.at("client")).unwrap();
        Self::Datagrams(client, folder.name("s"))
    }

    fn packets(folder: &Folder) -> Self {
        Self::Packets(folder.name("s"))
    }

    pub(crate) fn line(&self, script: &Path) -> String {
        let (at, kind) = match self {
            Self::Tcp(port) => (format!("127.0.0.1:{port}"), "stream tcp"),
            Self::Udp(_, port) => (format!("127.0.0.1:{port}"), "dgram udp"),
            Self::Stream(path) => (path.clone(), "stream unix"),
            Self::Datagrams(_, path) => (path.clone(), "dgram unix"),
            Self::Packets(path) => (path.clone(), "seqpacket unix"),
        };
        format!("{at} {kind} wait {} python3 python3 {}\n", me(), script.display())
    }

    /// One attempt, which what an earlier program has done may have lost.
    pub(crate) fn try_to_ask(&self) -> Option<()> {
        // A datagram may be lost without a word, and so may whoever has connected when a filter
        // swallows the last of his handshake.
        let (patience, answer) = (Some(Duration::from_secs(2)), &mut [0; 16]);
        match self {
            Self::Tcp(port) => {
                let stream = try_tcp(([127, 0, 0, 1], *port).into()).ok()?;
                stream.set_read_timeout(patience).unwrap();
                all_of(stream)
            }
            Self::Udp(client, _) => {
                client.set_read_timeout(patience).unwrap();
                client.send(b"served").ok()?;
                (client.recv(answer).ok()? == 6).then_some(())
            }
            Self::Stream(path) => {
                let stream = UnixStream::connect(path).ok()?;
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                all_of(stream)
            }
            Self::Datagrams(client, path) => {
                client.set_read_timeout(patience).unwrap();
                client.send_to(b"served", path).ok()?;
                (client.recv(answer).ok()? == 6).then_some(())
            }
            Self::Packets(path) => {
                let client = Packets::connect(Path::new(path)).ok()?;
                client.read().filter(|answer| answer == "SERVED").map(|_| ())
            }
        }
    }

    pub(crate) fn ask(&self) {
        wait_for("somebody to be served", || self.try_to_ask());
    }
}

fn all_of(mut stream: impl std::io::Read) -> Option<()> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (answer == "SERVED").then_some(())
}

/// With a service beside it, which shows that time passes.
pub(crate) fn start(place: &Place, folder: Folder, script: &str) -> (Daemon, u16) {
    let script = folder.write("ruin.py", script);
    let other = free_port();
    let beside = format!("127.0.0.1:{other} stream tcp nowait {} internal daytime\n", me());
    let setup = Setup::new().controlled();
    (setup.start_in(folder, &(place.line(&script) + &beside)), other)
}

/// No program is started any more, and hardly a line is logged, while others are served. Who asks
/// until he is answered may have asked twice: the last program need not be the one that answered.
pub(crate) fn is_calm(daemon: &Daemon, other: u16) {
    let mark = wait_for("a while without a program", || {
        let (before, mark) = (daemon.said("accepted").len(), daemon.log.mark());
        for _ in 0..50 {
            assert!(!read_all(tcp(other)).is_empty());
        }
        let is_idle = daemon.count_peers().1 == 0;
        (is_idle && daemon.said("accepted").len() == before + 50).then_some(mark)
    });
    let lines = daemon.log.all_after(mark, |_| true).len();
    assert!(lines < 200, "{lines} lines");
}

fn serves_on(place: &Place, folder: Folder, how: &str) -> Daemon {
    let (daemon, other) = start(place, folder, &ruins(how));
    for _ in 0..3 {
        place.ask();
    }
    is_calm(&daemon, other);
    place.ask();
    daemon
}

fn no_filter(daemon: &Daemon) -> bool {
    let said = daemon.said("stderr");
    said.iter().any(|line| line.raw.contains("no filter"))
        && !kernel_lacks("filters of ordinary users on such a socket")
}

#[test]
fn a_tcp_program_that_ruins_its_socket_keeps_nobody_from_it() {
    if !need_program("python3") {
        return;
    }
    for how in [SHUT, SHUT_READING, DISSOLVE, SOMEBODYS_CONNECTION, NO_BACKLOG, FILTER] {
        let place = Place::tcp();
        let mut daemon = serves_on(&place, Folder::new(), how);
        // It listens again, on the same one.
        assert_eq!(daemon.said("renewed").len(), 0, "{how}");
        daemon.stop();
    }
    let mut daemon = serves_on(&Place::tcp(), Folder::new(), LOCKED_FILTER);
    assert!(no_filter(&daemon) || !daemon.said("renewed").is_empty());
    daemon.stop();
}

#[test]
fn a_udp_program_that_ruins_its_socket_keeps_nobody_from_it() {
    if !need_program("python3") {
        return;
    }
    for how in [CONNECT, UNREAD_ERRORS, FILTER] {
        let place = Place::udp();
        let mut daemon = serves_on(&place, Folder::new(), how);
        let others = udp(place.port());
        wait_for("another client to be served", || {
            Place::Udp(others.try_clone().unwrap(), 0).try_to_ask()
        });
        assert_eq!(daemon.said("renewed").len(), 0, "{how}");
        daemon.stop();
    }
    for how in [SHUT, SHUT_READING, SHUT_WRITING, LOCKED_FILTER] {
        let place = Place::udp();
        let mut daemon = serves_on(&place, Folder::new(), how);
        if no_filter(&daemon) {
            continue;
        }
        let said = daemon.wait_log(|line| line.is("renewed"));
        assert_eq!(said.get("address"), Some(format!("127.0.0.1:{}", place.port()).as_str()));
        assert!(said.get("reason").is_some(), "{}", said.raw);
        daemon.stop();
    }
}

impl Place {
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Tcp(port) | Self::Udp(_, port) => *port,
            _ => 0,
        }
    }
}

#[test]
fn what_a_program_does_to_its_socket_is_undone_over_ipv6_too() {
    if !need_ipv6() || !need_program("python3") {
        return;
    }
    for how in [CONNECT, UNREAD_ERRORS, SHUT, ROUTE, UNCHECKED] {
        let (port, folder) = (free_port(), Folder::new());
        let script = folder.write("ruin.py", &ruins(how));
        let script = script.display();
        let line = format!("[::1]:{port} dgram udp6 wait {} python3 python3 {script}\n", me());
        let mut daemon = Setup::new().start_in(folder, &line);
        for _ in 0..3 {
            let client =
                crate::common::clients::udp_to((std::net::Ipv6Addr::LOCALHOST, port).into());
            wait_for("somebody to be served", || {
                Place::Udp(client.try_clone().unwrap(), port).try_to_ask()
            });
        }
        daemon.stop();
    }
}

#[test]
fn a_program_of_a_unix_socket_that_ruins_it_keeps_nobody_from_it() {
    if !need_program("python3") {
        return;
    }
    let places = [Place::stream, Place::packets];
    for (make, how) in places.iter().zip([SHUT, SHUT_READING]) {
        let folder = Folder::new();
        let mut daemon = serves_on(&make(&folder), folder, how);
        assert!(!daemon.said("renewed").is_empty());
        daemon.stop();
    }
    for how in [SHUT, SHUT_READING, SHUT_WRITING, CONNECT] {
        let folder = Folder::new();
        let mut daemon = serves_on(&Place::datagrams(&folder), folder, how);
        assert_eq!(daemon.said("renewed").is_empty(), how == CONNECT, "{how}");
        daemon.stop();
    }
}

#[test]
fn a_program_that_ruins_its_socket_and_takes_nothing_is_not_started_for_ever() {
    if !need_program("python3") {
        return;
    }
    for (what, how) in [("udp", SHUT), ("tcp", SHUT), ("stream", SHUT), ("udp", CONNECT)] {
        let folder = Folder::new();
        let place = match what {
            "udp" => Place::udp(),
            "tcp" => Place::tcp(),
            _ => Place::stream(&folder),
        };
        let mark = folder.name("mark");
        let (mut daemon, other) = start(&place, folder, &ruins_at_first(how, &mark));
        place.ask();
        is_calm(&daemon, other);
        daemon.stop();
    }
}

/// Leads what is sent over IPv6 elsewhere, and leaves out its checksum.
const ROUTE: &str = "\
head = bytes([0, 2, 4, 0, 0, 0, 0, 0])
try: s.setsockopt(41, 57, head + socket.inet_pton(socket.AF_INET6, 'fd77::99'))
except OSError: pass
";
const UNCHECKED: &str = "s.setsockopt(17, 101, 1)\n";

/// Prints what it finds, and then sets all of it.
const OPTIONS: &str = "\
values = [fcntl.fcntl(0, fcntl.F_GETFL)]
names = [(1, n, 16) for n in (2, 5, 6, 10, 12, 13, 15, 18, 20, 21, 29, 42, 47, 60, 83)]
if s.family != socket.AF_UNIX: names += [(1, 62, 4)] + [(0, n, 4) for n in (1, 2, 6, 7, 8, 10, 11, 12, 13, 20, 21, 34, 49)]
if s.type == socket.SOCK_STREAM and s.family != socket.AF_UNIX: names += [(6, n, 4) for n in (8, 25, 27)]
for level, name, length in names:
    try: values.append(s.getsockopt(level, name, length).hex())
    except OSError: values.append('-')
print('options', *values, file=sys.stderr, flush=True)
yes = struct.pack('i', 1)
for level, name, length in names:
    for value in (yes, struct.pack('ii', 1, 1), struct.pack('qq', 1, 1)):
        try: s.setsockopt(level, name, value)
        except OSError: pass
try: s.setsockopt(1, 25, b'lo')
except OSError: pass
fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
";

#[test]
fn what_a_program_has_set_the_next_one_does_not_find() {
    if !need_program("python3") {
        return;
    }
    let folder = Folder::new();
    let datagrams = Place::datagrams(&folder);
    for (place, folder) in
        [(Place::tcp(), Folder::new()), (Place::udp(), Folder::new()), (datagrams, folder)]
    {
        let (mut daemon, _) = start(&place, folder, &ruins(OPTIONS));
        let is_options = |line: &Line| {
            line.is("stderr") && line.get("line").is_some_and(|it| it.starts_with("options"))
        };
        place.ask();
        let _ = daemon.wait_log(is_options);
        // Who comes before its end gets what it has set.
        let _ = daemon.wait_log(|line| line.is("ended"));
        place.ask();
        let lines = daemon.wait_count(2, is_options);
        assert_eq!(lines[0].get("line"), lines[1].get("line"));
        daemon.stop();
    }
}

/// Serves, tells the test, and does that once the test has made a file.
fn ruins_when_told(how: &str, folder: &Folder) -> String {
    let go = folder.name("go");
    format!(
        "{HELPERS}import time\npeer = serve()\nprint('served', file=sys.stderr, flush=True)\n\
         while not os.path.exists('{go}'): time.sleep(0.01)\n{how}\n"
    )
}

#[test]
fn a_socket_that_is_ruined_after_an_upgrade_is_seen_to_as_well() {
    if !need_program("python3") {
        return;
    }
    let folders = [(); 3].map(|()| Folder::new());
    let places = [Place::tcp(), Place::udp(), Place::stream(&folders[2])];
    for (place, folder) in places.iter().zip(folders) {
        let script = ruins_when_told(SHUT, &folder);
        let (mut daemon, other) = start(place, folder, &script);
        place.ask();
        let _ = daemon.wait_log(|line| line.is("stderr"));
        upgrade(&daemon);
        let text = std::fs::read_to_string(daemon.folder.at("inetd.conf")).unwrap();
        let _ = daemon.reload(&text);
        let _ = daemon.folder.write("go", "");
        place.ask();
        is_calm(&daemon, other);
        upgrade(&daemon);
        place.ask();
        daemon.stop();
    }
}

#[test]
fn a_path_that_cannot_be_bound_again_is_told_and_tried_again() {
    if !need_program("python3") {
        return;
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.at("d")).unwrap();
    let place = Place::Stream(folder.name("d/s"));
    let script = ruins_when_told(SHUT, &folder);
    let (mut daemon, other) = start(&place, folder, &script);
    place.ask();
    let _ = daemon.wait_log(|line| line.is("stderr"));
    std::fs::rename(daemon.folder.at("d"), daemon.folder.at("elsewhere")).unwrap();
    let _ = daemon.folder.write("go", "");
    let said = daemon.wait_log(|line| line.is("not-listening"));
    assert!(said.get("error").unwrap().contains("directory is missing"), "{}", said.raw);
    is_calm(&daemon, other);
    std::fs::create_dir(daemon.folder.at("d")).unwrap();
    place.ask();
    daemon.stop();
}

#[test]
fn a_reload_ends_the_rest_of_a_program_that_fails() {
    let (ports, folder) = (free_ports(2), Folder::new());
    let script = folder.script("fails", "exit 1\n");
    let line = |port: u16, more: &str| {
        format!("127.0.0.1:{port} dgram udp wait {} {script} fails{more}\n", me())
    };
    let text = line(ports[0], "") + &line(ports[1], "");
    let daemon = Setup::new().start_in(folder, &text);
    let clients = [udp(ports[0]), udp(ports[1])];
    clients.iter().for_each(|client| _ = client.send(b"unread").unwrap());
    for port in &ports {
        let long = |line: &Line| line.about("backoff", *port) && line.get("delay") == Some("8s");
        let _ = daemon.wait_log(long);
    }
    let rests = Instant::now();
    // The program of both is mended, and the line of one.
    let _ = daemon.folder.script("fails", "exec dd bs=64 count=1 of=/dev/null status=none\n");
    let mark = daemon.log.mark();
    let _ = daemon.reload(&(line(ports[0], " changed") + &line(ports[1], "")));
    // On a machine where that takes for ever nothing is to be seen.
    let in_time = rests.elapsed() < Duration::from_secs(3);
    for port in ports {
        let ended = daemon.wait_after(mark, |line| line.about("ended", port));
        assert_eq!(ended.get("status"), Some("0"), "{}", ended.raw);
        let again = daemon.log.all_after(mark, |line| line.about("backoff", port));
        assert_eq!(again.len(), 0, "{}", daemon.log.text());
    }
    let took = rests.elapsed();
    assert!(!in_time || took < Duration::from_secs(7), "it has rested on: {took:?}");
}

/// As if the system had refused to take a socket out of the poll.
#[test]
fn a_socket_that_stays_in_the_poll_against_our_will_is_served_on() {
    if !need_program("strace") || !need_program("python3") {
        return;
    }
    let place = Place::udp();
    let (daemon, other) = start(&place, Folder::new(), &ruins("pass"));
    // The first such call takes the socket out while its program has it.
    let inject = "inject=epoll_ctl:error=ENOMEM:when=1";
    let options = ["-e", "trace=epoll_ctl", "-e", inject];
    let Some(strace) = Strace::attach(daemon.pid(), &options) else { return };
    for _ in 0..3 {
        place.ask();
    }
    let said = strace.finish();
    let refused = |line: &&str| line.contains("EPOLL_CTL_DEL") && line.contains("(INJECTED)");
    assert_eq!(said.lines().filter(refused).count(), 1, "{said}");
    is_calm(&daemon, other);
    assert_eq!(daemon.said("trouble").len(), 0, "{}", daemon.log.text());
}
