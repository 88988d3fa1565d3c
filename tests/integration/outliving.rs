//! What of a running session goes on when its server ends, in whichever way, and what a
//! server before it leaves to the next.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::common::clients::{echo_once, try_tcp};
use crate::common::daemon::command;
use crate::common::process::Process;
use crate::common::procs::{is_alive, leads_session};
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, me, own_line, read_line, shell, tcp,
    udp, wait_for, wait_until,
};

/// Repeats what it is told, on standard error first.
const REPEATS: &str = "while read x; do echo \"$x\" >&2; echo \"said $x\"; done";

/// Tells a program something, and has its answer.
#[track_caller]
fn told(client: &mut TcpStream, word: &str) -> String {
    client.write_all(format!("{word}\n").as_bytes()).unwrap();
    read_line(client)
}

/// The same with a program that repeats, which has to live for it.
#[track_caller]
fn said(client: &mut TcpStream, word: &str) {
    assert_eq!(told(client, word), format!("said {word}\n"));
}

fn links(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
}

/// Who reads what these programs write, `oxinetd read-stderr`, if somebody does.
fn readers_of(programs: &[u32]) -> BTreeSet<u32> {
    let stderr = |pid: &u32| fs::read_link(format!("/proc/{pid}/fd/2")).ok();
    let pipes: Vec<PathBuf> = programs.iter().filter_map(stderr).collect();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let reads = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == b"oxinetd\0read-stderr\0" && links(*pid).iter().any(|it| pipes.contains(it))
    };
    pids.filter(reads).collect()
}

/// The one; it may be on its way to be called like that.
#[track_caller]
fn reader_of(programs: &[u32]) -> u32 {
    let found = wait_for("a reader", || Some(readers_of(programs)).filter(|it| !it.is_empty()));
    assert_eq!(found.len(), 1, "{found:?} read for {programs:?}");
    *found.first().unwrap()
}

#[test]
fn a_program_may_write_to_standard_error_after_its_server_has_stopped() {
    let port = free_port();
    let mut daemon = Daemon::start(&own_line(port, &shell(REPEATS)));
    let mut client = tcp(port);
    said(&mut client, "before");
    let program = daemon.accepted(port, 1);
    daemon.stop();
    let reader = reader_of(&program);
    said(&mut client, "after");
    said(&mut client, "again");
    // It is by itself, has the pipe, and nothing that a next server could miss.
    assert!(leads_session(reader));
    assert_eq!(fs::read_link(format!("/proc/{reader}/cwd")).unwrap(), Path::new("/"));
    let known = ["/dev/null", "pipe:", "anon_inode:[eventpoll]", "socket:"];
    let is_known = |link: &PathBuf| known.iter().any(|it| link.to_str().unwrap().starts_with(it));
    wait_until("what it is told to be closed", || links(reader).iter().all(is_known));
    let is_pipe = |link: &&PathBuf| link.to_str().unwrap().starts_with("pipe:");
    assert_eq!(links(reader).iter().filter(is_pipe).count(), 1);
    drop(client);
    wait_until("the reader to end", || !is_alive(reader));
}

#[test]
fn so_it_may_when_the_server_has_used_up_its_descriptors() {
    let ports = free_ports(2);
    let text = own_line(ports[0], &shell(REPEATS)) + &own_line(ports[1], "internal echo");
    let mut daemon = Setup::new().after("ulimit -n 40").start(&text);
    let mut clients: Vec<TcpStream> = (0..12).map(|_| tcp(ports[0])).collect();
    let _ = daemon.wait_log(|line| line.is("limit-begin"));
    let others: Vec<TcpStream> = (0..12).map(|_| tcp(ports[1])).collect();
    assert_eq!(echo_once(&others[0], "x"), "x");
    said(&mut clients[0], "before");
    let programs = daemon.accepted(ports[0], 1);
    daemon.stop();
    reader_of(&programs);
    said(&mut clients[0], "after");
    said(&mut clients[0], "again");
}

