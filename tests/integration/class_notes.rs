//! The exercises that a course on network programming starts with, each as one line of
//! configuration or as the server's own behaviour.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::common::daemon::{as_pid, command};
use crate::common::files::wait_text;
use crate::common::procs;
use crate::common::{
    Daemon, Folder, Setup, ask, free_port, need_program, own_line, read_all, shell, tcp, tcp_line,
    wait_for, wait_until,
};

#[test]
fn a_server_that_echoes_what_it_gets_once_and_closes() {
    let port = free_port();
    let _daemon = Daemon::start(&tcp_line(port, "/bin/dd dd bs=64k count=1 status=none"));
    let mut client = tcp(port);
    client.write_all(b"hello, once").unwrap();
    assert_eq!(read_all(client), "hello, once", "and then the end, without one from us");
}

#[test]
fn a_server_that_reads_to_the_end_of_the_stream_and_then_answers() {
    let port = free_port();
    let _daemon = Daemon::start(&tcp_line(port, "/usr/bin/wc wc -c"));
    let mut client = tcp(port);
    for _ in 0..100 {
        client.write_all(&[b'x'; 1000]).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client).trim(), "100000");
}

#[test]
fn a_server_that_sends_the_process_list_and_closes() {
    if !need_program("ps") {
        return;
    }
    let port = free_port();
    let _daemon = Daemon::start(&tcp_line(port, "ps ps ax"));
    let text = read_all(tcp(port));
    assert!(text.contains("PID") && text.contains("ps ax"), "{text}");
}

#[test]
fn a_collector_stores_exactly_the_process_list_that_a_client_sends() {
    if !need_program("ps") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let store = folder.open_folder("store").join("collected");
    let script = shell(&format!("exec cat > {}", store.display()));
    let daemon = Setup::new().start_in(folder, &tcp_line(port, &script));
    let sent = Command::new("ps").arg("ax").output().unwrap().stdout;
    let mut client = tcp(port);
    client.write_all(&sent).unwrap();
    drop(client);
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("status"), Some("0"), "{}", line.raw);
    assert!(fs::read(&store).unwrap() == sent, "the file differs from what was sent");
}

/// The dialogue's server: a command is what one read gives, an answer ends with EOT.
const DIALOGUE: &str = "while c=$(dd bs=64k count=1 2>/dev/null | tr -d \"\\r\"; echo .); \
                        [ \"$c\" != . ]; do sh -c \"${c%.}\" </dev/null 2>&1; printf \"\\004\"; done";

fn until_eot(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).unwrap();
        if byte[0] == 4 {
            return String::from_utf8(bytes).unwrap();
        }
        bytes.push(byte[0]);
    }
}

#[test]
fn a_dialogue_of_commands_and_answers_that_end_with_eot_on_one_connection() {
    let (port, folder) = (free_port(), Folder::new());
    let program = folder.script("dialogue.sh", DIALOGUE);
    let daemon = Setup::new().start_in(folder, &own_line(port, &program));
    let mut client = tcp(port);
    for (request, wanted) in [
        ("echo first", "first\n"),
        ("expr 6 \\* 7", "42\n"),
        ("printf no-newline", "no-newline"),
        ("cd /usr && pwd\n", "/usr\n"),
        ("true", ""),
        ("echo to standard error >&2", "to standard error\n"),
    ] {
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(until_eot(&client), wanted, "{request}");
    }
    client.write_all(b"no-such-command").unwrap();
    assert!(until_eot(&client).contains("not found"));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client), "", "the end of the commands is the end of the dialogue");
    assert_eq!(daemon.accepted(port, 1).len(), 1, "all of it on one connection");
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("status"), Some("0"), "{}", line.raw);
}

fn calendar(year: &str) -> String {
    let output = Command::new("cal").arg(year).env("LANG", "C").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_calendar_server_lists_counts_reloads_and_stops_by_signals() {
    if !need_program("cal") {
        return;
    }
    let port = free_port();
    let mut daemon = Daemon::start(&tcp_line(port, "cal cal 2026"));
    for _ in 0..3 {
        assert_eq!(ask(port, ""), calendar("2026"));
    }
    let _ = daemon.wait_count(3, |line| line.about("ended", port));
    let peers = daemon.list_peers(3);
    assert!(peers.iter().all(|line| line.get("address").unwrap().starts_with("127.0.0.1:")));
    assert_eq!(daemon.count_peers(), (3, 0));
    let _ = daemon.reload(&tcp_line(port, "cal cal 2027"));
    assert_eq!(read_all(tcp(port)), calendar("2027"));
    let before = daemon.pid();
    assert_eq!(daemon.count_peers().0, 4);
    assert_eq!(daemon.pid(), before);
    daemon.stop();
    let last = daemon.said("peers").pop().unwrap();
    assert_eq!(last.number("total"), Some(4), "{}", last.raw);
}

#[test]
fn a_calendar_daemon_in_the_background_tells_its_pid_and_obeys_the_same_signals() {
    if !need_program("cal") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("inetd.conf", &tcp_line(port, "cal cal 2026"));
    let open = |name: &str| fs::File::create(folder.at(name)).unwrap();
    let mut command = command(&[]);
    command.arg(&file).arg("--daemon").stdin(Stdio::null());
    let mut child = command.stdout(open("said")).stderr(open("log")).spawn().unwrap();
    assert!(wait_for("the command to return", || child.try_wait().unwrap()).success());
    let said = wait_text(&folder.at("said"));
    let pid: u32 = said.split(|c: char| !c.is_ascii_digit()).find_map(|w| w.parse().ok()).unwrap();
    assert_eq!(read_all(tcp(port)), calendar("2026"));
    let log = || fs::read_to_string(folder.at("log")).unwrap();
    kill(as_pid(pid), Signal::SIGUSR1).unwrap();
    wait_until("the list of peers", || log().contains("peer n="));
    kill(as_pid(pid), Signal::SIGUSR2).unwrap();
    wait_until("the count of peers", || log().contains("peers total=1"));
    folder.write("inetd.conf", &tcp_line(port, "cal cal 2027"));
    kill(as_pid(pid), Signal::SIGHUP).unwrap();
    wait_until("the reload", || log().contains("reloaded "));
    assert_eq!(read_all(tcp(port)), calendar("2027"));
    kill(as_pid(pid), Signal::SIGTERM).unwrap();
    wait_until("the daemon to end", || !procs::is_alive(pid));
    assert!(log().contains("peers total=2"), "{}", log());
}
