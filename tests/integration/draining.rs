//! `oxinetd stop`, at once or when everybody has come to an end.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::common::clients::{is_closed, read_to_any_end};
use crate::common::control::{controlled, refused, status};
use crate::common::daemon::command;
use crate::common::{Daemon, Folder, Setup, free_port, read_line, tcp, tcp_line};

#[test]
fn stop_returns_when_the_server_has_ended() {
    let port = free_port();
    let mut daemon = controlled(&tcp_line(port, "/bin/date date"));
    assert_eq!(daemon.answer(&["stop"]), "stopped\n");
    assert!(is_closed(port) && !daemon.control().exists());
    assert!(daemon.wait_exit().success());
    let line = daemon.wait_log(|line| line.is("stopping"));
    assert_eq!(line.get("signal"), Some("control"));
    let (status, words) = refused(&daemon, &["status"]);
    assert!(status == 71 && words.contains("No such file"), "{status} {words}");
}

/// `oxinetd stop --drain=SECONDS`, which goes on until the server has ended.
pub(crate) fn drain(daemon: &Daemon, seconds: &str) -> std::process::Child {
    let mut asking = command(&[]);
    asking.args(["stop", &format!("--drain={seconds}"), "--control"]).arg(daemon.control());
    let child = asking.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    daemon.wait_log(|line| line.is("draining"));
    child
}

#[test]
fn a_server_that_drains_lets_nobody_in_and_waits_for_who_is_there() {
    let (cat, echo) = (free_port(), free_port());
    let text = tcp_line(cat, "/bin/cat cat")
        + &format!("127.0.0.1:{echo} stream tcp nowait - internal echo\n");
    let mut daemon = controlled(&text);
    let (mut program, mut talk) = (tcp(cat), tcp(echo));
    daemon.accepted(cat, 1);
    daemon.wait_log(|line| line.about("accepted", echo));
    let mut client = drain(&daemon, "3600");
    assert!(is_closed(cat) && is_closed(echo));
    assert_eq!(status(&daemon, None)["state"], json!("draining"));
    for stream in [&mut program, &mut talk] {
        stream.write_all(b"here\n").unwrap();
        assert_eq!(read_line(stream), "here\n");
    }
    assert!(daemon.is_running() && client.try_wait().unwrap().is_none());
    drop((program, talk));
    assert!(daemon.wait_exit().success());
    let output = client.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "waiting for 1 program\nstopped\n");
}

#[test]
fn a_server_that_drains_starts_no_program_for_nobody() {
    let (port, folder) = (free_port(), Folder::new());
    let (path, stream) = (folder.name("dgram.sock"), folder.name("stream.sock"));
    let text = format!(
        "127.0.0.1:{port} dgram udp wait - /bin/sleep sleep 600\n\
         127.0.0.1:{port} stream tcp wait - /bin/sleep sleep 600\n\
         {path} dgram unix wait - /bin/sleep sleep 600\n\
         {stream} stream unix wait - /bin/sleep sleep 600\n"
    );
    let mut daemon = Setup::new().controlled().start_in(folder, &text);
    let client = drain(&daemon, "3600");
    assert!(daemon.wait_exit().success());
    assert!(client.wait_with_output().unwrap().status.success());
    assert!(daemon.said("accepted").is_empty(), "{}", daemon.log.text());
}

#[test]
fn who_has_had_the_time_of_a_drain_is_ended() {
    let (cat, echo) = (free_port(), free_port());
    let text = tcp_line(cat, "/bin/cat cat")
        + &format!("127.0.0.1:{echo} stream tcp nowait - internal echo\n");
    let mut daemon = controlled(&text);
    let (program, talk) = (tcp(cat), tcp(echo));
    daemon.accepted(cat, 1);
    daemon.wait_log(|line| line.about("accepted", echo));
    let client = drain(&daemon, "0");
    assert_eq!(read_to_any_end(program), "");
    assert_eq!(read_to_any_end(talk), "");
    assert!(daemon.wait_exit().success());
    assert!(client.wait_with_output().unwrap().status.success());
    let line = daemon.wait_log(|line| line.about("ended", cat));
    assert_eq!(line.get("signal"), Some("SIGTERM"));
}

#[test]
fn a_second_word_to_stop_ends_a_drain() {
    let port = free_port();
    let mut daemon = controlled(&tcp_line(port, "/bin/cat cat"));
    let _program = tcp(port);
    daemon.accepted(port, 1);
    let client = drain(&daemon, "3600");
    daemon.stop();
    assert!(client.wait_with_output().unwrap().status.success());
}
