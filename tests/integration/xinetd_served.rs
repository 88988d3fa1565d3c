//! Files of xinetd, served by the real binary: what differs from lines.

use std::process::Command;

use crate::common::clients::udp_ask;
use crate::common::daemon::BINARY;
use crate::common::{
    Daemon, Folder, Setup, ask, free_port, free_ports, read_all, tcp, udp, wait_until,
};

/// The name of whoever runs the test.
fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

fn block(port: u16, lines: &str) -> String {
    format!("service hello\n{{\ntype = UNLISTED\nport = {port}\nuser = {}\n{lines}\n}}\n", user())
}

#[test]
fn what_xinetd_cannot_reload_is_reloaded() {
    let port = free_port();
    let stream = "socket_type = stream\nprotocol = tcp\nwait = no\n";
    let echo = format!("{stream}server = /bin/echo\nserver_args = first");
    let daemon = Daemon::start(&block(port, &echo));
    assert_eq!(read_all(tcp(port)), "first\n");
    // `wait`, `socket_type`, `protocol` and `type`, of which it says that they stay.
    let internal = |kind: &str, protocol: &str| {
        format!(
            "service echo\n{{\ntype = INTERNAL UNLISTED\nport = {port}\nsocket_type = {kind}\nprotocol = {protocol}\nwait = no\n}}\n"
        )
    };
    let _ = daemon.reload(&internal("dgram", "udp"));
    assert_eq!(udp_ask(&udp(port), "x"), "x");
    let _ = daemon.reload(&internal("stream", "tcp"));
    assert_eq!(ask(port, "x"), "x");
    let _ = daemon.reload(&block(port, &echo.replace("first", "second")));
    wait_until("the program again", || read_all(tcp(port)) == "second\n");
}

#[test]
fn standard_error_is_the_clients_as_with_xinetd_unless_the_log_is_asked_for() {
    let folder = Folder::new();
    let script = folder.write("complain", "echo complaint >&2\necho answer\n");
    let port = free_port();
    let lines = format!(
        "socket_type = stream\nwait = no\nserver = /bin/sh\nserver_args = {}",
        script.display()
    );
    let text = block(port, &lines);
    let daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(port)), "complaint\nanswer\n");
    drop(daemon);
    let daemon = Setup::new().arg("--default").arg("stderr=log").start(&text);
    assert_eq!(read_all(tcp(port)), "answer\n");
    let _ = daemon.wait_log(|line| line.is("stderr"));
}

#[test]
fn a_service_that_is_not_safe_is_left_out_and_the_rest_is_served() {
    let (good, bad) = (free_port(), free_port());
    let lines = "socket_type = stream\nwait = no\nserver = /bin/echo\nserver_args = served";
    let rule = format!("{lines}\nonly_from = .example.com");
    let text = block(bad, &rule).replace("service hello", "service guarded") + &block(good, lines);
    let _daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(good)), "served\n");
    assert!(std::net::TcpStream::connect(("127.0.0.1", bad)).is_err());
}

#[test]
fn what_import_prints_is_served() {
    let folder = Folder::new();
    let port = free_port();
    let lines = "socket_type = stream\nwait = no\nserver = /bin/echo\nserver_args = imported";
    let file = folder.write("xinetd.conf", &format!("# a comment\n{}", block(port, lines)));
    let output = Command::new(BINARY).arg("import").arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("# a comment\n"), "{text}");
    // Whoever is not root runs programs as himself, which `-` says.
    let _daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(port)), "imported\n");
    let wrong = folder.write("wrong.conf", &block(port, lines).replace("wait = no", "wiat = no"));
    let output = Command::new(BINARY).arg("import").arg(&wrong).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("did you mean `wait`?"));
}

#[test]
fn what_is_not_done_is_no_reason_to_refuse_a_reload_and_leaves_its_service_as_it_was() {
    let (kept, new) = (free_port(), free_port());
    let lines = "socket_type = stream\nwait = no\nserver = /bin/echo\nserver_args = served";
    let daemon = Daemon::start(&block(kept, lines));
    assert_eq!(read_all(tcp(kept)), "served\n");
    let other = block(new, lines).replace("service hello", "service other");
    let rpc = block(free_port(), lines).replace("UNLISTED", "RPC").replace("hello", "rstatd");
    for flag in ["LABELED", "IDONLY", "SENSOR", "INTERCEPT\nonly_from = 192.0.2.1"] {
        let text = block(kept, &format!("{lines}\nflags = {flag}")) + &other + &rpc;
        let _ = daemon.reload(&text);
        assert_eq!(read_all(tcp(kept)), "served\n", "{flag}");
        assert_eq!(read_all(tcp(new)), "served\n", "{flag}");
    }
}

