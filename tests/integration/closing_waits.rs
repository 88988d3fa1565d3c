//! Closing a connection may wait for its client, for as long as whoever has had it has said
//! (SO_LINGER): it holds up neither the server nor a worker.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;

use nix::libc::linger;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

use crate::common::tls::{behind_tls, python, site};
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, me, need_program, read_line, shell,
    tcp, tcp_line, wait_until,
};
use crate::upgrading::descriptor_of;
use crate::urgent::while_stopped;

/// One that every user may execute.
const PYTHON: &str = "/usr/bin/python3";

/// Fills a connection that nobody reads, so that closing it waits.
const FULL: &str = r"
import os, socket, struct, sys
def fill(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 600))
    s.setblocking(False)
    try:
        while True: s.send(b'x' * 65536)
    except BlockingIOError: pass
";

/// A service whose program does so with its client's, and ends.
fn waits_at_its_end(folder: &Folder, port: u16, more: &str) -> String {
    let script = format!("{FULL}fill(socket.socket(fileno=os.dup(1)))\n");
    let script = folder.write("fills.py", &script);
    let user = me();
    let line = format!("127.0.0.1:{port} stream tcp nowait {user} {PYTHON} python3");
    format!("{line} {}\n{more}", script.display())
}

/// A service answers.
#[track_caller]
fn serves(port: u16) {
    assert_eq!(read_line(&tcp(port)), "here\n");
}

#[test]
fn a_program_that_would_wait_for_a_client_who_reads_nothing_holds_nobody_up() {
    if !need_program(PYTHON) {
        return;
    }
    // A copy is kept to close it well, or to see what moves, or not at all.
    let kinds = ["", "    linger = no\n    idle_timeout = 1h\n", "    linger = no\n"];
    let (ports, folder) = (free_ports(4), Folder::new());
    let mut text = tcp_line(ports[3], &shell("echo here"));
    for (port, more) in ports.iter().zip(kinds) {
        text += &waits_at_its_end(&folder, *port, more);
    }
    let daemon = Setup::new().start_in(folder, &text);
    let clients: Vec<TcpStream> = ports[..3].iter().map(|port| tcp(*port)).collect();
    for (port, client) in ports.iter().zip(&clients) {
        let _ = daemon.wait_log(|line| line.about("ended", *port));
        serves(ports[3]);
        wait_until("the server to have closed", || !descriptor_of(&daemon, client));
        serves(ports[3]);
    }
    drop(clients);
}

/// A connection on which closing waits ten minutes, and its client who reads nothing.
fn full_connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut full, _) = listener.accept().unwrap();
    setsockopt(&full, sockopt::Linger, &linger { l_onoff: 1, l_linger: 600 }).unwrap();
    full.set_nonblocking(true).unwrap();
    loop {
        match full.write(&[b'x'; 65536]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (full, client),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sends a byte, so many times, and with each the last descriptor of such a connection. Whoever
/// is to read that is held up meanwhile: closing ours would wait if it were the last.
fn send_along(daemon: &Daemon, to: RawFd, times: usize) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    while_stopped(daemon.pid(), || {
        for _ in 0..times {
            let (full, client) = full_connection();
            let rights = [full.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&rights)];
            let sent = sendmsg::<()>(to, &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None);
            assert_eq!(sent, Ok(1));
            clients.push(client);
        }
    });
    clients
}

struct Scene {
    daemon: Daemon,
    port: u16,
    path: PathBuf,
}

/// A service on a unix socket, of which `words` are told after its path, beside another one.
fn on_unix_socket(words: &str, more: &str) -> Scene {
    let (folder, port) = (Folder::new(), free_port());
    let path = folder.open_folder("sockets").join("here");
    let text = tcp_line(port, &shell("echo here"))
        + &format!("{} {words}\n    socket_mode = 0666\n{more}", path.display());
    let daemon = Setup::new().start_in(folder, &text);
    Scene { daemon, port, path }
}

