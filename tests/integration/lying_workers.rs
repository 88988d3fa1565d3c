//! Workers that somebody has taken over: what they say to the server, and what they try to do.
//!
//! The real worker is stopped, and whoever tests takes its end of the pair of sockets
//! (pidfd_getfd(2)) and speaks in its place; or makes it do system calls (ptrace(2)).

use nix::sys::signal::{Signal, kill};

use crate::common::daemon::as_pid;
use crate::common::tls::{make_certificate, python};
use crate::common::{
    Daemon, Folder, Line, Setup, free_ports, me, need_program, need_root, procs, wait_until,
};

/// What the scripts begin with. Numbers are written as postcard does: seven bits a byte.
const LIAR: &str = r"
import array, ctypes, errno, signal, subprocess
victim, other, plain, server = (int(it) for it in sys.argv[1:5])
def until(what):
    deadline = time.monotonic() + 50
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)
def workers():
    said = subprocess.run(['ps', '-o', 'pid=,args=', '--ppid', str(server)], capture_output=True, text=True)
    return [int(it.split()[0]) for it in said.stdout.splitlines() if it.split()[-1] == 'front-worker']
def state(pid): return open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[0]
def is_gone(pid): return pid not in workers()
def is_echoed(it):
    it.sendall(b'x'); assert it.recv(1) == b'x'
def take_over(is_served=is_echoed):
    'The worker of the victim, which has had one client that is served, and its end of the pair.'
    first = connect(victim)
    is_served(first)
    [pid] = workers()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state(pid) == 'T')
    number = ctypes.CDLL(None, use_errno=True).syscall(438, os.pidfd_open(pid), 0, 0)
    if number < 0:
        print('cannot:', errno.errorcode[ctypes.get_errno()]); sys.exit()
    wire = socket.socket(fileno=number)
    # One that said nothing at all would be taken for one that hangs.
    threading.Thread(target=show_signs, args=(wire,), daemon=True).start()
    return pid, wire, first
def show_signs(wire):
    try:
        while True:
            wire.send(packet(here()))
            time.sleep(1)
    except OSError: pass
def varint(number):
    bytes_ = b''
    while number > 127: bytes_ += bytes([number & 127 | 128]); number >>= 7
    return bytes_ + bytes([number])
def text(it): return varint(len(it)) + it
def settings(number, why=None): return varint(0) + varint(number) + (varint(0) if why is None else varint(1) + text(why))
def ready(number, facts=()): return varint(1) + varint(number) + varint(len(facts)) + b''.join(varint(fact) + text(value) for fact, value in facts) + varint(0)
def failed(number, why=b'closed'): return varint(2) + varint(number) + text(why)
def ended(number): return varint(3) + varint(number) + varint(0)
def here(): return varint(4)
def packet(*messages): return varint(len(messages)) + b''.join(messages)
def read_varint(data):
    number = shift = 0
    while True:
        first, data = data[0], data[1:]
        number |= (first & 127) << shift
        shift += 7
        if first < 128: return number, data
def given(wire):
    'The next client that the worker is given: its number, its connection, the other end of its program.'
    while True:
        until(lambda: readable(wire))
        data, control, flags, who = wire.recvmsg(4096, socket.CMSG_SPACE(160))
        kind, data = read_varint(data)
        if kind != 3: continue
        numbers = array.array('i'); numbers.frombytes(control[0][2])
        return read_varint(data)[0], socket.socket(fileno=numbers[0]), socket.socket(fileno=numbers[1])
def readable(it):
    import select
    return bool(select.select([it], [], [], 0)[0])
def tcp(port): return socket.create_connection(('127.0.0.1', port), timeout=50)
def plain_answers():
    assert read_all(tcp(plain)).startswith(b'here'), 'the plain service'
def is_served(port):
    'Whether a new client is, sooner or later.'
    def once():
        try:
            it = connect(port)
            it.sendall(b'x')
            return it.recv(1) == b'x'
        except (OSError, ssl.SSLError): return False
    until(once)
";

/// A server whose only shared worker is to be taken over.
struct Scene {
    daemon: Daemon,
    ports: Vec<u16>,
}

