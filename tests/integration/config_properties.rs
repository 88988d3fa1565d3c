//! What holds for every configuration, right or wrong.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed helper is a failed test"
)]

use std::path::Path;

use crate::fake::FakeLookup;
use oxinetd::config::attribute::{Scope, all};
use oxinetd::config::print::inetd_conf;
use oxinetd::config::{Loaded, RunSpec, from_command_line, load};
use proptest::prelude::*;

fn read(bytes: &[u8], machine: &FakeLookup) -> Loaded {
    let mut fake = machine.clone();
    fake.files.insert("inetd.conf".into(), bytes.to_vec());
    fake.files.insert("friends".into(), b"2001:db8::/32\n::1\n10.0.0.1\n".to_vec());
    fake.files.insert("hello".into(), b"hello\n".to_vec());
    load(Path::new("inetd.conf"), &[], &fake)
}

/// Machines with and without IPv6, root and a services database.
fn machine() -> impl Strategy<Value = FakeLookup> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(ipv6, root, services)| {
        let mut fake = FakeLookup { ipv6, ..FakeLookup::default() };
        fake.own_uid = if root { 0 } else { 1000 };
        if !services {
            fake.services.clear();
        }
        fake
    })
}

/// Every place lies in its file, on characters, and every text can be shown.
fn check(loaded: &Loaded) {
    for diagnostic in &loaded.diagnostics {
        let spans = diagnostic.span.iter().chain(diagnostic.related.iter().map(|(span, _)| span));
        for span in spans {
            assert!(span.source.text.get(span.start..span.end).is_some(), "{diagnostic:?}");
        }
        for text in [diagnostic.render(), diagnostic.one_line()] {
            let shown = |c: char| c == '\n' || !c.is_control();
            assert!(text.chars().all(shown), "{text:?}");
        }
    }
}

/// Pieces of which mistakes are made.
const PIECES: &[&str] = &[
    "stream",
    "dgram",
    "seqpacket",
    "tcp",
    "udp",
    "unix",
    "tcp6",
    "wait",
    "nowait",
    "nowait.4",
    "nowait/1/2/3",
    "-",
    "root",
    "nobody:tty",
    "cat",
    "internal",
    "echo",
    "8080",
    "127.0.0.1:80",
    "[::1]:",
    "[fe80::1%",
    "*:",
    "/run/x",
    "@x",
    ":a:b:c:/d",
    "tcpmux/+x",
    ".defaults",
    ".include",
    "inetd.conf",
    "on",
    "off",
    "=",
    "+=",
    "-=",
    ",",
    ";",
    "'",
    "\"",
    "\\",
    "\\x",
    "#",
    "instances",
    "env",
    "A=b",
    "rate",
    "5/minute",
    "interface",
    "eth0",
    "\n",
    "\n    ",
    "\r\n",
    "\t",
    " ",
    " ",
    "ä",
    "日本",
    "\u{301}",
    "\0",
    "1-65535",
    "99999999999999999999",
    "unlimited",
    "service x {",
];

/// Attributes that are right for some services.
const ATTRIBUTES: &[&str] = &[
    "instances = 7",
    "instances = unlimited",
    "at_limit = refuse",
    "rate = 5/minute",
    "rate = 3/second",
    "per_source = 3",
    "source_rate = 9/second",
    "backlog = 5",
    "groups = no",
    "umask = 077",
    "nice = -5",
    "chdir = '/tmp/a b'",
    "env = A=1 B='x y' C=\"\\\"\" D=",
    "passenv = LANG TZ",
    "rlimit_as = 64M",
    "chroot = /jail",
    "rlimit_data = 1G",
    "rlimit_fsize = 1023",
    "rlimit_nproc = 2k",
    "rlimit_stack = 8m",
    "rlimit_cpu = 5",
    "rlimit_core = 0",
    "rlimit_files = unlimited",
    "no_new_privs = yes",
    "capabilities = none",
    "capabilities = CAP_CHOWN kill",
    "capabilities -= SYS_ADMIN",
    "read_only = /bin /usr/bin",
    "read_only = ?/bin",
    "read_write = '/opt/my prog' /bin",
    "memory_max = 64M",
    "tasks_max = 10",
    "cpu_max = 150%",
    "stderr = socket",
    "stderr = null",
    "linger = yes",
    "linger = no",
    "nodelay = yes",
    "keepalive = yes",
    "keepalive = 60s 10s 6",
    "keepalive = 2h 1m 127",
    "answer_rate = 50/second",
    "answer_rate = unlimited",
    "max_clients = 3",
    "v6only = yes",
    "sndbuf = 64k",
    "rcvbuf = 1000",
    "socket_user = news",
    "socket_group = 9",
    "socket_mode = 0666",
    "on_stop = terminate",
    "id = hello",
    "id = 'two words'",
    "disable = yes",
    "interface = eth0",
    "interface = 127.0.0.1",
    "group = news",
    "only_from = 10.0.0.0/8 ::1 10.1.{2,3}",
    "only_from =",
    "only_from += @friends",
    "no_access = 10.0.0.0/32 192.0.2.7",
    "no_access += @friends\n    no_access -= ::1",
    "access_times = 8:00-12:30 22:00-6:00",
    "cps = 50 30",
    "cps = 7",
    "max_load = 2.5",
    "timeout = 90s",
    "timeout = 36h",
    "kill_after = 500ms",
    "leftovers = end",
    "banner = hello",
    "banner_success = hello",
    "banner_fail = 'hello'",
    "log_on_success = PID EXIT",
    "log_on_success =",
    "log_on_failure -= HOST",
    "log_type = FILE /var/log/some.log",
    "log_type = FILE '/var/log/my own.log' 500k",
    "log_type = FILE /var/log/some.log 1M 1536k",
];