#[test]
fn what_somebody_sends_along_holds_no_service_of_the_servers_own_up() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = format!("    redirect = 127.0.0.1 {}\n", target.local_addr().unwrap().port());
    for (words, more) in [("- internal echo", ""), ("- internal", relay.as_str())] {
        let scene = on_unix_socket(&format!("stream unix nowait {words}"), more);
        let mut client = UnixStream::connect(&scene.path).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let _readers = send_along(&scene.daemon, client.as_raw_fd(), 3);
        let mut bytes = [0; 3];
        if more.is_empty() {
            client.read_exact(&mut bytes).unwrap();
        } else {
            target.accept().unwrap().0.read_exact(&mut bytes).unwrap();
        }
        assert_eq!(&bytes, b"xxx");
        serves(scene.port);
    }
}

#[test]
fn what_comes_along_with_a_datagram_holds_nobody_up() {
    let scene = on_unix_socket("dgram unix wait - internal echo", "");
    let client = UnixDatagram::unbound().unwrap();
    client.connect(&scene.path).unwrap();
    for _ in 0..4 {
        let _readers = send_along(&scene.daemon, client.as_raw_fd(), 1);
        serves(scene.port);
    }
}

#[test]
fn what_a_client_of_a_program_that_reads_nothing_has_sent_along_holds_nobody_up() {
    let script = "/bin/bash bash -c 'until read -t 0; do sleep 0.01; done; echo here'";
    let scene = on_unix_socket(&format!("stream unix nowait {} {script}", me()), "");
    let client = UnixStream::connect(&scene.path).unwrap();
    let _readers = send_along(&scene.daemon, client.as_raw_fd(), 3);
    assert_eq!(read_line(&client), "here\n");
    let _ = scene.daemon.wait_log(|line| line.is("ended"));
    serves(scene.port);
}

#[test]
fn what_a_program_sends_along_to_its_worker_holds_up_no_other_service_of_that() {
    let Some(folder) = site(&["python3", PYTHON]) else { return };
    let (ports, signs) = (free_ports(2), folder.open_folder("signs"));
    let script = format!(
        "{FULL}
import time
l = socket.create_server(('127.0.0.1', 0))
c = socket.create_connection(l.getsockname())
s, _ = l.accept()
fill(s)
while not os.path.exists(sys.argv[1] + '/go'): time.sleep(0.01)
socket.send_fds(socket.socket(fileno=os.dup(1)), [b'x'], [s.fileno()])
s.close()
open(sys.argv[1] + '/done', 'w').close()
sys.stdin.read()
"
    );
    let script = folder.write("sends.py", &script);
    let program = format!("{PYTHON} python3 {} {}", script.display(), signs.display());
    let text = behind_tls(&folder, ports[0], &program, "")
        + &behind_tls(&folder, ports[1], "/bin/cat cat", "");
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    // The worker is held up until the program has closed it: else closing would wait there.
    let script = r"
import signal, subprocess
server, signs = sys.argv[3], sys.argv[4]
first, second = connect(sys.argv[1]), connect(sys.argv[2])
said = subprocess.run(['ps', '-o', 'pid=,args=', '--ppid', server], capture_output=True, text=True)
# There may be a spare one.
workers = [int(it.split()[0]) for it in said.stdout.splitlines() if it.split()[-1] == 'front-worker']
for it in workers:
    os.kill(it, signal.SIGSTOP)
    while open(f'/proc/{it}/stat').read().rsplit(')', 1)[1].split()[0] != 'T': time.sleep(0.01)
open(signs + '/go', 'w').close()
deadline = time.monotonic() + 50
while not os.path.exists(signs + '/done'): assert time.monotonic() < deadline; time.sleep(0.01)
for it in workers: os.kill(it, signal.SIGCONT)
assert first.recv(9) == b'x'
second.sendall(b'y'); assert second.recv(9) == b'y'
print('good')
";
    let numbers = [ports[0].to_string(), ports[1].to_string(), daemon.pid().to_string()];
    let signs = signs.display().to_string();
    let said = python(&daemon.folder, script, &[&numbers[0], &numbers[1], &numbers[2], &signs]);
    assert_eq!(said.trim(), "good");
}
