//! `oxinetd stop`, at once or when everybody has come to an end.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::common::clients::{is_closed, read_to_any_end};
use crate::common::control::{controlled, refused, status};
use crate::common::daemon::command;
use crate::common::{
    Daemon, Folder, Setup, ask, free_port, own_line, read_line, tcp, tcp_line, wait_until,
};

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

/// Whoever sends clients here is told that it is not ready, and has time to hear it.
#[test]
fn a_server_that_is_about_to_drain_is_not_ready_and_lets_clients_in() {
    let (cat, metrics) = (free_port(), free_port());
    let metrics_port = metrics.to_string();
    let setup = Setup::new().controlled().arg("--metrics").arg(&metrics_port);
    let mut daemon = setup.start(&tcp_line(cat, "/bin/cat cat"));
    let ready = || ask(metrics, "GET /readyz HTTP/1.0\r\n\r\n");
    assert!(ready().starts_with("HTTP/1.0 200") || ready().starts_with("HTTP/1.1 200"));
    let mut asking = command(&[]);
    asking.args(["stop", "--drain=3600", "--drain-delay", "1h", "--control"]).arg(daemon.control());
    let client = asking.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let line = daemon.wait_log(|line| line.is("draining"));
    assert_eq!(line.get("delay"), Some("3600.000s"), "{}", line.raw);
    assert!(ready().contains(" 503 ") && ready().ends_with("draining\n"), "{}", ready());
    assert_eq!(status(&daemon, None)["state"], json!("draining"));
    let mut late = tcp(cat);
    late.write_all(b"let in\n").unwrap();
    assert_eq!(read_line(&mut late), "let in\n");
    let (_, words) = refused(&daemon, &["upgrade"]);
    assert!(words.contains("the server is draining"), "{words}");
    // Whoever does not want to wait so long says so.
    let second = drain(&daemon, "3600");
    daemon.wait_count(2, |line| line.is("draining"));
    wait_until("the port to be closed", || is_closed(cat));
    late.write_all(b"still here\n").unwrap();
    assert_eq!(read_line(&mut late), "still here\n");
    drop(late);
    assert!(daemon.wait_exit().success());
    let said = client.wait_with_output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said, "not ready any more; clients are let in for 3600s\nstopped\n");
    assert!(second.wait_with_output().unwrap().status.success());
}

#[test]
fn a_delay_ends_by_itself_and_needs_a_drain() {
    let port = free_port();
    let mut daemon = controlled(&tcp_line(port, "/bin/cat cat"));
    let (_, words) = refused(&daemon, &["stop", "--drain-delay", "1s"]);
    assert!(words.contains("--drain"), "{words}");
    let (_, words) = refused(&daemon, &["stop", "--drain", "--drain-delay", "soon"]);
    assert!(words.contains("write something like `5s`"), "{words}");
    assert!(daemon.answer(&["stop", "--drain", "--drain-delay", "50ms"]).ends_with("stopped\n"));
    assert!(daemon.wait_exit().success());
    let lines = daemon.said("draining");
    assert_eq!(lines.len(), 2, "{}", daemon.log.text());
    assert_eq!(lines[1].get("delay"), None, "{}", lines[1].raw);
}

/// More than are taken at once, and more than there is room for at once.
#[test]
fn who_is_in_a_backlog_when_it_closes_is_served() {
    let port = free_port();
    let text = own_line(port, "/bin/cat cat") + "    instances = 2\n";
    let mut daemon = controlled(&text);
    let mut clients: Vec<_> = (0..40).map(|_| tcp(port)).collect();
    daemon.accepted(port, 2);
    let client = drain(&daemon, "3600");
    assert_eq!(status(&daemon, None)["state"], json!("draining"));
    for (n, stream) in clients.iter_mut().enumerate() {
        let words = format!("client {n}\n");
        stream.write_all(words.as_bytes()).unwrap();
        assert_eq!(read_line(&mut *stream), words);
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
    assert!(daemon.wait_exit().success());
    assert!(client.wait_with_output().unwrap().status.success());
    daemon.said_times(40, "accepted");
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
    assert_eq!(status(&daemon, None)["drain_left"], json!(null));
    let mut client = drain(&daemon, "3600");
    assert!(is_closed(cat) && is_closed(echo));
    let seen = status(&daemon, None);
    assert_eq!(seen["state"], json!("draining"));
    assert!((1..=3600).contains(&seen["drain_left"].as_u64().unwrap()), "{seen}");
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
