//! Built-in services on unix datagram sockets: whom they answer, and with whose rights.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};

use std::os::linux::net::SocketAddrExt as _;

use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, sendmsg,
    setsockopt, sockopt,
};

use crate::common::control::status_of;
use crate::common::{DEADLINE, Daemon, Folder, Setup, need_program, need_root, wait_until};

/// The user and group of somebody else than root.
const NOBODY: u32 = 65_534;

/// Echo at `echo`, open to everybody, and chargen at `chargen`.
fn text(folder: &Folder) -> String {
    ["echo", "chargen"]
        .map(|name| {
            format!(
                "{} dgram unix wait - internal {name}\n    socket_mode = 0666\n",
                folder.name(name)
            )
        })
        .concat()
}

fn start() -> Daemon {
    let folder = Folder::new();
    let text = text(&folder);
    Setup::new().controlled().start_in(folder, &text)
}

fn bound(path: &Path) -> UnixDatagram {
    patient(UnixDatagram::bind(path).unwrap())
}

fn patient(socket: UnixDatagram) -> UnixDatagram {
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// A request and its answer.
#[track_caller]
fn ask(socket: &UnixDatagram, echo: &Path, request: &str) {
    socket.send_to(request.as_bytes(), echo).unwrap();
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], *request.as_bytes());
}

/// Sends as nobody: what the system tells of the sender is what it would tell of one.
fn send_as_nobody(socket: &UnixDatagram, echo: &Path, request: &[u8]) {
    let pid = nix::unistd::getpid().as_raw();
    let nobody = UnixCredentials::from(nix::libc::ucred { pid, uid: NOBODY, gid: NOBODY });
    let said = [ControlMessage::ScmCredentials(&nobody)];
    let to = UnixAddr::new(echo).unwrap();
    let parts = [IoSlice::new(request)];
    sendmsg(socket.as_raw_fd(), &parts, &said, MsgFlags::empty(), Some(&to)).unwrap();
}

/// What arrives, and as whose.
fn receive(socket: &UnixDatagram) -> (Vec<u8>, UnixCredentials) {
    let (mut buffer, mut room) = ([0; 256], cmsg_space!(UnixCredentials));
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::empty()).unwrap();
    let from = message.cmsgs().unwrap().find_map(|said| match said {
        ControlMessageOwned::ScmCredentials(from) => Some(from),
        _ => None,
    });
    let length = message.bytes;
    (buffer[..length].to_vec(), from.unwrap())
}

