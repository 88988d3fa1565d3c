//! What programs of `wait` services leave behind at the addresses of their sockets: it is
//! found, told and ended, and the next client is served.

use std::io::Read as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use crate::common::clients::{ask_until_answered, udp_ask};
use crate::common::control::upgrade;
use crate::common::needs::kernel_lacks;
use crate::common::{
    Daemon, Folder, Setup, free_port, is_root, me, need_ipv6, need_program, procs, tcp, udp,
    wait_for, wait_until,
};

/// One that every user may execute.
const PYTHON: &str = "/usr/bin/python3";

/// Serves one client, does something, and leaves a process behind that keeps what it says.
fn leaves(before: &str, behind: &str) -> String {
    format!(
        "import os, signal, socket, sys, time\n\
         s = socket.socket(fileno=os.dup(0))\n\
         data, peer = s.recvfrom(100)\n\
         {before}\n\
         s.sendto(data.upper(), peer)\n\
         for n in (1, 15): signal.signal(n, signal.SIG_IGN)\n\
         if os.fork() == 0:\n\
         \x20   {behind}\n\
         \x20   print('behind', os.getpid(), file=sys.stderr, flush=True)\n\
         \x20   for n in (0, 1): os.close(n)\n\
         \x20   time.sleep(60)\n"
    )
}

/// A second socket beside the one that it has been given, which lets it in for a moment.
const BESIDE: &str = "\
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
t = socket.socket(s.family, s.type)
t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if s.family == socket.AF_INET6: t.setsockopt(41, 26, 1)
t.bind(s.getsockname())
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)";
/// What keeps no copy of the service's own socket.
const KEEPS_IT_ALONE: &str = "s.close()";
/// What is in no session of the program's any more.
const APART: &str = "os.setsid(); s.close()";
/// What binds when the program has been gone for a while.
const LATER: &str = "\
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); time.sleep(2.5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); \
t = socket.socket(s.family, s.type); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); \
t.bind(s.getsockname())";

/// As many descriptors as there may be.
const MANY: &str = "\
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))";
/// Sockets of the same port, at addresses that are nobody's.
const DECOYS: &str = "\
decoys = [socket.socket(s.family, s.type) for n in range(600)]
for n, d in enumerate(decoys): d.bind(('127.9.%d.%d' % divmod(n, 200), s.getsockname()[1]))";
/// Thousands of descriptors before the one that matters.
const FAR_AWAY: &str = "\
null = os.open('/dev/null', os.O_RDONLY)
    for n in range(4500): os.dup(null)
    far = os.dup(t.fileno()); t.close(); s.close()";
/// The first thread has nothing of it.
const IN_A_THREAD: &str = "\
import ctypes, threading
    ready = threading.Event()
    def hold():
        assert ctypes.CDLL(None).unshare(0x400) == 0
        ready.set()
        time.sleep(60)
    threading.Thread(target=hold).start(); ready.wait(); t.close(); s.close()";

fn somebody() -> &'static str {
    if is_root() { "nobody" } else { me() }
}

fn start(endpoint: &str, user: &str, script: &str) -> Daemon {
    let folder = Folder::new();
    let script = folder.write("leaves.py", script);
    let script = script.display();
    let line = format!("{endpoint} dgram udp wait {user} {PYTHON} python3 {script}\n");
    Setup::new().env("RUST_LOG", "debug").controlled().start_in(folder, &line)
}

/// Asks until it is answered, since what somebody else gets meanwhile is lost.
fn ask(port: u16, text: &str) {
    let client = udp(port);
    ask_until_answered(&client, text, Duration::from_millis(300));
}

/// The process that the first program has left behind.
fn behind(daemon: &Daemon) -> u32 {
    let is_it = |line: &crate::common::Line| {
        line.is("stderr") && line.get("line").is_some_and(|it| it.starts_with("behind"))
    };
    let said = daemon.wait_log(is_it);
    said.get("line").unwrap().split_once(' ').unwrap().1.parse().unwrap()
}

/// Whether this kernel does not tell who is at an address.
fn is_silent(daemon: &Daemon) -> bool {
    !daemon.said("sock_diag").is_empty() && !kernel_lacks("sock_diag of UDP")
}