/// Examples of what is an error where nobody can tell.
const OF_CONNECTIONS: &[&str] = &[
    "idle_timeout = 90s",
    "idle_timeout = 100ms",
    "proxy_protocol = require\n    proxy_from = 10.0.0.0/8 ::1",
    "proxy_protocol = accept\n    proxy_from = 10.0.0.0/8",
    "proxy_from = @friends\n    proxy_from -= ::1\n    proxy_protocol = accept",
    "proxy_timeout = 1500ms\n    proxy_protocol = require\n    proxy_from = ::1",
    "pty = yes",
    "pty_size = 132x50\n    pty = yes",
    "term = xterm-256color\n    telnet = yes",
    "telnet = yes",
];

/// The same of TLS, with a certificate.
const OF_TLS: &[&str] = &[
    "tls = /site.pem /site.key",
    "tls = /site.pem /site.key\n    tls += '/other site.pem' /site.key",
    "tls_client = ask\n    tls = /site.pem /site.key\n    tls_ca = /site.pem",
    "tls_client = require\n    tls = /site.pem /site.key\n    tls_ca = /site.pem",
    "tls_ca = /site.pem\n    tls_client = ask\n    tls = /site.pem /site.key",
    "tls_versions = 1.3\n    tls = /site.pem /site.key",
    "tls_versions = 1.2\n    tls = /site.pem /site.key",
    "tls_alpn = http/1.1 acme\n    tls = /site.pem /site.key",
    "tls_timeout = 1500ms\n    tls = /site.pem /site.key",
    "front_workers = own\n    tls = /site.pem /site.key",
];

const CERTIFICATE: &str = include_str!("tls_files/site.pem");
const KEY: &str = include_str!("tls_files/site.key");

/// Examples of `redirect`, which stands instead of a program.
const REDIRECTS: &[&str] = &[
    "redirect = server www",
    "redirect = [fe80::1%eth0] 80",
    "redirect = '/run/a b'",
    "redirect = @name",
    "proxy_send = v1\n    redirect = server www",
    "proxy_send = v2\n    redirect = @name",
];