impl Scene {
    /// `victim` is what stands on the line of the service whose worker it is.
    #[track_caller]
    fn set(victim: &str) -> Option<Self> {
        let is_there = |program: &&str| need_program(program);
        if !need_root() || !["openssl", "python3", "ps"].iter().all(is_there) {
            return None;
        }
        let (folder, ports) = (Folder::new(), free_ports(3));
        make_certificate(&folder, "site", "DNS:localhost", "90");
        let tls = format!("    tls = {} {}\n", folder.name("site.pem"), folder.name("site.key"));
        let line =
            |port: u16, rest: &str| format!("127.0.0.1:{port} stream tcp nowait {rest}{tls}");
        let text = line(ports[0], &format!("{} {victim}\n", me()))
            + &line(ports[1], &format!("{} /bin/cat cat\n", me()))
            + "    front_workers = own\n"
            + &format!("127.0.0.1:{} stream tcp nowait {} /bin/echo echo here\n", ports[2], me());
        let setup = Setup::new().controlled().arg("--front-workers").arg("1");
        Some(Self { daemon: setup.start_in(folder, &text), ports })
    }

    /// Runs a script; its last word is `good`, or why nobody may take over anything here.
    #[track_caller]
    fn lie(&self, script: &str) {
        let pid = self.daemon.pid().to_string();
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let whole = format!("{LIAR}\n{script}");
        let said = python(&self.daemon.folder, &whole, &[&ports[0], &ports[1], &ports[2], &pid]);
        if said.starts_with("cannot") {
            let _ = crate::common::needs::kernel_lacks(&format!("pidfd_getfd ({})", said.trim()));
            return;
        }
        assert_eq!(said.trim(), "good", "{script}");
    }

    fn started(&self, port: u16) -> usize {
        self.daemon.log.all_after(0, |line| line.about("accepted", port)).len()
    }
}

/// Whoever was stopped does not see that its server has gone.
impl Drop for Scene {
    fn drop(&mut self) {
        for worker in procs::front_workers(self.daemon.pid()) {
            if procs::state(worker) == Some('T') {
                let _ = kill(as_pid(worker), Signal::SIGKILL);
            }
        }
    }
}

/// What is the end of whoever says it: `wire` is the worker's end, `number` a client of its own
/// that has no program yet, `theirs` one of another worker.
const LIES: [(&str, &str); 17] = [
    ("somebody else's client is ready", "wire.send(packet(ready(theirs, [(5, b'SUCCESS')])))"),
    ("somebody else's client has failed", "wire.send(packet(failed(theirs)))"),
    ("somebody else's client is over", "wire.send(packet(ended(theirs)))"),
    ("nobody's client is ready", "wire.send(packet(ready(2**64 - 1)))"),
    ("one that is over is ready", "wire.send(packet(ended(number), ready(number)))"),
    ("garbage", "wire.send(os.urandom(3000) + b'\\xff')"),
    ("nothing", "wire.send(b'')"),
    ("a number that is too long", "wire.send(packet(b'\\x03' + b'\\xff' * 11))"),
    ("a message of no kind", "wire.send(packet(b'\\x07\\x01'))"),
    ("something after the end", "wire.send(packet(failed(number)) + b'x')"),
    ("half of a message", "wire.send(packet(ready(number, [(0, b'TLSv1.3')]))[:-3])"),
    ("more messages than are there", "wire.send(b'\\xff\\xff\\xff\\xff\\x0f')"),
    ("too many messages", "wire.send(packet(*[settings(1)] * 65))"),
    ("too many facts", "wire.send(packet(ready(number, [(0, b'x')] * 17)))"),
    ("a packet that is too long", "wire.send(packet(failed(number, b'x' * 150000)))"),
    (
        "descriptors",
        "
theirs, ours = socket.socketpair()
handed = array.array('i', [ours.fileno()] * 30)
wire.sendmsg([packet(settings(1))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)])
ours.close()
assert theirs.recv(1) == b'', 'the server has it'",
    ),
    ("the end", "wire.shutdown(socket.SHUT_WR)"),
];

