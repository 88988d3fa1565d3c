//! What the service manager is told: a unix socket of the test is the manager.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::common::clients::{echo_once, try_tcp};
use crate::common::control::upgrade;
use crate::common::daemon::{as_pid, command};
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, own_line, procs, read_all, tcp,
    wait_until,
};
use crate::loading::{hang, reader_of, with_include};

/// Who is told.
struct Manager {
    socket: UnixDatagram,
    address: String,
    _folder: Folder,
}

impl Manager {
    /// With a socket in a folder.
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.at("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::with(socket, path.display().to_string(), folder)
    }

    fn with(socket: UnixDatagram, address: String, folder: Folder) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, address, _folder: folder }
    }

    /// A daemon that tells this manager how it is.
    fn setup(&self) -> Setup {
        Setup::new().env("NOTIFY_SOCKET", &self.address)
    }

    /// The next message, as its lines.
    #[track_caller]
    fn next(&self) -> Message {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        Message(text.lines().map(str::to_owned).collect())
    }

    /// Throws messages away until one has this line.
    #[track_caller]
    fn wait(&self, line: &str) -> Message {
        loop {
            let message = self.next();
            if message.0.iter().any(|own| own == line) {
                return message;
            }
        }
    }
}

#[derive(Debug)]
struct Message(Vec<String>);

