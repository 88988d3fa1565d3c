//! The page for people over HTTP: who is shown it, and what else its socket answers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
};
use serde_json::Value;

use crate::common::clients::read_to_any_end;
use crate::common::control::{status, upgrade};
use crate::common::daemon::command;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, procs, read_all, tcp, tcp_line, wait_for,
};

/// A server with a page on this port.
fn shown(text: &str, port: u16) -> Daemon {
    Setup::new().controlled().arg("--page").arg(&port.to_string()).start(text)
}

/// An answer to raw bytes: its status, its head and the rest.
#[track_caller]
fn http(port: u16, request: &str) -> (u16, String, String) {
    let mut stream = tcp(port);
    stream.write_all(request.as_bytes()).unwrap();
    parts(&read_to_any_end(stream))
}

#[track_caller]
fn parts(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer:?}")), format!("{head}\r\n"), body.to_owned())
}

#[track_caller]
fn get(port: u16, path: &str) -> (u16, String, String) {
    http(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"))
}

#[test]
fn a_browser_is_shown_one_page_that_needs_nobody_else() {
    let port = free_port();
    let daemon = shown("", port);
    daemon.wait_log(|line| line.is("page") && line.raw.contains(&format!("127.0.0.1:{port}")));
    let (status, head, page) = get(port, "/");
    assert_eq!(status, 200, "{head}");
    for field in [
        "Content-Type: text/html; charset=utf-8",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
        "Referrer-Policy: no-referrer",
        "Cross-Origin-Resource-Policy: same-origin",
        "Connection: close",
    ] {
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{field}: {head}");
    }
    let policy = head.split("Content-Security-Policy: ").nth(1).unwrap();
    let policy = policy.split("\r\n").next().unwrap();
    for rule in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|it| it == rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
}

#[test]
fn its_data_are_those_of_the_commands() {
    let (port, date) = (free_port(), free_port());
    let daemon = shown(&(tcp_line(date, "/bin/date date") + "    no_access = 127.0.0.9\n"), port);
    read_all(tcp(date));
    daemon.wait_childless();
    let of_page = |path: &str| {
        let (answered, head, body) = get(port, path);
        assert_eq!(answered, 200, "{head}");
        assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    // Between two looks a second may begin.
    wait_for("the same status twice", || {
        let (page, command) = (of_page("/status.json"), status(&daemon, None));
        assert_eq!(page["services"], command["services"]);
        (page == command).then_some(())
    });
    let peers: Value = serde_json::from_str(&daemon.answer(&["peers", "--json"])).unwrap();
    assert_eq!(peers["total"], 1);
    assert_eq!(peers, of_page("/peers.json"));
}

#[test]
fn a_thousand_services_are_told_whole() {
    let port = free_port();
    let folder = Folder::new();
    let line = |number: usize| {
        format!("{} stream unix nowait - internal echo\n", folder.name(&format!("s{number}")))
    };
    let text: String = (0..1000).map(line).collect();
    let _daemon = Setup::new().arg("--page").arg(&port.to_string()).start_in(folder, &text);
    let (_, _, body) = get(port, "/status.json");
    let all: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(all["services"].as_array().unwrap().len(), 1000);
}

#[test]
fn whoever_asks_for_another_host_is_refused() {
    let port = free_port();
    let named = ["--page", &port.to_string(), "--page-host", "box.example"].map(str::to_owned);
    let setup = named.iter().fold(Setup::new(), |setup, argument| setup.arg(argument));
    let _daemon = setup.start("");
    let asked = |path: &str, host: &str| http(port, &format!("GET {path} HTTP/1.1\r\n{host}\r\n"));
    for path in ["/", "/status.json", "/peers.json", "/nowhere"] {
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "10.0.0.9"]
        {
            let (status, head, body) = asked(path, &format!("Host: {host}:{port}\r\n"));
            assert_eq!(status, 421, "{path} {host}: {head}");
            assert!(body.contains("--page-host") && !body.contains(host), "{body}");
        }
        assert_eq!(asked(path, "").0, 400, "{path}");
        assert_eq!(asked(path, "Host: localhost\r\nHost: evil.example\r\n").0, 400, "{path}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]", "box.example", "BOX.example."] {
        assert_eq!(asked("/", &format!("Host: {host}:{port}\r\n")).0, 200, "{host}");
        // As ssh leads here from a port of its own.
        assert_eq!(asked("/", &format!("Host: {host}:1\r\n")).0, 200, "{host}");
    }
}

#[test]
fn nothing_can_be_changed_there() {
    let (port, echo) = (free_port(), free_port());
    let daemon = shown(&format!("127.0.0.1:{echo} stream tcp nowait - internal echo\n"), port);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (status, head, _) = http(port, &request);
        assert_eq!(status, 405, "{method}: {head}");
        assert!(head.contains("\r\nAllow: GET, HEAD\r\n"), "{head}");
    }
    for path in ["/metrics", "/stop", "/reload", "//", "/../etc/passwd", "/status.json/"] {
        let (status, _, body) = get(port, path);
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("there are /, /status.json and /peers.json"), "{body}");
    }
    for path in ["/", "/status.json", "/peers.json"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (status, head, body) = http(port, &request);
        assert_eq!((status, body.as_str()), (200, ""), "{head}");
    }
    // The words of the control socket are none here.
    let (status, _, _) = http(port, "stop\r\n\r\n");
    assert_eq!(status, 400);
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\nx: {}", "y".repeat(20_000));
    assert_eq!(http(port, &endless).0, 431);
    assert_eq!(daemon.answer(&["status"]).matches("listening").count(), 1);
}

