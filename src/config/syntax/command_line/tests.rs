//! What a command line means, and what is said of wrong ones.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::RunSpec;
use crate::config::fake::FakeLookup;
use crate::config::model::{Action, Endpoint, Service};
use crate::config::{Loaded, from_command_line};

fn spec(endpoint: &str, options: &[&str], command: &[&str]) -> RunSpec {
    RunSpec {
        endpoint: endpoint.to_owned(),
        udp: false,
        options: options.iter().map(|&option| option.to_owned()).collect(),
        command: command.iter().map(Into::into).collect(),
        tls: None,
    }
}

fn run(spec: &RunSpec) -> Loaded {
    from_command_line(spec, &FakeLookup::default())
}

/// The only service of a command line in which nothing is wrong.
fn service(spec: &RunSpec) -> Service {
    let loaded = run(spec);
    assert!(loaded.diagnostics.is_empty(), "{spec:?}: {:?}", loaded.diagnostics);
    let [service] = loaded.config.services.as_slice() else { panic!("{spec:?}") };
    (**service).clone()
}

fn addresses(service: &Service) -> Vec<String> {
    let text = |endpoint: &Endpoint| match endpoint {
        Endpoint::Inet(address) => address.to_string(),
        Endpoint::Unix(path) => path.display().to_string(),
        Endpoint::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
        Endpoint::Vsock(address) => address.to_string(),
    };
    service.sockets.iter().map(|socket| text(&socket.endpoint)).collect()
}

#[test]
fn endpoints_are_local_unless_they_say_otherwise() {
    for (endpoint, label, expected) in [
        ("8080", "8080/tcp", vec!["127.0.0.1:8080", "[::1]:8080"]),
        ("http", "http/tcp", vec!["127.0.0.1:80", "[::1]:80"]),
        ("0", "0/tcp", vec!["127.0.0.1:0", "[::1]:0"]),
        ("*:8080", "8080/tcp", vec!["0.0.0.0:8080", "[::]:8080"]),
        ("192.0.2.1:0", "0/tcp", vec!["192.0.2.1:0"]),
        ("[::1]:8080", "8080/tcp", vec!["[::1]:8080"]),
        ("127.0.0.1:80-81", "80-81/tcp", vec!["127.0.0.1:80", "127.0.0.1:81"]),
        ("/run/x", "/run/x", vec!["/run/x"]),
        ("@x", "@x", vec!["@x"]),
        ("vsock:5000", "vsock:5000", vec!["vsock:5000"]),
        ("vsock:1:0", "vsock:1:0", vec!["vsock:1:0"]),
    ] {
        let service = service(&spec(endpoint, &[], &["date"]));
        assert_eq!(service.label, label);
        assert_eq!(addresses(&service), expected, "{endpoint}");
    }
    let udp = service(&RunSpec { udp: true, ..spec("8080", &["wait=yes"], &["cat"]) });
    assert_eq!((udp.label.as_str(), udp.wait), ("8080/udp", true));
}

#[test]
fn without_ipv6_nothing_is_said_of_it() {
    let fake = FakeLookup { ipv6: false, ..FakeLookup::default() };
    for (endpoint, address) in [("8080", "127.0.0.1:8080"), ("*:8080", "0.0.0.0:8080")] {
        let loaded = from_command_line(&spec(endpoint, &[], &["date"]), &fake);
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
        assert_eq!(addresses(&loaded.config.services[0]), [address]);
    }
}

#[test]
fn the_program_runs_as_whoever_starts_it_where_it_is_started() {
    for own_uid in [0, 1000] {
        let fake = FakeLookup { own_uid, ..FakeLookup::default() };
        let loaded = from_command_line(&spec("8080", &[], &["./serve", "-x"]), &fake);
        let service = &loaded.config.services[0];
        assert_eq!((service.account.uid, service.account.switch), (own_uid, false));
        let attributes = &service.attributes;
        assert_eq!((attributes.process.umask, &attributes.process.chdir), (None, &None));
        assert!(attributes.process.inherit_environment);
        let Action::Program(program) = &service.action else { panic!("{service:?}") };
        assert_eq!(program.path, PathBuf::from("/home/me/./serve"));
        assert_eq!(program.argv, ["./serve", "-x"]);
    }
}