#[test]
fn a_mistake_costs_its_own_service_and_nothing_else_at_the_start_and_at_a_reload() {
    let ports = free_ports(3);
    let line = |text: &str| {
        format!("socket_type = stream\nwait = no\nserver = /bin/echo\nserver_args = {text}")
    };
    let named = |index: usize, name: &str, lines: &str| {
        block(ports[index], lines).replace("service hello", &format!("service {name}"))
    };
    let wrong = format!("{}\ninstances = few", line("one"));
    let daemon = Daemon::start(
        &(named(0, "one", &line("one"))
            + &named(1, "two", &format!("{}\nonly_form = 127.0.0.1", line("two")))
            + &named(2, "three", &format!("{}\nbogus = 3", line("three")))),
    );
    assert_eq!(read_all(tcp(ports[0])), "one\n");
    assert!(std::net::TcpStream::connect(("127.0.0.1", ports[1])).is_err(), "open to all");
    assert_eq!(read_all(tcp(ports[2])), "three\n");
    // What runs of the first goes on, the others are what the file says now.
    let _ = daemon.reload(
        &(format!("defaults\n{{\ninstances = x\njunk\n}}\n{}", named(0, "one", &wrong))
            + &named(1, "two", &line("two"))
            + &named(2, "three", &line("four"))),
    );
    assert_eq!(read_all(tcp(ports[0])), "one\n");
    assert_eq!(read_all(tcp(ports[1])), "two\n");
    assert_eq!(read_all(tcp(ports[2])), "four\n");
}

#[test]
fn a_wrong_access_list_of_defaults_costs_whoever_takes_it_from_there() {
    let ports = free_ports(2);
    let line = |text: &str| {
        format!("socket_type = stream\nwait = no\nserver = /bin/echo\nserver_args = {text}")
    };
    let own = format!("{}\nonly_from = 127.0.0.1 ::1", line("own"));
    let text = "defaults\n{\nonly_from = 10.0.0.0/99\n}\n".to_owned()
        + &block(ports[0], &line("open"))
        + &block(ports[1], &own).replace("service hello", "service own");
    let _daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(ports[1])), "own\n");
    assert!(std::net::TcpStream::connect(("127.0.0.1", ports[0])).is_err(), "open to all");
}

/// What would hold for every service and stands where it is not read, or is misspelt, opens
/// none of them.
#[test]
fn what_was_meant_for_all_and_is_not_read_keeps_everybody_out() {
    let lost = [
        "defaults { only_from = 10.0.0.1 }",
        "defaults\n{ only_from = 10.0.0.1\n}",
        "defaults\n{\n} only_from = 10.0.0.1",
        "defaults only_from = 10.0.0.1\n{\n}",
        "defaults\n{\n only from = 10.0.0.1\n}",
        "defaults\n{\n = 10.0.0.1\n}",
        "service defaults\n{\n only_from = 10.0.0.1\n}",
        "global\n{\n only_from = 10.0.0.1\n}",
        "global { only_from= 10.0.0.1\n}",
        "{\n no_access = 0.0.0.0/0\n}",
        "only_from = 10.0.0.1",
        "defaults\n{\n binds = 10.0.0.1\n}",
        "defaults\n{\n bind 10.0.0.1\n}",
        "defaults\n{\n interface: 10.0.0.1\n}",
        "defaults\n{\n disabled: hello\n}",
        "defaults\n{\n enable = other\n}",
        "defaults\n{\n tls_client = requier\n}",
        "defaults\n{\n capabilitys = none\n}",
    ];
    let lines = "socket_type = stream\nwait = no\nserver = /bin/echo\nserver_args = open";
    for text in lost {
        let port = free_port();
        let text = format!("{text}\n{}", block(port, lines));
        let folder = Folder::new();
        let file = folder.write("xinetd.conf", &text);
        let output = Command::new(BINARY).arg("check").arg(file).output().unwrap();
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!found.contains("0 errors, 0 warnings"), "{text}: not told: {found}");
        if !found.contains(": 0 services, 1 not served") {
            let _daemon = Daemon::start(&text);
            assert_eq!(read_all(tcp(port)), "", "{text}: open to all");
        }
    }
}

#[test]
fn what_stands_behind_the_name_of_a_service_costs_that_one() {
    let lines = "socket_type = stream\nwait = no\nserver = /bin/echo\nserver_args = open";
    let ports = free_ports(2);
    let closed = block(ports[0], lines).replace("hello", "closed only_from = 10.0.0.1");
    let _daemon = Daemon::start(&(closed + &block(ports[1], lines)));
    assert!(std::net::TcpStream::connect(("127.0.0.1", ports[0])).is_err(), "open to all");
    assert_eq!(read_all(tcp(ports[1])), "open\n");
}

#[test]
fn what_stands_between_blocks_and_says_nothing_of_who_may_connect_costs_nobody_anything() {
    let lines = "socket_type = stream\nwait = no\nserver = /bin/echo\nserver_args = open";
    for text in ["Use only_from to keep people out, or no_access.", "global\n{\n instances = 3\n}"]
    {
        let port = free_port();
        let _daemon = Daemon::start(&format!("{text}\n{}", block(port, lines)));
        assert_eq!(read_all(tcp(port)), "open\n", "{text}");
    }
}
