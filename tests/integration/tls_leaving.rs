//! How a session behind TLS that the server itself serves comes to its end: what breaks off is an
//! end on no side.

use crate::common::needs::find_program;
use crate::common::tls::{behind_tls, python, site};
use crate::common::{Folder, Setup, free_port, free_ports, me};

/// What the scripts begin with: a client that does with TLS what it likes, and how things end.
const BEGINNING: &str = r"
import struct
class Client:
    'It reads and writes when it is told to, and knows each end for what it is.'
    def __init__(self, port, old=False):
        self.plain = socket.create_connection(('127.0.0.1', int(port)), timeout=50)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        # Some versions of Python take any end for one.
        strict = context(old=old)
        strict.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0x80)
        self.tls = strict.wrap_bio(self.into, self.out)
        self.do(self.tls.do_handshake)
    def flush(self):
        data = self.out.read()
        if data: self.plain.sendall(data)
    def do(self, what):
        while True:
            try:
                done = what()
                self.flush()
                return done
            except ssl.SSLWantReadError:
                self.flush()
                data = self.plain.recv(65536)
                if data: self.into.write(data)
                else: self.into.write_eof()
    def say(self, text):
        self.tls.write(text); self.flush()
    def hear(self, count):
        said = b''
        while len(said) < count:
            piece = self.do(lambda: self.tls.read(count - len(said)))
            assert piece, said
            said += piece
        return said
    def end(self):
        'Says that this was all.'
        try: self.tls.unwrap()
        except ssl.SSLWantReadError: pass
        self.flush()
    def rest(self):
        'What comes still, and how that ends.'
        said = b''
        try:
            while True:
                piece = self.do(lambda: self.tls.read(65536))
                if not piece: return said, 'end'
                said += piece
        except ssl.SSLZeroReturnError: return said, 'end'
        except ConnectionError: return said, 'broken'
        except ssl.SSLError as error:
            # Not every version of Python has a class of its own for it.
            if isinstance(error, ssl.SSLEOFError) or error.reason == 'UNEXPECTED_EOF_WHILE_READING': return said, 'broken'
            raise
def hard(it): it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); it.close()
def rest_of(it):
    said = b''
    try:
        while True:
            piece = it.recv(65536)
            if not piece: return said, 'end'
            said += piece
    except ConnectionResetError: return said, 'broken'
def listener(port):
    it = socket.socket()
    it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    it.bind(('127.0.0.1', int(port))); it.listen(50); it.settimeout(50)
    return it
def accepted(targets):
    it, _ = targets.accept()
    it.settimeout(50)
    return it
def echoed(client, target):
    'Both are there.'
    client.say(b'x'); assert target.recv(1) == b'x'
    target.sendall(b'y'); assert client.hear(1) == b'y'
";

/// How clients leave, each with a function of its name.
const LEAVING: &str = r"
def in_order(it): it.end()
def cut_off(it): it.plain.shutdown(socket.SHUT_WR)
def reset(it): hard(it.plain)
def wrong(it): it.plain.sendall(b'\x17\x03\x03\x00\x40' + os.urandom(64))
def alert(it):
    # What it gets is not what it was sent: it says so.
    it.into.write(b'\x17\x03\x03\x00\x40' + os.urandom(64))
    try: it.tls.read(1)
    except ssl.SSLError: pass
    it.flush()
";

/// What the log says of each, and whether the client has said so.
const HOW: [(&str, Option<&str>, Option<&str>); 5] = [
    ("in_order", None, None),
    ("cut_off", Some("cut_off"), None),
    ("reset", Some("reset"), None),
    ("wrong", Some("bad_record_mac"), None),
    ("alert", Some("bad_record_mac"), Some("client")),
];

#[track_caller]
fn runs(folder: &Folder, script: &str, words: &[&str]) {
    let whole = format!("{BEGINNING}\n{LEAVING}\n{script}");
    assert_eq!(python(folder, &whole, words).trim(), "good", "{script}");
}