/// What a program of a service leaves behind beside its socket is told of and ended, and the
/// service goes on.
#[track_caller]
fn thief_is_ended(before: &str, how: &str) {
    let port = free_port();
    let daemon = start(&format!("127.0.0.1:{port}"), somebody(), &leaves(before, how));
    // Once: whoever is slow would be asked twice, and leave somebody behind twice.
    let _ = udp_ask(&udp(port), "first");
    let thief = behind(&daemon);
    let said = daemon.wait_log(|line| line.is("occupied") || line.is("sock_diag"));
    if is_silent(&daemon) {
        return;
    }
    assert_eq!(said.number("pid"), Some(thief), "{}", said.raw);
    assert_eq!(said.get("signal"), Some("KILL"), "{}", said.raw);
    wait_until("the thief to end", || !procs::is_alive(thief));
    ask(port, "second");
}

#[test]
fn a_second_socket_beside_the_services_is_found_and_its_holder_ended() {
    if !need_program(PYTHON) {
        return;
    }
    for how in [KEEPS_IT_ALONE, LATER, APART] {
        if how == APART && !is_root() {
            continue;
        }
        thief_is_ended(if how == LATER { "" } else { BESIDE }, how);
    }
}

/// What it does so that it is not seen.
#[test]
fn one_that_hides_is_found_as_well() {
    if !need_program(PYTHON) || !may_have_descriptors(6000) {
        return;
    }
    let hidden = [
        (format!("{MANY}\n{BESIDE}\n{DECOYS}"), KEEPS_IT_ALONE),
        (format!("{MANY}\n{BESIDE}"), FAR_AWAY),
        (BESIDE.to_owned(), IN_A_THREAD),
    ];
    for (before, how) in hidden {
        thief_is_ended(&before, how);
    }
}