/// A piece of a mistake.
fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(PIECES);
    prop_oneof![8 => words.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

/// A line that is right, with its attributes.
fn entry() -> impl Strategy<Value = String> {
    let endpoint = prop_oneof![
        (1_u16..=60000).prop_map(|port| format!("{port} stream tcp nowait")),
        (1_u16..=60000).prop_map(|port| format!("{port} stream tcp4 wait")),
        (1_u16..=60000)
            .prop_map(|port| format!("{port}-{} dgram udp6 wait", port.saturating_add(3))),
        (1_u16..=60000).prop_map(|port| format!("server:{port} stream tcp nowait")),
        (1_u16..=60000)
            .prop_map(|port| format!("[fe80::1%eth0],127.0.0.1:{port} dgram udp nowait")),
        "[a-z]{1,8}".prop_map(|name| format!("\"/run/a b/{name}\" stream unix nowait")),
        "[a-z]{1,8}".prop_map(|name| format!("@{name} seqpacket unix wait")),
        "[a-z]{1,8}".prop_map(|name| format!("tcpmux/+{name} stream tcp nowait")),
        Just("echo stream tcp nowait".to_owned()),
    ];
    let user =
        prop::sample::select(vec!["-", "root", "nobody:tty", "john.doe", "1000", "4711:4712"]);
    let action = prop_oneof![
        Just("cat".to_owned()),
        Just("'/opt/my prog' 'my prog' \"a\\\"b\\\\\\n\\xff\" '' '#'".to_owned()),
        Just("/bin/cat cat ä 日本 it\\s".to_owned()),
        prop::sample::select(REDIRECTS).prop_map(|line| format!("internal\n    {line}")),
    ];
    let attribute = prop::sample::select(ATTRIBUTES);
    (endpoint, user, action, prop::collection::vec(attribute, 0..6)).prop_map(
        |(endpoint, user, action, attributes)| {
            let lines: String = attributes.iter().map(|line| format!("    {line}\n")).collect();
            format!("{endpoint} {user} {action}\n{lines}")
        },
    )
}

/// The model without the places, which printing changes.
fn without_places(loaded: &Loaded) -> Vec<oxinetd::config::model::Service> {
    let config = &loaded.config;
    let all = config.services.iter().chain(&config.disabled);
    all.map(|service| {
        let mut service = (**service).clone();
        service.origin = Default::default();
        service
    })
    .collect()
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), machine in machine()) {
        check(&read(&bytes, &machine));
    }

    #[test]
    fn any_words_are_read_without_harm(pieces in prop::collection::vec(piece(), 0..60), gap in "[ ]?", machine in machine()) {
        check(&read(pieces.join(&gap).as_bytes(), &machine));
    }

    #[test]
    fn any_command_line_is_read_without_harm(
        endpoint in "\\PC{0,20}",
        udp in any::<bool>(),
        options in prop::collection::vec(piece(), 0..4),
        command in prop::collection::vec("\\PC{0,10}", 0..3),
        machine in machine(),
    ) {
        let command = command.into_iter().map(Into::into).collect();
        check(&from_command_line(&RunSpec { endpoint, udp, options, command, tls: None }, &machine));
    }

    #[test]
    fn what_is_printed_reads_back_equal(entries in prop::collection::vec(entry(), 1..4), machine in machine()) {
        let first = read(entries.concat().as_bytes(), &machine);
        let printed = inetd_conf(&first.config, &machine);
        let second = read(printed.as_bytes(), &machine);
        prop_assert_eq!(without_places(&first), without_places(&second), "{}", printed);
    }
}

#[test]
fn a_very_long_line_is_read() {
    let line = format!("8080 stream tcp nowait - cat cat {}", "word ".repeat(100_000));
    let loaded = read(line.as_bytes(), &FakeLookup::default());
    check(&loaded);
    assert_eq!(loaded.config.services.len(), 1);
}

#[test]
fn every_attribute_is_read_and_printed() {
    // A directory that `chdir` names.
    let mut machine = FakeLookup::with_file("/tmp/a b/file", "");
    for (path, text) in
        [("/site.pem", CERTIFICATE), ("/other site.pem", CERTIFICATE), ("/site.key", KEY)]
    {
        machine.files.insert(path.into(), text.into());
    }
    for attribute in all() {
        let name = attribute.name;
        let action = match name {
            "redirect" | "proxy_send" => "- internal",
            "answer_rate" => "- internal echo",
            _ => "nobody cat",
        };
        // Without TLS nobody can read a certificate.
        let of_tls = OF_TLS.iter().filter(|_| cfg!(feature = "tls"));
        let examples = ATTRIBUTES.iter().chain(REDIRECTS).chain(OF_CONNECTIONS).chain(of_tls);
        let examples = examples.filter(|line| line.split(' ').next() == Some(name));
        let mut count = 0;
        for example in examples {
            let head = match attribute.scope {
                Scope::UnixPath => "/run/x stream unix nowait",
                Scope::Answers => "echo dgram udp wait",
                _ => "80 stream tcp nowait",
            };
            let text = format!("{head} {action}\n    {example}\n");
            let first = read(text.as_bytes(), &machine);
            // Nobody may connect then, which is told.
            let known = |it: &oxinetd::config::diagnostic::Diagnostic| {
                it.message.starts_with("`only_from` is empty")
            };
            assert!(first.diagnostics.iter().all(known), "{text}{:?}", first.diagnostics);
            let plain = read(format!("{head} {action}\n").as_bytes(), &machine);
            assert_ne!(first.config, plain.config, "`{example}` changes nothing");
            let printed = inetd_conf(&first.config, &machine);
            let second = read(printed.as_bytes(), &machine);
            assert_eq!(without_places(&first), without_places(&second), "{printed}");
            count += 1;
        }
        let knows = cfg!(feature = "tls") || !(name.starts_with("tls") || name == "front_workers");
        assert!(count > 0 || !knows, "no example of `{name}`");
    }
}
