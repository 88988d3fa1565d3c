//! Workers that hang: whoever they had is told, and others are served again.

use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

use crate::common::control::status;
use crate::common::daemon::{BINARY, as_pid};
use crate::common::tls::{behind_tls, python, site};
use crate::common::{Setup, free_port, free_ports, procs, tcp_line, wait_until};

/// Has a client, stops its worker, and waits until that is over.
const STOPPING: &str = r"
import signal
port, plain, worker = (int(it) for it in sys.argv[1:4])
def comes():
    it = connect(port)
    it.sendall(b'x'); assert it.recv(1) == b'x'
    return it
first = comes()
os.kill(worker, signal.SIGSTOP)
deadline = time.monotonic() + 150
# Those who come meanwhile have their time, or are told of its end.
def is_served():
    try: return comes()
    except OSError: return None
again = None
while again is None:
    assert time.monotonic() < deadline, 'nobody is served'
    assert read_all(socket.create_connection(('127.0.0.1', plain), timeout=50)) == b'here\n'
    again = is_served()
first.settimeout(50)
try: assert first.recv(1) == b''
except OSError: pass
again.sendall(b'y'); assert again.recv(1) == b'y'
print('good')
";

#[test]
fn a_worker_that_hangs_is_ended_and_replaced_and_its_clients_are_told() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let text = behind_tls(&folder, ports[0], "/bin/cat cat", "")
        + &tcp_line(ports[1], "/bin/echo echo here");
    let setup = Setup::new().controlled().arg("--front-workers").arg("1");
    let daemon = setup.start_in(folder, &text);
    // It is there when somebody has come.
    let comes = "it = connect(sys.argv[1]); it.sendall(b'x'); print(it.recv(1) == b'x')";
    let [tls, plain] = [ports[0], ports[1]].map(|port| port.to_string());
    assert_eq!(python(&daemon.folder, comes, &[&tls]).trim(), "True");
    let worker = *procs::front_workers(daemon.pid()).first().unwrap();
    let words = [tls.as_str(), plain.as_str(), &worker.to_string()];
    assert_eq!(python(&daemon.folder, STOPPING, &words).trim(), "good");
    let died = daemon.wait_log(|line| line.is("worker-died"));
    assert_eq!((died.number("pid"), died.get("signal")), (Some(worker), Some("SIGKILL")));
    assert!(died.get("error").is_some_and(|it| it.contains("not answered")), "{}", died.raw);
    // Of the first client the log says its end, too.
    daemon.wait_count(2, |line| line.about("ended", ports[0]));
    assert_eq!(daemon.said("worker-died").len(), 1);
    assert_eq!(status(&daemon, None)["front_worker_deaths"], 1);
}

/// The same, but for who comes meanwhile: he does not wait until that is over.
const MEANWHILE: &str = r"
import signal
port, worker = int(sys.argv[1]), int(sys.argv[2])
def state(pid): return open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[0]
def comes(patience=50):
    plain = socket.create_connection(('127.0.0.1', port), timeout=patience)
    it = context().wrap_socket(plain)
    it.sendall(b'x'); assert it.recv(1) == b'x'
    it.settimeout(50)
    return it
first = comes()
os.kill(worker, signal.SIGSTOP)
deadline = time.monotonic() + 100
while True:
    assert time.monotonic() < deadline, 'nobody is served'
    # The one that hangs says nothing to those that it has.
    try: again = comes(3); break
    except OSError: pass
assert state(worker) == 'T', 'it is still there'
# And it may go on with whom it has.
os.kill(worker, signal.SIGCONT)
first.sendall(b'y'); assert first.recv(1) == b'y'
again.sendall(b'z'); assert again.recv(1) == b'z'
for it in (first, again): it.unwrap()
print('good')
";

#[test]
fn who_comes_while_a_worker_hangs_is_given_to_another_one() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "    tls_timeout = 1s\n");
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let comes = "it = connect(sys.argv[1]); it.sendall(b'x'); print(it.recv(1) == b'x')";
    let port = port.to_string();
    assert_eq!(python(&daemon.folder, comes, &[&port]).trim(), "True");
    let worker = *procs::front_workers(daemon.pid()).first().unwrap();
    let said = python(&daemon.folder, MEANWHILE, &[&port, &worker.to_string()]);
    assert_eq!(said.trim(), "good");
    // Where both answer, one of them is enough.
    wait_until("one to be left", || procs::front_workers(daemon.pid()).len() == 1);
    assert!(daemon.said("worker-died").is_empty(), "{}", daemon.log.text());
}

#[test]
fn a_worker_that_is_stopped_goes_with_its_server() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
    let mut daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let comes = "it = connect(sys.argv[1]); it.sendall(b'x'); print(it.recv(1) == b'x')";
    assert_eq!(python(&daemon.folder, comes, &[&port.to_string()]).trim(), "True");
    let worker = *procs::front_workers(daemon.pid()).first().unwrap();
    kill(as_pid(worker), Signal::SIGSTOP).unwrap();
    wait_until("it to be stopped", || procs::state(worker) == Some('T'));
    daemon.stop();
    wait_until("it to be gone", || !procs::is_alive(worker));
}

/// As the server speaks to it, over what is its standard input.
#[test]
fn a_worker_says_that_it_is_there_when_it_is_asked_and_ends_with_the_server() {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    setsockopt(&ours, sockopt::ReceiveTimeout, &TimeVal::new(30, 0)).unwrap();
    let mut worker = Command::new(BINARY);
    worker.arg("front-worker").stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = worker.spawn().unwrap();
    // The command has a copy of its end.
    drop(worker);
    for _ in 0..2 {
        send(ours.as_raw_fd(), &[4], MsgFlags::empty()).unwrap();
        let mut answer = [0; 8];
        let length = recv(ours.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
        assert_eq!(answer[..length], [1, 4]);
    }
    drop(ours);
    assert!(running.wait().unwrap().success());
}