#[test]
fn only_this_machine_sees_it_unless_it_is_said() {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", "");
    let port = free_port();
    let open = format!("*:{port}");
    for (arguments, about) in [
        (vec!["--page", &open], "--page-open"),
        (vec!["--page", "192.0.2.7:8080"], "--page-open"),
        (vec!["--page", "[::]:8080"], "--page-open"),
        (vec!["--page", "nonsense"], "nonsense"),
        (vec!["--page", "8080", "--page-host", "http://x/"], "--page-host http://x/"),
        (vec!["--page-open"], "--page"),
        (vec!["--page-host", "x"], "--page"),
    ] {
        let mut server = command(&[]);
        server.arg(&file).args(["--control", "none"]).args(&arguments);
        let output = server.output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {words}");
        assert!(words.contains(about), "{words}");
    }
    let _daemon = Setup::new().arg("--page").arg(&open).arg("--page-open").start("");
    // Another address of this machine, which only the open one has.
    let mut stream = TcpStream::connect(("127.0.0.9", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.9\r\n\r\n").unwrap();
    assert_eq!(parts(&read_to_any_end(stream)).0, 200);
}

#[test]
fn on_a_path_it_is_its_owners() {
    let folder = Folder::new();
    let path = folder.name("page");
    let _daemon = Setup::new().arg("--page").arg(&path).start_in(folder, "");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let asked = |host: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        let request = format!("GET /status.json HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        parts(&answer).0
    };
    assert_eq!((asked("localhost:8080"), asked("evil.example")), (200, 421));
}

#[test]
fn silent_browsers_harm_nobody() {
    let (port, date) = (free_port(), free_port());
    let daemon = shown(&tcp_line(date, "/bin/echo echo yes"), port);
    let silent: Vec<TcpStream> = (0..200).map(|_| tcp(port)).collect();
    assert_eq!(get(port, "/").0, 200);
    assert_eq!(read_all(tcp(date)), "yes\n");
    assert!(daemon.answer(&["status"]).contains("listening"));
    let open = procs::descriptors(daemon.pid());
    assert!(open < 100, "{open} descriptors");
    drop(silent);
}

/// Somebody who asks and takes as little of the answer as he can: its first byte.
#[track_caller]
fn takes_nothing(port: u16, path: &str) -> TcpStream {
    let kind = SockType::Stream;
    let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::RcvBuf, &1024).unwrap();
    setsockopt(&fd, sockopt::TcpMaxSeg, &88).unwrap();
    connect(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
    let mut stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    asks(&mut stream, path);
    stream.read_exact(&mut [0]).unwrap();
    stream
}

fn asks(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

#[test]
fn those_who_are_answered_and_take_nothing_are_in_nobody_elses_way() {
    for (argument, path, short) in
        [("--page", "/status.json", "/"), ("--metrics", "/metrics", "/healthz")]
    {
        let (port, folder) = (free_port(), Folder::new());
        let line = |number: usize| {
            format!("{} stream unix nowait - internal echo\n", folder.name(&format!("s{number}")))
        };
        let text: String = (0..500).map(line).collect();
        let _daemon = Setup::new().arg(argument).arg(&port.to_string()).start_in(folder, &text);
        let mut crowd = Vec::new();
        for _ in 0..5 {
            crowd.extend((0..31).map(|_| takes_nothing(port, path)));
            assert_eq!(get(port, short).0, 200);
            // They all come before any of them asks.
            let mut askers: Vec<TcpStream> = (0..16).map(|_| tcp(port)).collect();
            askers.iter_mut().for_each(|asker| asks(asker, short));
            for asker in askers {
                assert_eq!(parts(&read_to_any_end(asker)).0, 200, "{argument}");
            }
        }
    }
}

#[test]
fn an_upgrade_goes_on_with_the_page() {
    let port = free_port();
    let daemon = shown("", port);
    // Half a request waits for the new program.
    let mut browser = tcp(port);
    browser.write_all(b"GET /status.json HTTP/1.1\r\nHost: local").unwrap();
    let _ = daemon.answer(&["status"]);
    upgrade(&daemon);
    browser.write_all(b"host\r\n\r\n").unwrap();
    assert_eq!(parts(&read_to_any_end(browser)).0, 200);
    assert_eq!(get(port, "/").0, 200);
    assert_eq!(http(port, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").0, 421);
    assert_eq!(get(port, "/metrics").0, 404);
}