#[test]
fn whoever_says_what_it_may_not_is_ended() {
    for (name, lie) in LIES {
        let Some(scene) = Scene::set("/bin/cat cat") else { return };
        let before = procs::descriptors(scene.daemon.pid());
        // What a lie leaves out: the wire's other end goes with the worker.
        let script = format!(
            r"
pid, wire, first = take_over()
others = tcp(other)
until(lambda: len(workers()) == 2)
mine = tcp(victim)
number, connection, end = given(wire)
theirs = number - 1
{lie}
until(lambda: is_gone(pid))
# The other one's client has not been told of by anybody, and has its program.
others = context().wrap_socket(others)
others.sendall(b'x'); assert others.recv(1) == b'x'
plain_answers()
wire.close()
# All others of its service are served again.
is_served(victim)
print('good')
"
        );
        scene.lie(&script);
        let died = scene.daemon.wait_log(|line| line.is("worker-died"));
        assert!(died.get("clients").is_some_and(|it| it != "0"), "{name}: {died:?}");
        scene.daemon.wait_count(4, |line| line.is("ended"));
        // The first client, and the last one: the liar's own had no program.
        assert_eq!(scene.started(scene.ports[0]), 2, "{name}:\n{}", scene.daemon.log.text());
        wait_until("the server has what it had", || {
            procs::descriptors(scene.daemon.pid()) <= before + procs::KEPT_DESCRIPTORS
        });
        assert_eq!(scene.daemon.said("worker-died").len(), 1, "{name}");
    }
}

#[test]
fn nobody_is_idle_where_that_is_no_matter() {
    let Some(scene) = Scene::set("/bin/cat cat") else { return };
    let script = r"
pid, wire, first = take_over()
mine = tcp(victim)
number, connection, end = given(wire)
wire.send(packet(ready(number)))
end.settimeout(50)
end.sendall(b'x'); assert end.recv(1) == b'x'
wire.send(packet(failed(number, b'idle')))
until(lambda: is_gone(pid))
plain_answers()
wire.close()
is_served(victim)
print('good')
";
    scene.lie(script);
    let died = scene.daemon.wait_log(|line| line.is("worker-died"));
    assert!(died.get("error").is_some_and(|it| it.contains("cannot be")), "{}", died.raw);
    assert!(scene.daemon.said("timeout").is_empty(), "{}", scene.daemon.log.text());
    let idle = |line: &Line| line.raw.contains("idle");
    assert!(!scene.daemon.said("ended").iter().any(idle), "{}", scene.daemon.log.text());
}

#[test]
fn a_permit_is_one_program() {
    let Some(scene) = Scene::set("/bin/cat cat\n    instances = 3\n    at_limit = refuse") else {
        return;
    };
    // The first client has a place; two of these five have the others, however often it is said.
    let script = r"
pid, wire, first = take_over()
clients = [tcp(victim) for _ in range(5)]
mine = [given(wire) for _ in clients]
for _ in range(3): wire.send(packet(*[ready(number) for number, _, _ in mine] * 3))
def is_served(end):
    try:
        end.settimeout(50)
        end.sendall(b'x')
        return end.recv(1) == b'x'
    except OSError: return False
served = [it for it in mine if is_served(it[2])]
assert len(served) == 2, served
# They have one, and no other.
for number, _, end in served:
    wire.send(packet(failed(number), ready(number), ready(number)))
plain_answers()
assert not is_gone(pid)
print('good')
";
    scene.lie(script);
    scene.daemon.wait_log(|line| line.get("reason") == Some("instances"));
    scene.daemon.wait_count(2, |line| line.about("ended", scene.ports[0]));
    assert_eq!(scene.started(scene.ports[0]), 3);
}

#[test]
fn who_has_been_given_up_has_no_program_any_more() {
    let Some(scene) = Scene::set("/bin/cat cat\n    tls_timeout = 5s") else { return };
    let script = r"
pid, wire, first = take_over()
mine = tcp(victim)
number, connection, end = given(wire)
assert end.recv(1) == b'', 'it is given up'
wire.send(packet(ready(number)))
wire.send(packet(ready(number)))
plain_answers()
assert not is_gone(pid)
print('good')
";
    scene.lie(script);
    scene.daemon.wait_log(|line| line.is("refused") && line.get("alert") == Some("timeout"));
    assert_eq!(scene.started(scene.ports[0]), 1);
}