/// A socket that only root may send to.
fn of_root_alone(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

#[test]
fn who_runs_the_server_is_answered_by_path_and_by_name() {
    let daemon = start();
    let echo = daemon.folder.at("echo");
    for round in 0..3 {
        ask(&bound(&daemon.folder.at(&format!("me-{round}"))), &echo, "hello");
    }
    let name = format!("oxinetd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let socket = patient(UnixDatagram::bind_addr(&address).unwrap());
    ask(&socket, &echo, "abstract");
    // A client that is connected takes answers from the one it has asked alone.
    let socket = bound(&daemon.folder.at("connected"));
    socket.connect(&echo).unwrap();
    ask(&socket, &echo, "connected");
    // Without a name there is no answer, and no harm.
    UnixDatagram::unbound().unwrap().send_to(b"x", &echo).unwrap();
    ask(&socket, &echo, "still there");
}

#[test]
fn no_datagram_goes_round_in_the_server() {
    let daemon = start();
    let (echo, chargen) = (daemon.folder.at("echo"), daemon.folder.at("chargen"));
    for own in [&echo, &chargen] {
        let path = daemon.folder.at("mine");
        let socket = UnixDatagram::bind(&path).unwrap();
        daemon.signal(Signal::SIGSTOP);
        socket.send_to(b"round and round", &echo).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(own, &path).unwrap();
        daemon.signal(Signal::SIGCONT);
        fs::remove_file(&path).ok();
    }
    let socket = bound(&daemon.folder.at("honest"));
    for _ in 0..500 {
        ask(&socket, &echo, "honest");
    }
    let answered = |name: &Path| status_of(&daemon, name.to_str().unwrap())["accepted"].as_u64();
    let answered = (answered(&echo).unwrap(), answered(&chargen).unwrap());
    assert!(answered.0 <= 502 && answered.1 <= 1, "{answered:?}");
}

#[test]
fn an_answer_does_not_go_where_its_asker_may_not() {
    if !need_root() {
        return;
    }
    let daemon = start();
    let folder = daemon.folder.open_folder("theirs");
    let echo = daemon.folder.at("echo");
    let (victim, path) = (daemon.folder.at("victim"), folder.join("socket"));
    let secret = of_root_alone(&victim);
    let swaps: [(&str, &dyn Fn()); 4] = [
        ("a link", &|| symlink(&victim, &path).unwrap()),
        ("another name of it", &|| fs::hard_link(&victim, &path).unwrap()),
        ("a link to a link", &|| {
            symlink(&victim, folder.join("between")).unwrap();
            symlink(folder.join("between"), &path).unwrap();
        }),
        ("a file", &|| fs::write(&path, "").unwrap()),
    ];
    for (what, swap) in swaps {
        let socket = UnixDatagram::bind(&path).unwrap();
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        // It waits until something else is there.
        daemon.signal(Signal::SIGSTOP);
        send_as_nobody(&socket, &echo, b"gotcha");
        fs::remove_file(&path).unwrap();
        swap();
        daemon.signal(Signal::SIGCONT);
        ask(&bound(&daemon.folder.at("me")), &echo, "after it");
        fs::remove_file(daemon.folder.at("me")).unwrap();
        assert!(secret.recv(&mut [0; 16]).is_err(), "it went to root's socket by {what}");
        fs::remove_file(&path).unwrap();
    }
    // A directory on the way may be swapped as well.
    let inner = folder.join("inner");
    fs::create_dir(&inner).unwrap();
    let socket = UnixDatagram::bind(inner.join("victim")).unwrap();
    chown(inner.join("victim"), Some(NOBODY), Some(NOBODY)).unwrap();
    daemon.signal(Signal::SIGSTOP);
    send_as_nobody(&socket, &echo, b"gotcha");
    fs::rename(&inner, folder.join("away")).unwrap();
    symlink(daemon.folder.path(), &inner).unwrap();
    daemon.signal(Signal::SIGCONT);
    ask(&bound(&daemon.folder.at("me")), &echo, "after it");
    assert!(secret.recv(&mut [0; 16]).is_err(), "it went to root's socket by a directory");
}

#[test]
fn whoever_is_not_root_is_answered_with_no_credentials_of_root() {
    if !need_root() {
        return;
    }
    let daemon = start();
    let echo = daemon.folder.at("echo");
    let path = daemon.folder.at("theirs");
    let socket = bound(&path);
    setsockopt(&socket, sockopt::PassCred, &true).unwrap();
    let name = format!("oxinetd-test-of-nobody-{}", std::process::id());
    let other =
        patient(UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap());
    setsockopt(&other, sockopt::PassCred, &true).unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    for socket in [&socket, &other] {
        send_as_nobody(socket, &echo, b"who are you?");
        let (bytes, from) = receive(socket);
        assert_eq!(bytes, b"who are you?");
        assert_eq!((from.uid(), from.gid()), (NOBODY, NOBODY));
        assert_eq!(u32::try_from(from.pid()).unwrap(), daemon.pid());
        // Root is answered as root.
        socket.send_to(b"and now?", &echo).unwrap();
        assert_eq!(receive(socket).1.uid(), 0);
    }
}

#[test]
fn another_user_is_answered_at_a_socket_of_its_own() {
    if !need_root() || !need_program("setpriv") || !need_program("socat") {
        return;
    }
    let daemon = start();
    let folder = daemon.folder.open_folder("theirs");
    let (echo, path) = (daemon.folder.name("echo"), folder.join("socket"));
    let mut client = Command::new("timeout")
        .args(["60", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "socat", "-"])
        .arg(format!("UNIX-SENDTO:{echo},bind={},unlink-close=1", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(client.stdin.as_mut().unwrap(), b"as nobody\n").unwrap();
    assert_eq!(crate::common::read_line(client.stdout.take().unwrap()), "as nobody\n");
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn a_server_of_somebody_answers_others_where_the_socket_is_theirs() {
    if !need_root() || !need_program("setpriv") {
        return;
    }
    let folder = Folder::new();
    let open = folder.open_folder("open");
    let echo = open.join("echo");
    let line =
        format!("{} dgram unix wait - internal echo\n    socket_mode = 0666\n", echo.display());
    let user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"];
    let daemon = Setup::new().under(&user).start_in(folder, &line);
    let (path, victim) = (open.join("socket"), open.join("victim"));
    let theirs = bound(&path);
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    send_as_nobody(&theirs, &echo, b"hello");
    assert_eq!(theirs.recv(&mut [0; 16]).unwrap(), 5);
    // But with the rights of the server's user nothing is sent to what is its user's alone.
    let secret = of_root_alone(&victim);
    chown(&victim, Some(54_321), Some(54_321)).unwrap();
    daemon.signal(Signal::SIGSTOP);
    send_as_nobody(&theirs, &echo, b"gotcha");
    fs::rename(&path, open.join("away")).unwrap();
    symlink(&victim, &path).unwrap();
    daemon.signal(Signal::SIGCONT);
    let honest = bound(&open.join("honest"));
    fs::set_permissions(open.join("honest"), fs::Permissions::from_mode(0o666)).unwrap();
    ask(&honest, &echo, "root is answered");
    assert!(secret.recv(&mut [0; 16]).is_err());
}

#[test]
fn a_reload_that_puts_a_service_of_ours_in_the_place_of_a_program_knows_who_asks() {
    let folder = Folder::new();
    let path = folder.name("both");
    let program =
        format!("{path} dgram unix wait {} /bin/sh sh -c 'head -c 1'\n", crate::common::me());
    let daemon = Setup::new().controlled().start_in(folder, &program);
    let _ = daemon.reload(&format!("{path} dgram unix wait - internal echo\n"));
    let socket = bound(&daemon.folder.at("me"));
    let mut answer = [0; 8];
    socket.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    // What comes before the first look at the socket is lost at worst.
    wait_until("an answer", || {
        socket.send_to(b"hello", &path).unwrap();
        socket.recv(&mut answer).is_ok()
    });
    let socket = bound(&daemon.folder.at("again"));
    crate::common::control::upgrade(&daemon);
    ask(&socket, Path::new(&path), "after an upgrade");
}