/// A service that is one of the server's own, behind TLS.
fn own(folder: &Folder, port: u16, kind: &str) -> String {
    behind_tls(folder, port, &format!("internal {kind}"), "")
}

/// One that is passed on.
fn relay(folder: &Folder, port: u16, target: u16, more: &str) -> String {
    let target = format!("    redirect = 127.0.0.1 {target}\n{more}");
    behind_tls(folder, port, "internal", &target)
}

#[test]
fn a_client_that_breaks_off_has_not_ended_for_the_target_either() {
    for (leave, how, by) in HOW {
        let Some(folder) = site(&["python3"]) else { return };
        let ports = free_ports(2);
        let text = relay(&folder, ports[0], ports[1], "");
        let daemon = Setup::new().start_in(folder, &text);
        let script = r"
targets = listener(sys.argv[2])
leave = globals()[sys.argv[3]]
for old in (False, True):
    client = Client(sys.argv[1], old)
    target = accepted(targets)
    echoed(client, target)
    client.say(b'the last words')
    leave(client)
    said, end = rest_of(target)
    assert end == ('end' if leave is in_order else 'broken'), end
    # A reset may overtake them.
    assert said == b'the last words' or end == 'broken', said
    if leave is in_order:
        target.sendall(b'an answer'); target.close()
        assert client.rest() == (b'an answer', 'end')
    elif leave is cut_off: assert client.rest() == (b'', 'broken')
    client.plain.close()
print('good')
";
        let [port, target] = [ports[0], ports[1]].map(|port| port.to_string());
        runs(&daemon.folder, script, &[&port, &target, leave]);
        for line in daemon.wait_count(2, |line| line.about("closed", ports[0])) {
            assert_eq!((line.get("how"), line.get("by")), (how, by), "{leave}: {}", line.raw);
            let is_done = line.get("reason") == Some("done");
            assert_eq!(is_done, how.is_none(), "{leave}: {}", line.raw);
        }
    }
}

#[test]
fn a_target_that_breaks_off_has_not_ended_for_the_client_either() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let text = relay(&folder, ports[0], ports[1], "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
targets = listener(sys.argv[2])
for old in (False, True):
    for breaks in (False, True):
        client = Client(sys.argv[1], old)
        target = accepted(targets)
        echoed(client, target)
        if breaks:
            hard(target)
            assert client.rest()[1] == 'broken', (old, breaks)
        else:
            target.sendall(b'z' * 3000000 + b'.'); target.shutdown(socket.SHUT_WR)
            said, end = client.rest()
            assert (len(said), end) == (3000001, 'end'), (len(said), end, old)
            # It may still say something.
            client.say(b'afterwards'); client.end()
            assert rest_of(target) == (b'afterwards', 'end')
            target.close()
        client.plain.close()
print('good')
";
    let [port, target] = [ports[0], ports[1]].map(|port| port.to_string());
    runs(&daemon.folder, script, &[&port, &target]);
    for line in daemon.wait_count(4, |line| line.about("closed", ports[0])) {
        assert_eq!(line.get("how"), None, "the client has left nobody: {}", line.raw);
    }
}

/// openssl says `closed` of what has said that this was all.
#[test]
fn openssl_is_told_of_an_end_that_is_one_and_of_no_other() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let text = relay(&folder, ports[0], ports[1], "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
import subprocess
targets = listener(sys.argv[2])
for old in ('-tls1_2', '-tls1_3'):
    for breaks in (False, True):
        words = ['openssl', 's_client', '-connect', f'127.0.0.1:{sys.argv[1]}', old]
        it = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        it.stdin.write(b'hello\n'); it.stdin.flush()
        target = accepted(targets)
        assert target.recv(6) == b'hello\n'
        if breaks: hard(target)
        else: target.close()
        said = it.stdout.read()
        it.wait()
        assert (b'\nclosed\n' in said) == (not breaks), (old, breaks, said)
print('good')
";
    let [port, target] = [ports[0], ports[1]].map(|port| port.to_string());
    runs(&daemon.folder, script, &[&port, &target]);
}