#[test]
fn facts_are_what_such_facts_may_be_whoever_says_them() {
    let cat = "cat; /usr/bin/env -0";
    let Some(scene) = Scene::set(&crate::common::shell(cat)) else { return };
    let script = r"
pid, wire, first = take_over()
nasty = [b'x\nLD_PRELOAD=/evil.so', b'x\0LD_PRELOAD=/evil.so', b'$(id)\x1b[2J', b'y' * 15000, '\u202e'.encode(), b'']
for value in nasty:
    mine = tcp(victim)
    number, connection, end = given(wire)
    # All kinds of them, or one that is as long as a packet.
    kinds = range(10) if len(value) < 1000 else [8]
    wire.send(packet(ready(number, [(kind, value) for kind in kinds])))
    end.settimeout(50)
    end.shutdown(socket.SHUT_WR)
    said = read_all(end).split(b'\0')
    names = {it.split(b'=')[0] for it in said}
    assert f'TCPLOCALPORT={victim}'.encode() in said, said
    assert b'LD_PRELOAD' not in names and b'TERM' not in names, said
    known = [it for it in said if it.startswith(b'SSL_')]
    assert all(len(it) < 1100 and it.isascii() and it.decode().isprintable() for it in known), known
    if value != nasty[2]: assert not known, known
    wire.send(packet(ended(number)))
def told(facts):
    mine = tcp(victim)
    number, connection, end = given(wire)
    wire.send(packet(ready(number, facts)))
    end.shutdown(socket.SHUT_WR)
    said = read_all(end).split(b'\0')
    # That it is behind TLS is known without it.
    assert b'PROTO=SSL' in said and not [it for it in said if it.startswith(b'TERM=')], said
    return [it for it in said if it.startswith(b'SSL_')]
assert told([]) == []
# The first one said counts, and it is told under its own name only.
assert told([(0, b'TLSv1.3'), (0, b'TLSv1.2'), (9, b'xterm')]) == [b'SSL_PROTOCOL=TLSv1.3']
# Nobody has been asked for a certificate, there is no such version, and no such cipher.
assert told([(0, b'TLSv9'), (1, b'NULL'), (4, b'root'), (5, b'SUCCESS'), (6, b'CN=root'), (7, b'CN=root'), (8, b'0' * 64)]) == []
# What is spoken inside is what the service speaks: the client is not served.
mine = tcp(victim)
number, connection, end = given(wire)
wire.send(packet(ready(number, [(3, b'h2')])))
assert end.recv(1) == b''
assert not is_gone(pid)
print('good')
";
    scene.lie(script);
}

#[test]
fn the_name_of_a_terminal_is_a_harmless_one_whoever_says_it() {
    let victim = crate::common::shell("env; echo end; cat");
    let Some(scene) = Scene::set(&(victim + "\n    telnet = yes")) else { return };
    let script = r"
def shown(it):
    said = b''
    while b'end\r\n' not in said:
        piece = it.recv(4096)
        assert piece, said
        said += piece
    return said
pid, wire, first = take_over(shown)
good = [b'xterm-256color', b'vt220', b'a' * 64]
bad = [b'', b'a b', b'x\nLD_PRELOAD=/evil.so', b'x\0LD_PRELOAD=/evil.so', b'$(id)', b'../../etc/passwd', b'.hidden', b'x=y', b'a' * 65, b'a' * 7000, '\u202ex'.encode(), b'\x1b[2J', b'%n']
def terminal(end):
    end.settimeout(50)
    while True:
        data, control, _, _ = end.recvmsg(4096, socket.CMSG_SPACE(16))
        assert data
        if control: return array.array('i', control[0][2])[0]
for value in good + bad:
    mine = tcp(victim)
    number, connection, end = given(wire)
    wire.send(packet(ready(number, [(2, value), (9, value), (9, b'second')])))
    master, said = terminal(end), b''
    os.set_blocking(master, True)
    while b'end\r\n' not in said: said += os.read(master, 4096)
    lines = said.split(b'\r\n')
    assert [it for it in lines if it.startswith(b'TERM=')] == [b'TERM=' + (value if value in good else b'second')], (value, said)
    assert b'LD_PRELOAD' not in said and not [it for it in lines if it.startswith(b'SSL_') and it != b'SSL_TLS_SNI_SERVERNAME=' + value], said
    os.close(master)
    wire.send(packet(ended(number)))
assert not is_gone(pid)
print('good')
";
    scene.lie(script);
    let named = |line: &Line| ["subject", "fingerprint"].iter().any(|it| line.get(it).is_some());
    assert!(!scene.daemon.said("accepted").iter().any(named), "{}", scene.daemon.log.text());
}

