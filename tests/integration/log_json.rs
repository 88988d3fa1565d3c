//! `--log-format json`: every line an object, wherever the log goes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Stdio;

use serde_json::Value;

use crate::common::clients::try_tcp;
use crate::common::daemon::command;
use crate::common::process::Process;
use crate::common::{DEADLINE, Folder, free_port, read_all, shell, tcp, tcp_line, wait_until};

const YES: &str = "/bin/echo echo yes";

/// Starts a server, serves a client of `port` and stops it again.
#[track_caller]
fn serve_one(mut command: std::process::Command, port: u16) {
    let mut server = Process::start(command.stdin(Stdio::null()));
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the port to be served", || try_tcp(address).is_ok());
    assert_eq!(read_all(tcp(port)), "yes\n");
    let children = || crate::common::procs::children(server.0.id());
    wait_until("its programs to have ended", || children().is_empty());
    server.stop();
}

fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

/// The first object with this event.
#[track_caller]
fn event<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    objects.iter().find(|object| object["event"] == name).unwrap_or_else(|| panic!("no {name}"))
}

/// The keys of an object, in the order of the alphabet.
fn keys(object: &Value) -> String {
    let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.join(" ")
}

#[test]
fn every_line_is_an_object_with_the_keys_of_the_text() {
    let (port, folder) = (free_port(), Folder::new());
    let program = shell(r#"printf "a \"b\" \\\\ \033[31m \377 é\n" >&2; echo yes"#);
    let file = folder.write("inetd.conf", &(tcp_line(port, &program) + "odd\n"));
    let stderr = fs::File::create(folder.at("log")).unwrap();
    let mut command = command(&[]);
    command.arg(file).args(["--log-format", "json"]).stderr(stderr).env("RUST_LOG", "debug");
    serve_one(command, port);
    let objects = objects(&fs::read_to_string(folder.at("log")).unwrap());
    for object in &objects {
        let stamp = object["timestamp"].as_str().unwrap();
        assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{object}");
        let level = object["level"].as_str().unwrap();
        assert!(["error", "warn", "info", "debug"].contains(&level), "{object}");
    }
    let accepted = event(&objects, "accepted");
    assert_eq!(keys(accepted), "event level peer pid service timestamp");
    assert_eq!(accepted["service"], format!("{port}/tcp"));
    assert!(accepted["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    // The first connection was made to see whether the port is served.
    let ended = objects.iter().rfind(|object| object["status"] == 0).unwrap();
    let its_own = |object: &&Value| object["event"] == "accepted" && object["pid"] == ended["pid"];
    assert_eq!(objects.iter().filter(its_own).count(), 1, "{ended}");
    assert_eq!(keys(ended), "event level peer pid service status time timestamp");
    assert!(accepted["pid"].is_u64() && ended["time"].is_f64(), "{ended}");
    assert_eq!(event(&objects, "stderr")["line"], "a \"b\" \\ \u{1b}[31m \\xff é");
    let wrong = event(&objects, "configuration");
    assert_eq!(
        (keys(wrong).as_str(), &wrong["level"]),
        ("event level message timestamp", &"error".into())
    );
    assert!(wrong["message"].as_str().unwrap().contains("inetd.conf:2"), "{wrong}");
    assert!(
        event(&objects, "ready")["listeners"] == 1
            && objects.last() == Some(event(&objects, "stopped"))
    );
    // What other modules say at this level.
    assert!(event(&objects, "message")["message"].is_string());
}

#[test]
fn a_file_of_a_service_has_the_same_form() {
    let (port, folder) = (free_port(), Folder::new());
    let line = format!("    log_type = FILE {}\n", folder.name("own.log"));
    let file = folder.write("inetd.conf", &(tcp_line(port, YES) + &line));
    let mut command = command(&[]);
    let target = format!("file:{}", folder.name("log"));
    command.arg(file).args(["--log-format", "json", "--log", &target]);
    serve_one(command, port);
    let own = objects(&fs::read_to_string(folder.at("own.log")).unwrap());
    assert!(event(&own, "ended")["timestamp"].is_string() && own.len() >= 2);
    let all = objects(&fs::read_to_string(folder.at("log")).unwrap());
    assert!(event(&all, "stopped")["timestamp"].is_string());
}

/// What a server says to the journal, whose stream is a socket that `JOURNAL_STREAM` names.
#[track_caller]
fn said_to_the_journal(arguments: &[&str]) -> Vec<String> {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("inetd.conf", &(tcp_line(port, YES) + "odd\n"));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stat = nix::sys::stat::fstat(&theirs).unwrap();
    let mut command = command(&[]);
    command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    command.arg(file).args(arguments).stderr(OwnedFd::from(theirs));
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    serve_one(command, port);
    BufReader::new(ours).lines().collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_journal_gets_priorities_and_no_time() {
    let lines = said_to_the_journal(&[]);
    assert!(lines.iter().any(|line| line.starts_with("<6>ready pid=")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("<3>configuration ")), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "<6>stopped");
}

#[test]
fn the_journal_gets_objects_with_a_priority_before_them() {
    let lines = said_to_the_journal(&["--log-format", "json"]);
    let mut events = Vec::new();
    for line in lines {
        let (priority, object) = line.strip_prefix('<').unwrap().split_once('>').unwrap();
        let object: Value = serde_json::from_str(object).unwrap();
        let level = object["level"].as_str().unwrap();
        let wanted = match level {
            "error" => "3",
            "warn" => "4",
            _ => "6",
        };
        assert!(object.get("timestamp").is_none() && priority == wanted, "{object}");
        events.push(object["event"].as_str().unwrap().to_owned());
    }
    for wanted in ["configuration", "ready", "accepted", "ended", "stopped"] {
        assert!(events.iter().any(|event| event == wanted), "{wanted}: {events:?}");
    }
}

#[test]
fn the_variable_of_the_journal_means_nothing_for_another_standard_error() {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("inetd.conf", &tcp_line(port, YES));
    let stderr = fs::File::create(folder.at("log")).unwrap();
    let mut command = command(&[]);
    command.arg(file).stderr(stderr).env("JOURNAL_STREAM", "8:15");
    serve_one(command, port);
    let text = fs::read_to_string(folder.at("log")).unwrap();
    assert!(text.lines().all(|line| line.starts_with("20")), "{text}");
}

#[test]
fn the_systems_log_gets_objects_as_messages() {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("inetd.conf", &tcp_line(port, YES));
    let daemon = UnixDatagram::bind(folder.at("socket")).unwrap();
    daemon.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = command(&[]);
    let target = format!("syslog,{}", folder.name("socket"));
    command.arg(file).args(["--log-format", "json", "--log", &target]);
    let reader = std::thread::spawn(move || {
        let (mut bytes, mut objects) = (vec![0; 8192], Vec::new());
        while objects.last().is_none_or(|object: &Value| object["event"] != "stopped") {
            let length = daemon.recv(&mut bytes).unwrap();
            let line = String::from_utf8(bytes[..length].to_vec()).unwrap();
            let (head, object) = line.split_once("]: ").unwrap();
            let object: Value = serde_json::from_str(object).unwrap();
            // A warning: another server may have the usual control socket.
            let priority = if object["level"] == "warn" { "<28>" } else { "<30>" };
            assert!(head.starts_with(priority) && head.contains(" oxinetd["), "{line}");
            objects.push(object);
        }
        objects
    });
    serve_one(command, port);
    let objects = reader.join().unwrap();
    assert_eq!(keys(event(&objects, "accepted")), "event level peer pid service");
}

/// What a command that fails says to the journal.
fn failed_in_the_journal(text: &str, arguments: &[&str]) -> Vec<String> {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", text);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stat = nix::sys::stat::fstat(&theirs).unwrap();
    let mut command = command(&[]);
    command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    command.arg(file).args(arguments).stderr(OwnedFd::from(theirs));
    assert!(!command.status().unwrap().success());
    drop(command);
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    BufReader::new(ours).lines().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_ends_the_server_is_an_error_in_the_journal() {
    let lines = failed_in_the_journal("nonsense\n", &[]);
    assert_eq!(lines.last().unwrap(), "<3>oxinetd: nothing to serve");
    assert!(lines.iter().all(|line| line.starts_with("<3>")), "{lines:?}");
    let lines = failed_in_the_journal("", &["--control", "/nonexistent/socket"]);
    assert!(lines.last().unwrap().starts_with("<3>oxinetd: "), "{lines:?}");
}