/// Whether a process here may have so many.
fn may_have_descriptors(most: u64) -> bool {
    use nix::sys::resource::{Resource, getrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    hard >= most || !kernel_lacks("that many descriptors for a process")
}

#[test]
fn the_same_over_ipv6_and_after_an_upgrade() {
    if !need_ipv6() || !need_program(PYTHON) || !is_root() {
        return;
    }
    let port = free_port();
    let line = format!("[::1]:{port}");
    let daemon = start(&line, "nobody", &leaves(BESIDE, KEEPS_IT_ALONE));
    let client = crate::common::clients::udp_to((std::net::Ipv6Addr::LOCALHOST, port).into());
    client.send(b"first").unwrap();
    let thief = behind(&daemon);
    upgrade(&daemon);
    let said = daemon.wait_log(|line| line.is("occupied") || line.is("sock_diag"));
    if !is_silent(&daemon) {
        assert_eq!(said.number("pid"), Some(thief), "{}", said.raw);
        wait_until("the thief to end", || !procs::is_alive(thief));
    }
}

/// Who has a right to be there is told of, and left alone.
#[test]
fn a_socket_of_somebody_else_is_told_of_and_left_alone() {
    if !need_program(PYTHON) || !is_root() {
        return;
    }
    let port = free_port();
    let others = "os.setsid(); os.setresgid(1, 1, 1); os.setresuid(1, 1, 1); s.close()";
    let daemon = start(&format!("127.0.0.1:{port}"), "root", &leaves(BESIDE, others));
    ask(port, "first");
    let other = behind(&daemon);
    let said = daemon.wait_log(|line| line.is("occupied") || line.is("sock_diag"));
    if !is_silent(&daemon) {
        assert_eq!(said.number("pid"), Some(other), "{}", said.raw);
        assert_eq!(said.get("signal"), None, "{}", said.raw);
        assert!(procs::is_alive(other));
    }
    nix::sys::signal::kill(crate::common::daemon::as_pid(other), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
}

/// What is left behind and harms nobody is not touched, and nothing is said of it.
#[test]
fn what_has_the_socket_and_does_nothing_with_it_goes_on() {
    if !need_program(PYTHON) {
        return;
    }
    let port = free_port();
    let daemon = start(&format!("127.0.0.1:{port}"), somebody(), &leaves("", "pass"));
    ask(port, "first");
    let first = behind(&daemon);
    ask(port, "second");
    std::thread::sleep(Duration::from_secs(4));
    assert!(procs::is_alive(first));
    assert_eq!(daemon.said("occupied").len(), 0, "{}", daemon.log.text());
    for line in daemon.said("stderr") {
        let pid = line.get("line").unwrap().split_once(' ').unwrap().1.parse().unwrap();
        let _ = nix::sys::signal::kill(
            crate::common::daemon::as_pid(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

/// A socket of another listener of the same user beside one that listens.
#[test]
fn the_same_beside_a_socket_that_listens() {
    if !need_program(PYTHON) {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let script = "import os, socket, sys, time\n\
        s = socket.socket(fileno=os.dup(0))\n\
        c, _ = s.accept(); c.sendall(b'SERVED'); c.close()\n\
        if not os.path.exists(sys.argv[1]):\n\
        \x20   open(sys.argv[1], 'w').close()\n\
        \x20   s.setsockopt(1, 15, 1)\n\
        \x20   t = socket.socket(); t.setsockopt(1, 2, 1); t.setsockopt(1, 15, 1)\n\
        \x20   t.bind(s.getsockname()); t.listen(); s.setsockopt(1, 15, 0)\n\
        \x20   if os.fork() == 0:\n\
        \x20       s.close(); os.close(0); os.close(1)\n\
        \x20       print('behind', os.getpid(), file=sys.stderr, flush=True)\n\
        \x20       time.sleep(60)\n";
    let mark = folder.name("mark");
    let script = folder.write("leaves.py", script);
    let line = format!(
        "127.0.0.1:{port} stream tcp wait {} {PYTHON} python3 {} {mark}\n",
        me(),
        script.display()
    );
    let daemon = Setup::new().env("RUST_LOG", "debug").start_in(folder, &line);
    let ask = || {
        let mut stream = tcp(port);
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        (answer == "SERVED").then_some(())
    };
    wait_for("an answer", ask);
    let thief = behind(&daemon);
    // Another program may have had the socket by the time that it is found.
    wait_for("an answer", ask);
    let said = daemon.wait_log(|line| line.is("occupied") || line.is("sock_diag"));
    if is_silent(&daemon) {
        return;
    }
    assert_eq!((said.number("pid"), said.get("signal")), (Some(thief), Some("KILL")));
    wait_for("an answer", ask);
}

/// A name that something left behind keeps, with a socket that is of no use any more.
#[test]
fn a_name_that_is_kept_is_freed() {
    if !need_program(PYTHON) {
        return;
    }
    let folder = Folder::new();
    let name = format!("oxinetd-test-kept-{}", std::process::id());
    let script = "import os, socket, sys, time\n\
        s = socket.socket(fileno=os.dup(0))\n\
        c, _ = s.accept(); c.sendall(b'SERVED'); c.close()\n\
        s.shutdown(2)\n\
        if os.fork() == 0:\n\
        \x20   print('behind', os.getpid(), file=sys.stderr, flush=True)\n\
        \x20   time.sleep(60)\n";
    let script = folder.write("keeps.py", script);
    let user = somebody();
    let line = format!("@{name} stream unix wait {user} {PYTHON} python3 {}\n", script.display());
    let daemon = Setup::new().start_in(folder, &line);
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let ask = || {
        let mut answer = String::new();
        let mut stream = UnixStream::connect_addr(&address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let _ = stream.read_to_string(&mut answer);
        (answer == "SERVED").then_some(())
    };
    wait_for("an answer", ask);
    let keeper = behind(&daemon);
    let said = daemon.wait_log(|line| line.is("not-listening"));
    assert!(said.get("error").unwrap().contains("ss -lxp"), "{}", said.raw);
    let said = daemon.wait_log(|line| line.is("occupied"));
    assert_eq!(said.number("pid"), Some(keeper), "{}", said.raw);
    assert_eq!(said.get("signal"), Some("KILL"), "{}", said.raw);
    wait_for("an answer", ask);
}