#[test]
fn one_who_never_ends_stalls_nobody() {
    let Some(scene) = Scene::set("/bin/cat cat") else { return };
    let script = r"
pid, wire, first = take_over()
mine = tcp(victim)
number, connection, end = given(wire)
stop, said = False, [0]
floods = [
    packet(*[settings(1)] * 64),
    packet(*[settings(1, b'\x1b[2J\nready pid=1' * 10)] * 50),
    packet(*[failed(number, b'z' * 150)] * 64),
    packet(*[settings(n, b'no such number') for n in range(2**31, 2**31 + 50)]),
]
def flood():
    while not stop:
        for it in floods: wire.send(it); said[0] += 1
# It does not wait: what the server has not read stays in the socket.
wire.setblocking(True)
threads = [threading.Thread(target=flood) for _ in range(2)]
for it in threads: it.start()
for _ in range(30): plain_answers()
is_served(other)
stop = True
for it in threads: it.join()
assert said[0] > 100, said
assert not is_gone(pid)
print('good')
";
    scene.lie(script);
    // What it says is not the log's.
    let lines = scene.daemon.log.all_after(0, |_| true).len();
    assert!(lines < 200, "{lines} lines:\n{}", scene.daemon.log.text());
    assert_eq!(scene.daemon.said("ready").len(), 1);
}

#[test]
fn one_who_listens_no_more_is_replaced() {
    let Some(scene) = Scene::set("/bin/cat cat") else { return };
    let script = r"
pid, wire, first = take_over()
wire.shutdown(socket.SHUT_RD)
is_served(victim)
until(lambda: is_gone(pid))
plain_answers()
print('good')
";
    scene.lie(script);
    scene.daemon.wait_log(|line| line.is("worker-died"));
}

#[test]
fn one_who_does_nothing_stalls_nobody() {
    let Some(scene) = Scene::set("/bin/cat cat\n    tls_timeout = 5s") else { return };
    let script = r"
pid, wire, first = take_over()
waiting = [tcp(victim) for _ in range(700)]
plain_answers()
is_served(other)
os.kill(pid, signal.SIGCONT)
is_served(victim)
first.sendall(b'y'); assert first.recv(1) == b'y'
assert not is_gone(pid)
print('good')
";
    scene.lie(script);
    // Some at least have had their time, or made room for others.
    let given_up = |alert: Option<&str>| matches!(alert, Some("crowded" | "timeout"));
    scene.daemon.wait_log(|line| line.is("refused") && given_up(line.get("alert")));
}

#[test]
fn descriptors_in_the_place_of_bytes_reach_nobody() {
    // Services of the server's own read from the pair themselves.
    let Some(scene) = Scene::set("internal echo") else { return };
    let script = r"
pid, wire, first = take_over()
before = len(os.listdir(f'/proc/{server}/fd'))
mine = tcp(victim)
number, connection, end = given(wire)
wire.send(packet(ready(number)))
theirs, ours = socket.socketpair()
end.settimeout(50)
for _ in range(50):
    handed = array.array('i', [ours.fileno()] * 20)
    end.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)])
    data, control, _, _ = end.recvmsg(1, socket.CMSG_SPACE(800))
    assert data == b'x' and not control, control
ours.close()
assert theirs.recv(1) == b'', 'somebody has it'
assert len(os.listdir(f'/proc/{server}/fd')) < before + 20
print('good')
";
    scene.lie(script);
}

#[test]
fn descriptors_do_not_pass_through_a_relay() {
    let target = format!("@oxinetd-test-lying-{}", std::process::id());
    let Some(scene) = Scene::set(&format!("internal\n    redirect = {target}")) else { return };
    let script = r"
come = []
target = socket.socket(socket.AF_UNIX)
target.bind('\0TARGET'); target.listen()
def serve(it):
    while True:
        data, control, _, _ = it.recvmsg(4096, socket.CMSG_SPACE(800))
        come.extend(control)
        if not data: return
        it.sendall(data)
def accept():
    while True: threading.Thread(target=serve, args=(target.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
pid, wire, first = take_over()
mine = tcp(victim)
number, connection, end = given(wire)
wire.send(packet(ready(number)))
theirs, ours = socket.socketpair()
end.settimeout(50)
handed = array.array('i', [ours.fileno()] * 20)
end.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)])
assert end.recv(1) == b'x'
ours.close()
assert theirs.recv(1) == b'', 'somebody has it'
assert not come, come
print('good')
"
    .replace("TARGET", &target[1..]);
    scene.lie(&script);
}