#[test]
fn a_target_that_is_not_there_is_no_empty_answer() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let daemon = {
        let text = relay(&folder, ports[0], ports[1], "");
        Setup::new().start_in(folder, &text)
    };
    let script = r"
assert Client(sys.argv[1]).rest() == (b'', 'broken')
print('good')
";
    runs(&daemon.folder, script, &[&ports[0].to_string()]);
    daemon.wait_log(|line| line.about("failed", ports[0]));
}

#[test]
fn the_log_says_how_a_client_has_left_a_built_in_service() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(5);
    let text: String = ports.iter().map(|port| own(&folder, *port, "echo")).collect();
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
for leave, port in (it.split('/') for it in sys.argv[1:]):
    for old in (False, True):
        client = Client(port, old)
        client.say(b'x'); assert client.hear(1) == b'x'
        globals()[leave](client)
        # What it is sent is read, lest it sends a reset.
        if leave in ('in_order', 'cut_off'): assert client.rest()[1] == 'end'
        client.plain.close()
print('good')
";
    let words: Vec<String> =
        HOW.iter().zip(&ports).map(|((leave, ..), port)| format!("{leave}/{port}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    runs(&daemon.folder, script, &words);
    for ((leave, how, by), port) in HOW.iter().zip(&ports) {
        for line in daemon.wait_count(2, |line| line.about("closed", *port)) {
            assert_eq!((line.get("how"), line.get("by")), (*how, *by), "{leave}: {}", line.raw);
        }
    }
}

#[test]
fn who_is_closed_by_the_server_has_not_got_the_whole() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(4);
    let text = relay(&folder, ports[0], ports[1], "")
        + &own(&folder, ports[2], "echo")
        + &behind_tls(&folder, ports[3], "/bin/cat cat", "");
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let script = r"
import subprocess
relayed, target, echo, program = sys.argv[1:5]
targets = listener(target)
def all_of_them():
    first = Client(relayed)
    theirs = accepted(targets)
    echoed(first, theirs)
    others = [Client(port) for port in (echo, program)]
    for it in others:
        it.say(b'z'); assert it.hear(1) == b'z'
    return [first] + others, theirs
for words in (['kill', '127.0.0.1'], ['stop', '--drain=0']):
    clients, theirs = all_of_them()
    subprocess.run([sys.argv[5], *words, '--control', sys.argv[6]], check=True, stdout=subprocess.DEVNULL)
    assert [it.rest() for it in clients] == [(b'', 'broken')] * 3, words
    assert rest_of(theirs) == (b'', 'broken'), words
print('good')
";
    let words: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let control = daemon.control().display().to_string();
    words.extend([crate::common::daemon::BINARY, &control]);
    runs(&daemon.folder, script, &words);
}

#[test]
fn a_program_that_has_had_its_time_has_not_ended_for_its_client() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let script = crate::common::shell("echo begun; exec sleep 600");
    let text = behind_tls(&folder, ports[0], &script, "    timeout = 300ms\n")
        + &behind_tls(&folder, ports[1], "/bin/echo echo begun", "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
for old in (False, True):
    assert Client(sys.argv[1], old).rest() == (b'begun\n', 'broken'), old
    assert Client(sys.argv[2], old).rest() == (b'begun\n', 'end'), old
print('good')
";
    let [first, second] = [ports[0], ports[1]].map(|port| port.to_string());
    runs(&daemon.folder, script, &[&first, &second]);
    daemon.wait_count(2, |line| line.about("timeout", ports[0]));
}

/// The server, and a plain service, too, whose clients have no worker.
#[test]
fn the_end_of_the_server_is_none_for_those_whom_it_serves_itself() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(4);
    let plain = format!("127.0.0.1:{} stream tcp nowait {} internal\n", ports[2], me());
    let text = relay(&folder, ports[0], ports[3], "")
        + &own(&folder, ports[1], "echo")
        + &plain
        + &format!("    redirect = 127.0.0.1 {}\n", ports[3]);
    let mut daemon = Setup::new().start_in(folder, &text);
    let script = r"