#[test]
fn many_programs_have_one_reader_and_each_may_write_what_it_likes() {
    let port = free_port();
    let much = "read x; head -c 200000 /dev/zero | tr \"\\\\000\" x >&2; echo done; read x";
    let mut daemon = Daemon::start(&own_line(port, &shell(much)));
    let mut clients: Vec<TcpStream> = (0..40).map(|_| tcp(port)).collect();
    let programs = daemon.accepted(port, clients.len());
    daemon.stop();
    let reader = reader_of(&programs);
    for client in &mut clients {
        // More than a pipe holds.
        assert_eq!(told(client, "go"), "done\n");
    }
    let last = clients.pop();
    drop(clients);
    wait_until("all but one to end", || programs.iter().filter(|it| is_alive(**it)).count() == 1);
    assert!(is_alive(reader), "one of them still needs it");
    drop(last);
    wait_until("the reader to end", || !is_alive(reader));
}

#[test]
fn what_is_written_afterwards_is_in_the_systems_log() {
    let (port, folder) = (free_port(), Folder::new());
    let socket = folder.at("log");
    let syslog = UnixDatagram::bind(&socket).unwrap();
    syslog.set_read_timeout(Some(DEADLINE)).unwrap();
    let next = move || {
        let mut bytes = [0; 4096];
        let length = syslog.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let file = folder.write("inetd.conf", &own_line(port, &shell(REPEATS)));
    let mut starting = command(&[]);
    starting.arg(&file).args(["--control", "none", "--log"]);
    starting.arg(format!("syslog:local3,{}", socket.display()));
    let mut server = Process::start(starting.stdin(Stdio::null()).stderr(Stdio::null()));
    let until = |wanted: &str| loop {
        let line = next();
        if line.contains(wanted) {
            break line;
        }
    };
    until("ready");
    let mut client = tcp(port);
    said(&mut client, "before");
    let before = until("line=\"before\"");
    server.stop();
    until("stopped");
    said(&mut client, "after \x1b[2J");
    let after = until("line=\"after");
    // local3, info; the program's number, and nothing that drives a terminal.
    assert!(after.starts_with("<158>"), "{after}");
    assert!(after.ends_with("line=\"after \\x1b[2J\""), "{after}");
    let fields = |line: &str| {
        let words =
            line.split(' ').filter(|it| it.starts_with("service=") || it.starts_with("pid="));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(fields(&after), fields(&before));
}

#[test]
fn a_system_log_that_hangs_holds_no_program_up() {
    let (port, folder) = (free_port(), Folder::new());
    let socket = folder.at("log");
    // Nobody reads it.
    let _syslog = UnixDatagram::bind(&socket).unwrap();
    let much = "echo in; read x; i=0; while [ $i -lt 20000 ]; do echo some line $i; i=$((i+1)); \
        done >&2; echo done";
    let file = folder.write("inetd.conf", &own_line(port, &shell(much)));
    let mut starting = command(&[]);
    starting.arg(&file).args(["--control", "none", "--log"]);
    starting.arg(format!("syslog,{}", socket.display()));
    let mut server = Process::start(starting.stdin(Stdio::null()).stderr(Stdio::null()));
    let address = ([127, 0, 0, 1], port).into();
    let mut client = wait_for("the port", || try_tcp(address).ok());
    assert_eq!(read_line(&mut client), "in\n");
    server.stop();
    assert_eq!(told(&mut client, "go"), "done\n");
}

#[test]
fn nobody_is_left_where_nobody_goes_on() {
    let (port, other) = (free_port(), free_port());
    let text = own_line(port, &shell(REPEATS)) + "    on_stop = terminate\n";
    let silent = own_line(other, &shell("echo in; read x")) + "    stderr = socket\n";
    let mut daemon = Daemon::start(&(text + &silent));
    let (mut client, mut beside) = (tcp(port), tcp(other));
    said(&mut client, "before");
    assert_eq!(read_line(&mut beside), "in\n");
    let (ended, goes_on) = (daemon.accepted(port, 1), daemon.accepted(other, 1));
    daemon.stop();
    // The program may still be on its way to its end, and so may the reader.
    wait_until("the program to end", || !is_alive(ended[0]));
    assert!(is_alive(goes_on[0]));
    assert!(readers_of(&goes_on).is_empty(), "it has no pipe");
    drop(beside);
}

#[test]
fn the_next_server_starts_at_once_beside_programs_of_the_last() {
    let port = free_port();
    let folder = Folder::new();
    let (pid_file, control) = (folder.name("pid"), folder.name("control"));
    let socket = folder.name("socket");
    let text = own_line(port, &shell(REPEATS))
        + &format!("{socket} stream unix nowait {} /bin/cat cat\n", me());
    let file = folder.write("inetd.conf", &text);
    let file = file.to_str().unwrap();
    let arguments = [file, "--pid-file", &pid_file, "--control", &control];
    let start = || Setup::new().run(&arguments);
    let mut daemon = start();
    let mut client = tcp(port);
    said(&mut client, "before");
    let program = daemon.accepted(port, 1);
    daemon.stop();
    for _ in 0..3 {
        // Nothing of it is in the way: no port, no lock, no path.
        let mut next = start();
        assert!(next.said("not-listening").is_empty(), "{}", next.log.text());
        said(&mut client, "after");
        assert!(is_alive(reader_of(&program)));
        next.signal(Signal::SIGKILL);
        let _ = next.wait_exit();
        assert!(Path::new(&pid_file).exists() && Path::new(&control).exists());
        assert!(Path::new(&socket).exists());
    }
    // What one that was killed has left is no more in the way.
    let mut last = start();
    assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), last.pid().to_string());
    last.stop();
    said(&mut client, "still");
}

