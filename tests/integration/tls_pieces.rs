//! What comes in pieces behind which nothing is announced: urgent bytes of a client of TLS, and
//! descriptors that a program sends.

use crate::common::procs::front_workers;
use crate::common::tls::{behind_tls, python, site};
use crate::common::{Daemon, Setup, free_port};

/// The worker is held up while something is done.
const STOPPING: &str = r"
import fcntl, signal, struct, termios
port, worker = int(sys.argv[1]), int(sys.argv[2])
def wait_until(done):
    deadline = time.monotonic() + 50
    while not done():
        assert time.monotonic() < deadline
        time.sleep(.01)
def is_stopped():
    with open(f'/proc/{worker}/stat') as it: return it.read().rsplit(')', 1)[1].split()[0] == 'T'
def while_stopped(work):
    os.kill(worker, signal.SIGSTOP)
    wait_until(is_stopped)
    work()
    os.kill(worker, signal.SIGCONT)
def exactly(count, read):
    whole = b''
    while len(whole) < count:
        piece = read(count - len(whole))
        assert piece, whole
        whole += piece
    return whole
";

/// In the middle of a record, with nothing behind it that would be announced.
const IN_A_RECORD: &str = r"
raw = socket.create_connection(('127.0.0.1', port), timeout=50)
come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
it = context().wrap_bio(come, go)
def done(call):
    while True:
        try: return call()
        except ssl.SSLWantReadError: pass
        finally: raw.sendall(go.read())
        come.write(raw.recv(65536))
done(it.do_handshake)
def say():
    it.write(b'hello')
    record = go.read()
    raw.sendall(record[:7])
    raw.send(record[7:8], socket.MSG_OOB)
    raw.sendall(record[8:])
    unsent = lambda: struct.unpack('i', fcntl.ioctl(raw, termios.TIOCOUTQ, b'\0' * 4))[0]
    wait_until(lambda: unsent() == 0)
while_stopped(say)
print(exactly(5, lambda count: done(lambda: it.read(count))).decode())
";

/// Says something in three pieces when it is told to, the second with a descriptor.
const PROGRAM: &str = r"
import os, socket, sys, time
it = socket.socket(fileno=1)
while not os.path.exists(sys.argv[1]): time.sleep(.01)
it.send(b'ab')
socket.send_fds(it, [b'!'], [2])
it.send(b'cd')
open(sys.argv[1] + '.said', 'w').close()
it.recv(1)
";

const TELLING: &str = r"
flag = sys.argv[3]
it = connect(port)
def tell():
    open(flag, 'w').close()
    wait_until(lambda: os.path.exists(flag + '.said'))
while_stopped(tell)
print(exactly(5, it.recv).decode())
";

/// The one worker, which is there when somebody has come.
fn worker_behind(daemon: &Daemon, port: u16) -> String {
    python(&daemon.folder, "connect(sys.argv[1]).close()", &[&port.to_string()]);
    front_workers(daemon.pid()).first().expect("a worker").to_string()
}

#[test]
fn an_urgent_byte_in_a_record_is_no_hole_in_it_and_holds_nothing_up() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let (script, worker) = ([STOPPING, IN_A_RECORD].concat(), worker_behind(&daemon, port));
    assert_eq!(python(&daemon.folder, &script, &[&port.to_string(), &worker]), "hello\n");
}

#[test]
fn a_program_behind_tls_may_send_descriptors_among_its_bytes() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let (program, flag) = (folder.write("program", PROGRAM), folder.name("flag"));
    let program = format!("python3 python3 {} {flag}", program.display());
    let text = behind_tls(&folder, port, &program, "");
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let (script, worker) = ([STOPPING, TELLING].concat(), worker_behind(&daemon, port));
    assert_eq!(python(&daemon.folder, &script, &[&port.to_string(), &worker, &flag]), "ab!cd\n");
}