import signal
targets = listener(sys.argv[4])
relayed = Client(sys.argv[1]); theirs = [accepted(targets)]
echoed(relayed, theirs[0])
echo = Client(sys.argv[2])
echo.say(b'z'); assert echo.hear(1) == b'z'
plain = socket.create_connection(('127.0.0.1', int(sys.argv[3])), timeout=50)
theirs.append(accepted(targets))
theirs[1].sendall(b'x'); assert plain.recv(1) == b'x'
os.kill(int(sys.argv[5]), signal.SIGTERM)
assert [relayed.rest(), echo.rest(), rest_of(plain)] == [(b'', 'broken')] * 3
assert [rest_of(it) for it in theirs] == [(b'', 'broken')] * 2
print('good')
";
    let words: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let pid = daemon.pid().to_string();
    words.push(&pid);
    runs(&daemon.folder, script, &words);
    assert!(daemon.wait_exit().success());
}

/// A client whose worker is killed; the target, if there is one, sees no end either.
const LOSING: &str = r"
import signal, subprocess
port, server, target = sys.argv[1:]
targets = listener(target) if target else None
client = Client(port)
if targets:
    theirs = accepted(targets)
    echoed(client, theirs)
else:
    client.say(b'x'); assert client.hear(1) == b'x'
said = subprocess.run(['ps', '-o', 'pid=,args=', '--ppid', server], capture_output=True, text=True)
[worker] = [int(it.split()[0]) for it in said.stdout.splitlines() if 'front-worker' in it]
os.kill(worker, signal.SIGKILL)
assert client.rest() == (b'', 'broken')
if targets: assert rest_of(theirs) == (b'', 'broken')
print('good')
";

#[test]
fn a_target_sees_no_end_of_a_client_whose_worker_has_died() {
    let Some(folder) = site(&["python3", "ps"]) else { return };
    let (port, target) = (free_port(), free_port());
    let text = relay(&folder, port, target, "");
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let words = [port.to_string(), daemon.pid().to_string(), target.to_string()];
    runs(&daemon.folder, LOSING, &words.each_ref().map(String::as_str));
    daemon.wait_log(|line| line.is("worker-died"));
    let line = daemon.wait_log(|line| line.about("closed", port));
    assert_eq!(line.get("how"), Some("worker_died"), "{}", line.raw);
}

#[test]
fn a_program_that_goes_on_after_the_worker_of_its_client_has_died_is_told_of_with_that() {
    let Some(folder) = site(&["python3", "ps"]) else { return };
    let port = free_port();
    let script = format!("cat; while [ ! -e {} ]; do sleep 0.02; done", folder.name("released"));
    let text = behind_tls(&folder, port, &crate::common::shell(&script), "");
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let words = [port.to_string(), daemon.pid().to_string(), String::new()];
    runs(&daemon.folder, LOSING, &words.each_ref().map(String::as_str));
    daemon.wait_log(|line| line.is("worker-died"));
    daemon.folder.write("released", "");
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!((line.get("how"), line.get("status")), (Some("worker_died"), Some("0")));
}

/// It hears its first word and no other, and says something when it is let.
const DEAF: &str = r"
import os, socket, sys, time
it = socket.socket(fileno=0)
assert it.recv(5, socket.MSG_WAITALL) == b'first'
it.shutdown(socket.SHUT_RD)
it.sendall(b'deaf')
while not os.path.exists(sys.argv[1]): time.sleep(0.02)
it.sendall(b'answer')
";

/// A service with that program.
fn deaf(folder: &Folder, port: u16, more: &str) -> String {
    let program = folder.write("deaf.py", DEAF).display().to_string();
    let python = find_program("python3").unwrap();
    let words = format!("{} python3 {program} {}", python.display(), folder.name("released"));
    behind_tls(folder, port, &words, more)
}

#[test]
fn a_program_that_shuts_its_input_is_still_there_and_answers() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = deaf(&folder, port, "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
client = Client(sys.argv[1]); client.say(b'first'); assert client.hear(4) == b'deaf'
# More than is kept anywhere: it is thrown away.
for _ in range(128): client.say(b'x' * 65536)
open('released', 'w').close()
assert client.rest() == (b'answer', 'end')
print('good')
";
    runs(&daemon.folder, script, &[&port.to_string()]);
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!((line.get("status"), line.get("how")), (Some("0"), None), "{}", line.raw);
}