#[test]
fn the_address_of_a_program_that_waits_is_had_again_when_it_ends() {
    for (socket_type, protocol) in
        [("stream", "tcp"), ("dgram", "udp"), ("stream", "unix"), ("dgram", "unix")]
    {
        let (port, folder) = (free_port(), Folder::new());
        let (told, path) = (folder.name("go"), folder.name("socket"));
        let address = if protocol == "unix" { path.clone() } else { format!("127.0.0.1:{port}") };
        // It has the socket until it is told to go.
        let program = shell(&format!("while [ ! -e {told} ]; do sleep 0.1; done"));
        let text = format!("{address} {socket_type} {protocol} wait {} {program}\n", me());
        let mut daemon = Daemon::start(&text);
        match (socket_type, protocol) {
            (_, "tcp") => drop(tcp(port)),
            (_, "udp") => drop(udp(port).send(b"x").unwrap()),
            ("stream", _) => drop(UnixStream::connect(&path).unwrap()),
            _ => drop(UnixDatagram::unbound().unwrap().send_to(b"x", &path).unwrap()),
        }
        let accepted = daemon.wait_log(|line| line.is("accepted"));
        let running = accepted.number("pid").unwrap();
        daemon.signal(Signal::SIGKILL);
        let _ = daemon.wait_exit();
        let next = Daemon::start(&text);
        let refused = next.wait_log(|line| line.is("not-listening"));
        let known = ["in use", "another server answers"];
        let why = refused.get("error").unwrap().to_lowercase();
        assert!(known.iter().any(|it| why.contains(it)), "{}", refused.raw);
        fs::write(&told, "").unwrap();
        wait_until("the program to end", || !is_alive(running));
        let _ = next.wait_log(|line| line.is("listening"));
    }
}

#[test]
fn the_path_of_a_socket_goes_with_its_server_whoever_has_the_socket() {
    let folder = Folder::new();
    let path = folder.name("socket");
    let text = format!("{path} stream unix wait {} {}\n", me(), shell("sleep 600"));
    let mut daemon = Daemon::start(&text);
    drop(UnixStream::connect(&path).unwrap());
    let _ = daemon.wait_log(|line| line.is("accepted"));
    daemon.stop();
    assert!(!Path::new(&path).exists());
    let next = Daemon::start(&text);
    assert!(next.said("not-listening").is_empty(), "{}", next.log.text());
    drop(UnixStream::connect(&path).unwrap());
    let _ = next.wait_log(|line| line.is("accepted"));
}