#[test]
fn options_are_attributes_and_wait_and_user() {
    let one = service(&spec("8080", &["nice=3", "wait=yes", "user=nobody:tty"], &["date"]));
    assert_eq!(one.attributes.process.nice, 3);
    assert!(one.wait && one.account.switch && !one.attributes.process.inherit_environment);
    assert_eq!((one.account.name.as_str(), one.account.gid), ("nobody", 5));
    let two = service(&spec("8080", &["env += A=b", "rate = 5/minute"], &["date"]));
    assert_eq!(two.attributes.process.env, [("A".to_owned(), "b".into())]);
}

#[test]
fn words_are_taken_as_they_are() {
    let words = ["cat", "a b", "#", "'", "internal", ""].map(OsString::from);
    let mut command = words.to_vec();
    command.push(OsString::from_vec(vec![0xff]));
    let one = service(&RunSpec { command: command.clone(), ..spec("8080", &[], &[]) });
    let Action::Program(program) = &one.action else { panic!("{one:?}") };
    assert_eq!(program.argv, command);
}

#[test]
fn a_relay_has_the_word_for_no_program() {
    let one = service(&spec("8080", &["redirect=192.0.2.1 80"], &["internal"]));
    assert!(matches!(one.action, Action::Relay(_)), "{one:?}");
}

#[test]
fn mistakes_point_into_the_command_line() {
    for (spec, at, messages) in [
        (spec("8080", &["instnaces=3"], &["date"]), 16, "did you mean `instances`?"),
        (spec("8080", &["instances=x"], &["date"]), 26, "`x` is not a number"),
        (spec("8080", &["wait=maybe"], &["date"]), 21, "neither `yes` nor `no`"),
        (spec("8080", &["verbose"], &["date"]), 16, "is not NAME=VALUE"),
        (spec("8080", &["user=nobdy"], &["date"]), 21, "did you mean `nobody`?"),
        (spec("htpt", &[], &["date"]), 13, "did you mean `http`? A unix socket in this directory"),
        (spec("sockets", &[], &["date"]), 13, "a unix socket in this directory is `./sockets`"),
        (spec("70000", &[], &["date"]), 13, "ports are numbers from 0, which is any free one,"),
        (spec("vsock:x:0", &[], &["date"]), 13, "a port from 0, which is any free one,"),
        (spec("8080", &["keepalive=maybe"], &["date"]), 26, "; or write `60s 10s 6`: asked"),
        (spec("8080", &["keepalive=yess"], &["date"]), 26, "did you mean `yes`? Or write `60s"),
        (spec("8080", &["answer_rate=5"], &["date"]), 28, "`5` is not a rate"),
        (spec("@x", &["idle_timeout=soon"], &["date"]), 29, "`soon` is not"),
        (spec("8080", &[], &["frob"]), 21, "no program `frob` is in PATH"),
        (spec("8080", &[], &["internal"]), 21, "no program `internal` is in PATH"),
        (spec("8080", &["redirect=192.0.2.1 80"], &["date"]), 46, "write `internal` instead"),
        (spec("8080", &[], &[]), 13, "no program is named"),
        (spec("", &[], &["date"]), 13, "a service is missing"),
    ] {
        let loaded = run(&spec);
        let [only] = loaded.diagnostics.as_slice() else { panic!("{:?}", loaded.diagnostics) };
        let line = only.one_line();
        assert!(line.starts_with("command line: "), "{line}");
        assert_eq!(only.span.as_ref().map(|span| span.position()), Some((1, at)), "{line}");
        assert!(line.contains(messages), "{line}");
        assert!(loaded.config.services.is_empty());
    }
}

#[test]
fn what_other_programs_call_an_endpoint_is_told_from_a_host() {
    for (endpoint, wanted) in [
        ("tcp:8080", "write `8080`"),
        ("tcp6:[::1]:8080", "write `[::1]:8080`"),
        ("tcp://127.0.0.1:80", "write `127.0.0.1:80`"),
        ("TCP-LISTEN:80", "write `80`"),
        ("udp:53", "write `--udp 53`"),
        ("unix:/tmp/x", "write `/tmp/x`"),
        ("ps.sock", "write `./ps.sock` for a unix socket"),
        ("example.org", "or `example.org:PORT` for a host"),
    ] {
        let loaded = run(&spec(endpoint, &[], &["date"]));
        let messages: String = loaded.diagnostics.iter().map(|it| it.one_line() + "\n").collect();
        assert!(messages.contains(wanted) && loaded.has_errors(), "{endpoint}: {messages}");
        assert_eq!(messages.lines().count(), 1, "{messages}");
    }
}