impl Message {
    #[track_caller]
    fn get(&self, name: &str) -> &str {
        let value = self.0.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

fn echo(port: u16) -> String {
    own_line(port, "/bin/cat cat")
}

#[test]
fn ready_comes_when_every_socket_is_bound() {
    let manager = Manager::new();
    let ports = free_ports(40);
    let text: String = ports.iter().map(|port| echo(*port)).collect();
    let folder = Folder::new();
    let file = folder.write("inetd.conf", &text);
    let mut command = command(&[]);
    command.arg(file).env("NOTIFY_SOCKET", &manager.address);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let message = manager.next();
    let refused = ports
        .iter()
        .filter(|port| try_tcp((std::net::Ipv4Addr::LOCALHOST, **port).into()).is_err());
    let refused = refused.count();
    let pid = child.id().to_string();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(refused, 0, "sockets that were not bound");
    assert_eq!(message.get("READY"), "1");
    assert_eq!(message.get("STATUS"), "Serving 40 services, 0 programs running");
    assert_eq!(message.get("MAINPID"), pid);
}

#[test]
fn a_manager_may_have_an_abstract_address() {
    let name = format!("oxinetd-tests-notify-{}", free_port());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let manager = Manager::with(socket, format!("@{name}"), Folder::new());
    let daemon = manager.setup().start(&echo(free_port()));
    assert_eq!(manager.next().get("MAINPID"), daemon.pid().to_string());
}

#[test]
fn a_daemon_in_the_background_is_the_main_process() {
    let manager = Manager::new();
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.write("inetd.conf", &echo(port));
    let mut command = command(&[]);
    command.arg(file).arg("--daemon").env("NOTIFY_SOCKET", &manager.address);
    command.env("WATCHDOG_USEC", "20000");
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let pid: u32 = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let message = manager.next();
    assert_eq!((message.get("READY"), message.get("MAINPID")), ("1", pid.to_string().as_str()));
    let _ = manager.wait("WATCHDOG=1");
    kill(as_pid(pid), Signal::SIGTERM).unwrap();
    let _ = manager.wait("STOPPING=1");
    wait_until("the daemon to end", || !procs::is_alive(pid));
}

#[test]
fn a_stop_is_announced_even_if_nothing_is_served_yet() {
    let manager = Manager::new();
    let folder = Folder::new();
    hang(&folder);
    let begun = |daemon: &Daemon| {
        let _pipe = reader_of(&daemon.folder);
        daemon.signal(Signal::SIGTERM);
        assert_eq!(manager.next().get("STOPPING"), "1");
    };
    let mut daemon = manager.setup().begin_in(folder, &with_include(free_port()), &begun);
    assert!(daemon.wait_exit().success());
}

/// The clock of MONOTONIC_USEC, in microseconds.
fn monotonic() -> u128 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(now).as_micros()
}

#[test]
fn a_reload_is_announced_and_then_done_whether_it_was_refused_or_not() {
    let manager = Manager::new();
    let ports = free_ports(2);
    let daemon = manager.setup().start(&echo(ports[0]));
    let _ = manager.wait("READY=1");
    for (text, status) in [
        (echo(ports[0]) + &echo(ports[1]), "Serving 2 services, 0 programs running"),
        (
            "this is wrong\n".to_owned(),
            "Serving 2 services, 0 programs running; reload refused, 1 error",
        ),
        (echo(ports[1]), "Serving 1 service, 0 programs running"),
    ] {
        let before = monotonic();
        daemon.rewrite(&text);
        let begins = manager.next();
        assert_eq!(begins.get("RELOADING"), "1");
        let when: u128 = begins.get("MONOTONIC_USEC").parse().unwrap();
        assert!(before <= when && when <= monotonic(), "{when} is not now");
        let over = manager.next();
        assert_eq!((over.get("READY"), over.get("STATUS")), ("1", status));
    }
}

#[test]
fn an_upgrade_is_announced_as_a_reload_is() {
    let manager = Manager::new();
    let port = free_port();
    let setup = manager.setup().controlled().copied().env("WATCHDOG_USEC", "60000000");
    let daemon = setup.start(&echo(port));
    let pid = daemon.pid().to_string();
    let _ = manager.wait("READY=1");
    let refused = ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nexec nothing\n"];
    upgrade(&daemon);
    assert_eq!(manager.next().get("RELOADING"), "1");
    let over = manager.next();
    assert_eq!((over.get("READY"), over.get("MAINPID")), ("1", pid.as_str()));
    // Half of the watchdog's time may have gone since the last one, and the next is due in half.
    assert_eq!(over.get("WATCHDOG"), "1");
    for script in refused {
        daemon.replace(script, 0o755);
        // Nothing was stopped for that, so nothing is said of it.
        assert!(!daemon.ask(&["upgrade"]).status.success());
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(manager.next().get("STOPPING"), "1");
}

#[test]
fn the_end_is_announced() {
    let manager = Manager::new();
    let mut daemon = manager.setup().start(&echo(free_port()));
    let _ = manager.wait("READY=1");
    daemon.stop();
    assert_eq!(manager.next().get("STOPPING"), "1");
}

#[test]
fn a_watchdog_gets_signs_of_life_with_a_status() {
    let manager = Manager::new();
    let port = free_port();
    let _daemon = manager.setup().env("WATCHDOG_USEC", "20000").start(&echo(port));
    for _ in 0..3 {
        let _ = manager.wait("WATCHDOG=1");
    }
    let client = tcp(port);
    assert_eq!(echo_once(&client, "?"), "?");
    let _ = manager.wait("STATUS=Serving 1 service, 1 program running");
    drop(client);
    let _ = manager.wait("STATUS=Serving 1 service, 0 programs running");
}

#[test]
fn the_watchdog_of_another_process_gets_nothing() {
    let manager = Manager::new();
    let port = free_port();
    let setup = manager.setup().env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let mut daemon = setup.start(&echo(port));
    for _ in 0..20 {
        assert_eq!(read_all(&shut(port)), "");
    }
    daemon.stop();
    let (first, last) = (manager.next(), manager.next());
    assert_eq!((first.get("READY"), last.get("STOPPING")), ("1", "1"));
}

/// A connection that has said everything.
fn shut(port: u16) -> std::net::TcpStream {
    let client = tcp(port);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    client
}

#[test]
fn a_manager_that_is_not_there_harms_nobody() {
    for address in ["/nonexistent/notify", "@oxinetd-tests-nobody", "nonsense", "vsock:2:1234"] {
        let port = free_port();
        let setup = Setup::new().env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", "1000");
        let mut daemon = setup.start(&echo(port));
        assert_eq!(echo_once(tcp(port), "served"), "served", "{address}");
        daemon.stop();
        daemon.said_times(1, "trouble");
    }
}

#[test]
fn a_manager_that_does_not_listen_hears_it_later() {
    let manager = Manager::new();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"FILLER=1", &manager.address).is_ok() {}
    let port = free_port();
    let daemon = manager.setup().start(&echo(port));
    assert_eq!(echo_once(tcp(port), "served"), "served");
    assert_eq!(manager.wait("READY=1").get("MAINPID"), daemon.pid().to_string());
}

/// Everything that is between a manager and the server.
const PRIVATE: [(&str, &str); 6] = [
    ("LISTEN_PID", "1"),
    ("LISTEN_FDS", "1"),
    ("LISTEN_FDNAMES", "name"),
    ("WATCHDOG_USEC", "60000000"),
    ("WATCHDOG_PID", "1"),
    ("NOTIFY_SOCKET", "@oxinetd-tests-nobody"),
];

fn with_private(setup: Setup) -> Setup {
    PRIVATE.iter().fold(setup, |setup, (name, value)| setup.env(name, value))
}

#[track_caller]
fn has_nothing_private(environment: &str) {
    assert!(environment.contains("PATH="), "{environment}");
    for (name, _) in PRIVATE {
        assert!(!environment.contains(name), "{name} in {environment}");
    }
}

#[test]
fn a_program_sees_nothing_of_the_manager_even_if_it_asks() {
    let ports = free_ports(2);
    let names = PRIVATE.map(|(name, _)| name).join(" ");
    let text = own_line(ports[0], "/usr/bin/env env") + &format!("    passenv = {names}\n");
    let text = text + &own_line(ports[1], "/usr/bin/env env") + "    passenv = *\n";
    let _daemon = with_private(Setup::new()).start(&text);
    has_nothing_private(&read_all(tcp(ports[0])));
    has_nothing_private(&read_all(tcp(ports[1])));
    let port = free_port().to_string();
    let run = ["run", &port, "--", "env"];
    let _daemon = with_private(Setup::new()).run(&run);
    has_nothing_private(&read_all(tcp(port.parse().unwrap())));
}

#[test]
fn a_server_that_ends_because_nobody_comes_says_that_it_stops() {
    let manager = Manager::new();
    let port = free_port();
    let mut daemon = manager.setup().arg("--idle-exit").arg("200ms").start(&echo(port));
    let _ = manager.wait("STOPPING=1");
    assert!(daemon.wait_exit().success());
}
