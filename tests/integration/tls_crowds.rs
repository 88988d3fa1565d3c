//! Many clients behind TLS and on terminals: idle ones, hostile ones, and workers that die
//! under them.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::common::daemon::as_pid;
use crate::common::tls::{python, site};
use crate::common::{
    Folder, Setup, free_port, free_ports, me, need_root, procs, tcp, wait_for, wait_until,
};

/// A folder with a certificate, and what stands on the lines of services behind it.
fn folder() -> Option<(Folder, String)> {
    let folder = site(&["python3"])?;
    let tls = format!("    tls = {} {}\n", folder.name("site.pem"), folder.name("site.key"));
    Some((folder, tls))
}

fn line(port: u16, program: &str) -> String {
    format!("127.0.0.1:{port} stream tcp nowait {} {program}\n", me())
}

#[test]
fn two_thousand_idle_sessions_all_still_answer() {
    let Some((folder, tls)) = folder() else { return };
    let port = free_port();
    let text = line(port, "/bin/cat cat") + "    instances = unlimited\n" + &tls;
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
import resource
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
port, server, count = sys.argv[1], int(sys.argv[2]), 2000
def kib(): return int(open(f'/proc/{server}/status').read().split('RssAnon:')[1].split()[0])
def sockets():
    links = []
    for it in os.listdir(f'/proc/{server}/fd'):
        try: links.append(os.readlink(f'/proc/{server}/fd/{it}'))
        except OSError: pass
    return sum(it.startswith('socket:') for it in links)
def answers(it, text):
    it.sendall(text); assert it.recv(99) == text
shared = context()
all_of_them, before = [], None
def come(part):
    for _ in range(part):
        it = shared.wrap_socket(socket.create_connection(('127.0.0.1', int(port)), timeout=100))
        answers(it, b'first'); all_of_them.append(it)
come(100)
memory, before = kib(), sockets()
threads = [threading.Thread(target=come, args=(count // 4 - 25,)) for _ in range(4)]
for it in threads: it.start()
for it in threads: it.join()
assert len(all_of_them) == count, len(all_of_them)
# The server has nothing that is open for any: no connection, nothing of the program's. Its
# sessions are small.
assert sockets() <= before + 100, (before, sockets())
assert kib() - memory < 16 * count, (memory, kib())
for n, it in enumerate(all_of_them): answers(it, b'again %d' % n)
for it in all_of_them: it.close()
print('good')
";
    let pid = daemon.pid().to_string();
    assert_eq!(python(&daemon.folder, script, &[&port.to_string(), &pid]).trim(), "good");
    daemon.wait_count(2000, |line| line.about("ended", port));
}

/// Sessions that stay, and others that come and go, while one of two workers is killed: how many
/// of the first it took along, and of the second.
const KILLING: &str = r"
import subprocess, signal
port, terminal, server = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
def workers():
    said = subprocess.run(['ps', '-o', 'pid=,args=', '--ppid', str(server)], capture_output=True, text=True)
    return sorted(int(it.split()[0]) for it in said.stdout.splitlines() if it.split()[-1] == 'front-worker')
def works(it):
    try: it.sendall(b'x\n'); return it.recv(2) == b'x\n'
    except OSError: return False
def seat():
    it = socket.create_connection(('127.0.0.1', terminal), timeout=50)
    said = b''
    while b'ready\r\n' not in said: said += it.recv(99)
    return it
def still_there(it):
    try:
        it.sendall(b'y\n'); said = b''
        while b'y\r\ny\r\n' not in said:
            piece = it.recv(99)
            if not piece: return False
            said += piece
        return True
    except OSError: return False
held = [connect(port) for _ in range(20)]
seats = [seat() for _ in range(10)]
assert all(works(it) for it in held)
until = time.monotonic() + 50
while len(workers()) != 2: assert time.monotonic() < until, workers()
served, failed, stop = [0], [0], False
def load():
    while not stop:
        try:
            with connect(port) as it: good = works(it)
        except OSError: good = False
        (served if good else failed)[0] += 1
threads = [threading.Thread(target=load) for _ in range(3)]
for it in threads: it.start()
deadline = time.monotonic() + 50
while served[0] < 20: assert time.monotonic() < deadline; time.sleep(0.01)
victim = workers()[0]
os.kill(victim, signal.SIGKILL)
# It takes its turn of the processor to go.
while victim in workers(): assert time.monotonic() < deadline
before = served[0]
while served[0] < before + 20: assert time.monotonic() < deadline; time.sleep(0.01)
stop = True
for it in threads: it.join()
alive = sum(works(it) for it in held) + sum(still_there(it) for it in seats)
# Each had some of them: nobody else's client is gone.
assert 0 < alive < 30, alive
assert works(connect(port)) and still_there(seat())
deadline = time.monotonic() + 50
while len(workers()) != 2 or victim in workers():
    assert time.monotonic() < deadline
    connect(port).close()
print(30 - alive, failed[0])
";

#[test]
fn a_worker_that_is_killed_under_load_takes_its_own_along_and_is_replaced() {
    let Some((folder, tls)) = folder() else { return };
    let ports = free_ports(2);
    let pty = line(ports[1], &crate::common::shell("echo ready; cat")) + "    pty = yes\n";
    let text = line(ports[0], "/bin/cat cat") + "    instances = unlimited\n" + &tls + &pty;
    let daemon = Setup::new().arg("--front-workers").arg("2").start_in(folder, &text);
    let pid = daemon.pid().to_string();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let said = python(&daemon.folder, KILLING, &[&ports[0], &ports[1], &pid]);
    let said: Vec<u32> = said.split_whitespace().map(|it| it.parse().unwrap()).collect();
    let died = daemon.wait_log(|line| line.is("worker-died"));
    let clients = died.number("clients").unwrap();
    // Beside them at most those who came and went, three at a time.
    assert!(clients >= said[0] && clients <= said[0] + 6, "{said:?}: {died:?}");
    daemon.said_times(1, "worker-died");
    // No program is left behind whose client has gone.
    let accepted = daemon.said("accepted").len();
    daemon.wait_count(accepted, |line| line.is("ended"));
}

#[test]
fn workers_that_die_again_and_again_are_not_started_without_end() {
    let Some((folder, tls)) = folder() else { return };
    let ports = free_ports(2);
    let text = line(ports[0], "/bin/cat cat") + &tls + &line(ports[1], "/bin/echo echo here");
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let mut first = None;
    for round in 1..=5 {
        let worker = wait_for("a worker", || {
            drop(tcp(ports[0]));
            procs::front_workers(daemon.pid()).first().copied()
        });
        // It may have ended before us.
        let _ = kill(as_pid(worker), Signal::SIGKILL);
        daemon.wait_count(round, |line| line.is("worker-died"));
        let _ = first.get_or_insert_with(Instant::now);
        assert_eq!(crate::common::read_all(tcp(ports[1])), "here\n");
    }
    // Each has been waited for twice as long as the one before; the first one not at all.
    let took = first.unwrap().elapsed();
    assert!(took >= Duration::from_millis(700), "{took:?}\n{}", daemon.log.text());
    let script = r"
deadline = time.monotonic() + 50
while True:
    try:
        it = connect(sys.argv[1]); it.sendall(b'x'); assert it.recv(1) == b'x'
        break
    except OSError: assert time.monotonic() < deadline
print('good')
";
    assert_eq!(python(&daemon.folder, script, &[&ports[0].to_string()]).trim(), "good");
}

#[test]
fn floods_of_garbage_and_slow_handshakes_hold_nobody_up() {
    let Some((folder, tls)) = folder() else { return };
    let port = free_port();
    let daemon = Setup::new().start_in(folder, &(line(port, "/bin/cat cat") + &tls));
    let script = r"
port, stop, thrown = int(sys.argv[1]), False, [0]
def plain(): return socket.create_connection(('127.0.0.1', port), timeout=50)
pieces = [os.urandom(20000), b'\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03' + b'\0' * 16380, b'\x16\x03\x01\x00\x01\x01' * 3000, b'\x15\x03\x03\x00\x02\x02\x28' * 50, b'\x17\x03\x03\x40\x00' + os.urandom(16384), b'\x14\x03\x03\x00\x01\x01' * 1000]
def flood(n):
    while not stop:
        try:
            with plain() as it:
                it.sendall(pieces[(thrown[0] + n) % len(pieces)])
                while it.recv(65536): pass
        except OSError: pass
        thrown[0] += 1
threads = [threading.Thread(target=flood, args=(n,)) for n in range(4)]
for it in threads: it.start()
# A handshake of one byte at a time, each in a packet of its own.
def slowly(version):
    outside = plain()
    outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    it = context(old=version).wrap_bio(into, out)
    def flush():
        for byte in out.read(): outside.sendall(bytes([byte]))
    def done(what):
        while True:
            try: return what()
            except ssl.SSLWantReadError:
                flush()
                data = outside.recv(1)
                assert data
                into.write(data)
    done(it.do_handshake)
    it.write(b'slow'); flush()
    assert done(lambda: it.read(4)) == b'slow'
for version in (False, True): slowly(version)
for _ in range(20):
    it = connect(port)
    it.sendall(b'good'); assert it.recv(4) == b'good'
    it.close()
deadline = time.monotonic() + 50
while thrown[0] < 60: assert time.monotonic() < deadline; time.sleep(0.01)
stop = True
for it in threads: it.join()
print('good')
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "good");
    let refused = daemon.wait_log(|line| line.is("refused"));
    assert_eq!(refused.get("reason"), Some("tls"));
    daemon.wait_count(22, |line| line.is("ended"));
    daemon.said_times(22, "accepted");
    assert!(daemon.said("worker-died").is_empty(), "{}", daemon.log.text());
}

/// Whose session is over and who does not close the connection is counted by no limit.
#[test]
fn those_who_stay_when_all_is_said_are_few_and_keep_no_terminal() {
    // Nobody else may look at the descriptors of a worker.
    if !need_root() {
        return;
    }
    let Some((folder, tls)) = folder() else { return };
    let ports = free_ports(2);
    let text = line(ports[0], "/bin/cat cat") + &tls + &line(ports[1], "/bin/echo echo said");
    let one = Setup::new().arg("--front-workers").arg("1");
    let daemon = one.start_in(folder, &(text + "    pty = yes\n    instances = unlimited\n"));
    let stay = |port: u16, said: &[u8]| {
        let mut client = tcp(port);
        let _ = client.write_all(said);
        // All is said when the end has come; it is kept open all the same.
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert!(!answer.is_empty());
        client
    };
    let mut clients: Vec<_> = (0..400).map(|_| stay(ports[0], b"GET / HTTP/1.0\r\n\r\n")).collect();
    let worker = *procs::front_workers(daemon.pid()).first().unwrap();
    wait_until("few of them to be left", || procs::descriptors(worker) < 300);
    clients.extend((0..20).map(|_| stay(ports[1], b"")));
    wait_until("no terminal to be left", || procs::terminals(worker) == 0);
    daemon.said_times(20, "accepted");
}
