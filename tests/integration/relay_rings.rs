//! Relays that lead to each other, and clients that are gone: both come to an end.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use crate::common::clients::reset;
use crate::common::daemon::command;
use crate::common::needs::search_path;
use crate::common::{
    DEADLINE, Daemon, Folder, free_port, free_ports, me, need_program, own_line, read_all, tcp,
    wait_until,
};

/// Lines of one daemon's log for one client of a ring, by orders of magnitude.
const MOST_LINES: usize = 20_000;

fn line(port: u16, target: &str) -> String {
    own_line(port, "internal") + &format!("    redirect = {target}\n")
}

/// Two daemons, each of which relays to the other, and the port of the first.
fn ring() -> ([Daemon; 2], u16) {
    let [one, other] = free_ports(2).try_into().unwrap();
    let first = Daemon::start(&line(one, &format!("127.0.0.1 {other}")));
    let second = Daemon::start(&line(other, &format!("127.0.0.1 {one}")));
    ([first, second], one)
}

/// Nobody is served any more, and nobody comes.
fn comes_to_rest(daemons: &[Daemon; 2]) {
    let counts = || daemons.each_ref().map(Daemon::count_peers);
    wait_until("the ring to be empty", || {
        let now = counts();
        now.iter().all(|(_, running)| *running == 0) && counts() == now
    });
    for daemon in daemons {
        let lines = daemon.log.text().lines().count();
        assert!(lines < MOST_LINES, "{lines} lines");
    }
}

#[test]
fn a_ring_in_one_file_is_an_error() {
    let folder = Folder::new();
    let text = line(4501, "127.0.0.1 4502") + &line(4502, "localhost 4501");
    let file = folder.write("inetd.conf", &text);
    let output = command(&[]).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("relayed to itself, through 4501/tcp"), "{said}");
    // The rest is served.
    let [one, other] = free_ports(2).try_into().unwrap();
    let text = line(one, &format!("127.0.0.1 {other}")) + &line(other, &format!("::1 {one}"));
    let text = text.replace("::1", "127.0.0.1");
    let daemon = Daemon::start(&text);
    assert_eq!(daemon.said("ready")[0].number("services"), Some(1));
}

#[test]
fn a_reset_ends_a_full_ring_through_another_server() {
    let (daemons, port) = ring();
    let client = tcp(port);
    let _ = daemons[0].wait_log(|line| line.about("limit-begin", port));
    reset(client);
    comes_to_rest(&daemons);
}

#[test]
fn a_reset_that_follows_the_connections_overtakes_them() {
    let (daemons, port) = ring();
    for count in [1, 40] {
        let mut client = tcp(port);
        client.write_all(b"round and round").unwrap();
        let _ = daemons[0].wait_count(count, |line| line.about("accepted", port));
        reset(client);
    }
    comes_to_rest(&daemons);
}

#[test]
fn a_close_ends_a_full_ring_of_unix_sockets() {
    let folder = Folder::new();
    let (one, other) = (folder.at("one"), folder.at("other"));
    let line = |from: &std::path::Path, to: &std::path::Path| {
        let (from, to) = (from.display(), to.display());
        format!("{from} stream unix nowait {} internal\n    redirect = {to}\n", me())
    };
    let daemons = [Daemon::start(&line(&one, &other)), Daemon::start(&line(&other, &one))];
    let client = UnixStream::connect(&one).unwrap();
    let _ = daemons[0].wait_log(|line| line.is("limit-begin"));
    drop(client);
    comes_to_rest(&daemons);
}

/// A relay, and a target that says nothing by itself.
fn relay() -> (Daemon, u16, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().port();
    let port = free_port();
    (Daemon::start(&line(port, &format!("127.0.0.1 {to}"))), port, listener)
}

#[test]
fn a_client_that_has_ended_and_is_gone_ends_its_relay() {
    for request in ["", "a question"] {
        let (daemon, port, listener) = relay();
        let mut client = tcp(port);
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(read_all(&server), request);
        reset(client);
        let closed = daemon.wait_log(|line| line.about("closed", port));
        assert!(closed.get("reason").unwrap().starts_with("client: "), "{}", closed.raw);
        // What has said nothing loses nothing by a reset, and knows at once.
        if request.is_empty() {
            wait_until("the reset", || server.write(b"x").is_err());
        }
        assert_eq!(daemon.count_peers(), (1, 0));
    }
}

#[test]
fn a_unix_client_that_has_ended_is_told_from_one_that_is_gone() {
    let folder = Folder::new();
    let (inside, outside) = (folder.at("inside"), folder.at("outside"));
    let listener = UnixListener::bind(&inside).unwrap();
    let text = format!(
        "{} stream unix nowait {} internal\n    redirect = {}\n",
        outside.display(),
        me(),
        inside.display()
    );
    let daemon = Daemon::start(&text);
    let mut client = UnixStream::connect(&outside).unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(read_all(&server), "question");
    assert!(daemon.said("closed").is_empty());
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(read_all(&client), "answer");
    drop(client);
    let _ = daemon.wait_count(1, |line| line.is("closed"));
    // And gone: the target says nothing, and it ends all the same.
    drop(UnixStream::connect(&outside).unwrap());
    let (server, _) = listener.accept().unwrap();
    let _ = daemon.wait_count(2, |line| line.is("closed"));
    assert_eq!(read_all(server), "");
}

#[test]
fn a_client_that_waits_for_its_answer_is_asked_whether_it_is_there() {
    if !need_program("ss") {
        return;
    }
    let (daemon, port, listener) = relay();
    let mut client = tcp(port);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(read_all(&server), "question");
    let timer = || {
        let output = Command::new("ss")
            .env("PATH", search_path())
            .args(["-tnoH", "state", "close-wait", &format!("sport = :{port}")])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_until("the question", || timer().contains("timer:(keepalive,") && timer().contains("sec"));
    assert!(!timer().contains("min"), "{}", timer());
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(read_all(client), "answer");
    let closed = daemon.wait_log(|line| line.about("closed", port));
    assert_eq!(closed.get("reason"), Some("done"));
}