/// The log tells of a client that is idle if its program is there, and ends that.
#[test]
fn a_program_that_shuts_its_input_is_not_taken_for_gone() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = deaf(&folder, port, "    idle_timeout = 1s\n");
    let daemon = Setup::new().start_in(folder, &text);
    // Where a program needs longer to begin, another one is tried.
    let script = r"
deadline, tried = time.monotonic() + 50, 0
while True:
    client, tried = Client(sys.argv[1]), tried + 1
    client.say(b'first')
    try:
        if client.hear(4) == b'deaf': break
    except (AssertionError, OSError): assert time.monotonic() < deadline
client.say(b'x')
assert client.rest() == (b'', 'broken')
open('tried', 'w').write(str(tried))
print('good')
";
    runs(&daemon.folder, script, &[&port.to_string()]);
    let tried = std::fs::read_to_string(daemon.folder.at("tried")).unwrap();
    let told = daemon.wait_count(tried.parse().unwrap(), |line| line.about("timeout", port));
    assert!(told.iter().all(|line| line.get("reason") == Some("idle")), "{told:?}");
    daemon.wait_count(told.len(), |line| line.about("ended", port));
}

#[test]
fn an_upgrade_changes_nothing_about_ends() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let text = relay(&folder, ports[0], ports[1], "");
    let daemon = Setup::new().controlled().copied().start_in(folder, &text);
    let script = r"
import subprocess
targets = listener(sys.argv[2])
pairs = []
for _ in range(4):
    client = Client(sys.argv[1])
    pairs.append((client, accepted(targets)))
    echoed(*pairs[-1])
subprocess.run([sys.argv[3], 'upgrade', '--control', sys.argv[4]], check=True, stdout=subprocess.DEVNULL)
for client, target in pairs: echoed(client, target)
in_order(pairs[0][0]); assert rest_of(pairs[0][1])[1] == 'end'
cut_off(pairs[1][0]); assert rest_of(pairs[1][1])[1] == 'broken'
hard(pairs[2][1]); assert pairs[2][0].rest()[1] == 'broken'
pairs[3][1].close(); assert pairs[3][0].rest()[1] == 'end'
pairs[0][1].close()
for client, _ in pairs: client.plain.close()
print('good')
";
    let [port, target] = [ports[0], ports[1]].map(|port| port.to_string());
    let (program, control) =
        (daemon.folder.name("oxinetd"), daemon.control().display().to_string());
    runs(&daemon.folder, script, &[&port, &target, &program, &control]);
    daemon.wait_count(4, |line| line.about("closed", ports[0]));
}

/// Half of them are in the middle of something large when the other side breaks off.
#[test]
fn what_is_full_at_the_end_is_no_end_either() {
    let Some(folder) = site(&["python3"]) else { return };
    let (port, target) = (free_port(), free_port());
    let text = relay(&folder, port, target, "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
targets = listener(sys.argv[2])
def fill(it):
    'Until nothing more is taken for a while.'
    it.settimeout(0.3)
    try:
        while True: it.send(b'z' * 65536)
    except TimeoutError: pass
    it.settimeout(50)
client = Client(sys.argv[1]); theirs = accepted(targets); echoed(client, theirs)
fill(theirs)
hard(theirs)
said, end = client.rest()
assert end == 'broken' and said.strip(b'z') == b'', end
client = Client(sys.argv[1]); theirs = accepted(targets); echoed(client, theirs)
client.plain.settimeout(0.3)
try:
    while True: client.say(b'z' * 16384)
except TimeoutError: pass
hard(client.plain)
said, end = rest_of(theirs)
assert end == 'broken' and said.strip(b'z') == b'', end
print('good')
";
    runs(&daemon.folder, script, &[&port.to_string(), &target.to_string()]);
    daemon.wait_count(2, |line| line.about("closed", port));
}
