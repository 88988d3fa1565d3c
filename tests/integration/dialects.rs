//! Lines from the manuals and shipped files of other inetds: each means what its
//! dialect means by it, or is refused with a reason.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed helper is a failed test"
)]

use std::path::Path;
use std::time::Duration;

use crate::fake::FakeLookup;
use oxinetd::config::model::{Action, Builtin, Endpoint, Rate, Service, SocketType};
use oxinetd::config::{Dialect, Loaded, Named, load, load_in_place};

fn read(text: &str) -> Loaded {
    let mut fake = FakeLookup::with_file("inetd.conf", text);
    for program in ["/usr/sbin/in.telnetd", "/usr/libexec/rpc.rstatd"] {
        fake.programs.insert(program.into());
    }
    load(Path::new("inetd.conf"), &[], &fake)
}

/// The only service of a text in which nothing is wrong.
fn service(text: &str) -> Service {
    let loaded = read(text);
    let said: Vec<String> = loaded.diagnostics.iter().map(|one| one.one_line()).collect();
    assert!(said.is_empty(), "{text}: {said:?}");
    assert_eq!(loaded.config.services.len(), 1, "{text}");
    (*loaded.config.services[0]).clone()
}

/// The service, its sockets as text, its program and arguments.
fn outline(service: &Service) -> String {
    let sockets: Vec<String> = service
        .sockets
        .iter()
        .map(|socket| match &socket.endpoint {
            Endpoint::Inet(address) => address.to_string(),
            Endpoint::Unix(path) => path.display().to_string(),
            Endpoint::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
            Endpoint::Vsock(address) => address.to_string(),
        })
        .collect();
    let action = match &service.action {
        Action::Builtin(builtin) => format!("{builtin:?}"),
        Action::Relay(target) => format!("{target:?}"),
        Action::Program(program) => {
            let argv: Vec<_> = program.argv.iter().map(|word| word.to_string_lossy()).collect();
            format!("{} [{}]", program.path.display(), argv.join("|"))
        }
    };
    let wait = if service.wait { "wait" } else { "nowait" };
    let account = &service.account;
    let user = format!("{}:{}", account.name, account.gid);
    let kind = format!("{:?}", service.socket_type).to_lowercase();
    format!("{} {kind} {} {wait} {user} {action}", service.label, sockets.join(","))
}

/// Lines, and what they mean.
const LINES: &[(&str, &str)] = &[
    (
        "ftp stream tcp nowait root /usr/libexec/ftpd ftpd -l",
        "ftp/tcp stream 0.0.0.0:21,[::]:21 nowait root:0 /usr/libexec/ftpd [ftpd|-l]",
    ),
    (
        "ntalk dgram udp wait nobody.tty /usr/sbin/in.ntalkd in.ntalkd",
        "ntalk/udp dgram 0.0.0.0:518,[::]:518 wait nobody:5 /usr/sbin/in.ntalkd [in.ntalkd]",
    ),
    (
        "telnet stream tcp nowait telnetd /usr/sbin/tcpd /usr/sbin/in.telnetd",
        "telnet/tcp stream 0.0.0.0:23,[::]:23 nowait telnetd:101 /usr/sbin/tcpd [/usr/sbin/in.telnetd]",
    ),
    (
        "shell stream tcp46 nowait root /usr/libexec/rshd rshd",
        "shell/tcp stream 0.0.0.0:514,[::]:514 nowait root:0 /usr/libexec/rshd [rshd]",
    ),
    (
        "tftp dgram udp6 wait root /usr/libexec/tftpd tftpd -l -s /tftpboot",
        "tftp/udp dgram [::]:69 wait root:0 /usr/libexec/tftpd [tftpd|-l|-s|/tftpboot]",
    ),
    (
        "/var/run/echo stream unix nowait root internal",
        "/var/run/echo stream /var/run/echo nowait root:0 Echo",
    ),
    (
        "tcpmux stream tcp nowait root internal",
        "tcpmux/tcp stream 0.0.0.0:1,[::]:1 nowait root:0 Tcpmux",
    ),
    ("time dgram udp wait root internal", "time/udp dgram 0.0.0.0:37,[::]:37 wait root:0 Time"),
    (
        "null stream tcp nowait root internal",
        "null/tcp stream 0.0.0.0:9,[::]:9 nowait root:0 Discard",
    ),
    ("13 stream tcp4 nowait root internal", "13/tcp stream 0.0.0.0:13 nowait root:0 Daytime"),
    (
        "127.0.0.1:7007 stream tcp nowait - internal echo",
        "7007/tcp stream 127.0.0.1:7007 nowait root:0 Echo",
    ),
    (
        "127.0.0.1,[::1]:pop3 stream tcp nowait.400 root /usr/sbin/tcpd in.pop3d",
        "pop3/tcp stream 127.0.0.1:110,[::1]:110 nowait root:0 /usr/sbin/tcpd [in.pop3d]",
    ),
    (
        "127.0.0.1:\npop-3 stream tcp nowait root cat",
        "pop-3/tcp stream 127.0.0.1:110 nowait root:0 /bin/cat [cat]",
    ),
    (
        "127.0.0.1:\n*:\nhttp stream tcp4 nowait john.doe cat",
        "http/tcp stream 0.0.0.0:80 nowait john.doe:103 /bin/cat [cat]",
    ),
    (
        "#@ ipsec ah/require\n8080 stream tcp nowait - cat",
        "8080/tcp stream 0.0.0.0:8080,[::]:8080 nowait nobody:65534 /bin/cat [cat]",
    ),
    (
        "#<off># netbios-ssn stream tcp nowait root /usr/sbin/tcpd /usr/sbin/smbd\n1 stream tcp6only nowait 1000 cat",
        "1/tcp stream [::]:1 nowait me:1000 /bin/cat [cat]",
    ),
    (
        "http stream tcp nowait nobody /usr/bin/nc nc -N dest-ip 80",
        "http/tcp stream 0.0.0.0:80,[::]:80 nowait nobody:65534 /usr/bin/nc [nc|-N|dest-ip|80]",
    ),
    (
        "localhost:8000-8001 stream tcp nowait - cat cat a\n  b 'c d'",
        "8000-8001/tcp stream 127.0.0.1:8000,[::1]:8000,127.0.0.1:8001,[::1]:8001 nowait nobody:65534 /bin/cat [cat|a|b|c d]",
    ),
    (
        "[fe80::1%eth0]:99 stream tcp nowait - cat",
        "99/tcp stream [fe80::1%2]:99 nowait nobody:65534 /bin/cat [cat]",
    ),
    ("@name seqpacket unix wait - cat", "@name seqpacket @name wait nobody:65534 /bin/cat [cat]"),
    (
        "5432 on protocol = tcp, wait = no, user = root, ip_max = 0, exec = test_server, args = test_server stream nowait;",
        "5432/tcp stream 0.0.0.0:5432,[::]:5432 nowait root:0 /usr/bin/test_server [test_server|stream|nowait]",
    ),
    (
        "5432 on # udp\nprotocol = udp, wait = yes,\n\tuser = root, service_max = 5,\n exec = test_server,\n args = test_server dgram wait;",
        "5432/udp dgram 0.0.0.0:5432,[::]:5432 wait root:0 /usr/bin/test_server [test_server|dgram|wait]",
    ),
    ("[::1]:echo on socktype = stream;", "echo/tcp stream [::1]:7 nowait root:0 Echo"),
    ("echo on bind = 127.0.0.1, protocol = udp;", "echo/udp dgram 127.0.0.1:7 wait root:0 Echo"),
];

#[test]
fn lines_of_the_manuals_mean_what_they_say_there() {
    for (line, expected) in LINES {
        assert_eq!(outline(&service(line)), *expected, "{line}");
    }
}

#[test]
fn limits_of_every_dialect_become_attributes() {
    let minute = |count| Some(Rate { count, per: Duration::from_secs(60) });
    for line in ["80 stream tcp nowait.400 - cat", "80 stream tcp nowait:400 - cat"] {
        let attributes = service(line).attributes;
        assert_eq!(
            (attributes.limits.rate, attributes.limits.instances),
            (minute(400), Some(256)),
            "{line}"
        );
    }
    let attributes =
        service("nntp stream tcp nowait/40/20/5 news:news /usr/lib/news/nnrpd nnrpd").attributes;
    assert_eq!(attributes.limits.instances, Some(40));
    assert_eq!(
        (attributes.limits.source_rate, attributes.limits.per_source),
        (minute(20), Some(5))
    );
    let attributes = service("80 stream tcp nowait/0/0/0 - cat").attributes;
    assert_eq!(
        (attributes.limits.instances, attributes.limits.source_rate, attributes.limits.per_source),
        (None, None, None)
    );
    assert_eq!(service("80 stream,2 tcp nowait - cat").attributes.limits.instances, Some(2));
    assert_eq!(service("/run/x stream,2 unix nowait - cat").attributes.limits.instances, Some(2));
    let attributes = service("shell stream tcp,sndbuf=16384,rcvbuf=1m nowait root cat").attributes;
    assert_eq!((attributes.socket.sndbuf, attributes.socket.rcvbuf), (Some(16384), Some(1 << 20)));
    let text = "80 on protocol = tcp, wait = no, user = root, service_max = 5, ip_max = 3, accept_max = 9, sndbuf = 64k, exec = cat;";
    let attributes = service(text).attributes;
    assert_eq!((attributes.limits.rate, attributes.limits.source_rate), (minute(5), minute(3)));
    assert_eq!((attributes.limits.instances, attributes.socket.sndbuf), (Some(9), Some(65536)));
}

#[test]
fn freebsd_owners_of_unix_sockets_become_attributes() {
    let loaded = read(":news:daemon:220:/var/run/sock stream unix nowait root internal echo");
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let attributes = &loaded.config.services[0].attributes;
    assert_eq!((attributes.socket.user, attributes.socket.group), (Some(9), Some(1)));
    assert_eq!(attributes.socket.mode, 0o220);
}

#[test]
fn entries_of_tcpmux_have_no_sockets() {
    let loaded = read(
        "tcpmux stream tcp nowait root internal\ntcpmux/+date stream tcp nowait guest /bin/date date\ntcpmux/phonebook stream tcp nowait guest cat\n",
    );
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let services = &loaded.config.services;
    assert_eq!(services[1].label, "tcpmux/date");
    assert!(services[1].sockets.is_empty());
    assert!(services[1].tcpmux.as_ref().unwrap().greet);
    assert!(!services[2].tcpmux.as_ref().unwrap().greet);
}

#[test]
fn what_is_not_done_here_is_said() {
    for (line, errors, said) in [
        (
            "rstatd/1-3 dgram rpc/udp wait root /usr/libexec/rpc.rstatd rpc.rstatd",
            0,
            "Sun RPC registration is not done",
        ),
        (
            "auth stream tcp nowait root internal auth -r -f -n -o UNKNOWN -t 30",
            1,
            "`auth` (ident) is not supported",
        ),
        ("auth stream tcp nowait root internal", 1, "`auth` (ident) is not supported"),
        (
            ":news:daemon:220:/var/run/sock stream unix nowait root internal",
            1,
            "no built-in service `sock`",
        ),
        ("::1:http stream tcp6 nowait me cat cat", 1, "write `[::1]:http`"),
        ("8080 raw udp wait root cat", 1, "`raw` is not supported"),
        (
            "nntp stream tcp nowait/40/20/5 news:news/daemon /usr/lib/news/nnrpd nnrpd",
            0,
            "login classes",
        ),
        (
            "8080 stream,2:httpready tcp nowait:0 user:group \"/opt/my prog\" 'my prog' \"a b\"",
            0,
            "accept filters",
        ),
    ] {
        let loaded = read(line);
        let all: Vec<String> = loaded.diagnostics.iter().map(|one| one.one_line()).collect();
        assert_eq!(oxinetd::config::summary(&loaded.diagnostics).0, errors, "{line}: {all:?}");
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].contains(said), "{all:?}");
        let served = usize::from(errors == 0 && !said.contains("RPC"));
        assert_eq!(loaded.config.services.len(), served, "{line}");
    }
}

#[test]
fn attributes_and_defaults_reach_the_model() {
    let text = "\
.defaults
    per_source = 10
    env = A=1 B=2
127.0.0.1:50002 stream tcp nowait nobody cal cal 2026
    instances=20
    env += C='x y' A=3
    env -= B
    rlimit_as = 64M
    group = tty
    groups = no
";
    let service = service(text);
    assert_eq!(service.attributes.limits.per_source, Some(10));
    assert_eq!(service.attributes.limits.instances, Some(20));
    let env = [("C".to_owned(), "x y".into()), ("A".to_owned(), "3".into())];
    assert_eq!(service.attributes.process.env, env);
    assert_eq!((service.account.gid, service.account.groups.len()), (5, 0));
    assert_eq!(service.socket_type, SocketType::Stream);
    assert_ne!(service.action, Action::Builtin(Builtin::Echo));
    assert_eq!(service.origin.line, 4);
}

#[test]
fn defaults_of_the_command_line_hold_for_all_services() {
    let fake = FakeLookup::with_file("inetd.conf", "80 stream tcp nowait - cat\n");
    let path = Path::new("inetd.conf");
    let loaded = load(path, &["instances=3".to_owned()], &fake);
    assert_eq!(loaded.config.services[0].attributes.limits.instances, Some(3));
    for (wrong, said) in
        [("instances=x", "not a number"), ("bogus=1", "unknown attribute"), ("x", "not NAME=VALUE")]
    {
        let loaded = load(path, &[wrong.to_owned()], &fake);
        assert!(loaded.diagnostics[0].one_line().contains(said), "{:?}", loaded.diagnostics);
        assert!(loaded.config.services.is_empty());
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_error_and_a_directory_its_files() {
    let mut fake = FakeLookup::with_file("/etc/inetd.d/b.conf", "81 stream tcp nowait - cat\n");
    for name in ["a.conf", "c.conf~", ".d.conf", "e.txt"] {
        let path = Path::new("/etc/inetd.d").join(name);
        fake.files.insert(path, b"80 stream tcp nowait - cat\n".to_vec());
    }
    let loaded = load(Path::new("/etc/inetd.d"), &[], &fake);
    let labels: Vec<&str> = loaded.config.services.iter().map(|one| one.label.as_str()).collect();
    assert_eq!(labels, ["80/tcp", "81/tcp"]);
    let loaded = load(Path::new("/no/such"), &[], &fake);
    let [only] = loaded.diagnostics.as_slice() else { panic!("{:?}", loaded.diagnostics) };
    assert_eq!(only.message, "cannot read `/no/such`: No such file or directory");
    assert!(
        only.span.is_none() && only.help.as_ref().unwrap().contains("oxinetd run 8080 -- date")
    );
}

#[test]
fn built_in_services_need_no_services_database() {
    let text = "echo stream tcp nowait - internal\ndaytime dgram udp wait - internal\n";
    let mut fake = FakeLookup::with_file("inetd.conf", text);
    fake.services.clear();
    let loaded = load(Path::new("inetd.conf"), &[], &fake);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    assert_eq!(
        outline(&loaded.config.services[0]),
        "echo/tcp stream 0.0.0.0:7,[::]:7 nowait root:0 Echo"
    );
    assert_eq!(
        loaded.config.services[1].sockets[0].endpoint,
        Endpoint::Inet("0.0.0.0:13".parse().unwrap())
    );
}

#[test]
fn what_an_included_file_says_of_others_ends_with_it() {
    let mut fake = FakeLookup::with_file(
        "etc/inetd.conf",
        "127.0.0.1:\n.defaults\n    nice = 1\n.include conf.d/*\n81 stream tcp nowait - cat\n",
    );
    let inner =
        "80 stream tcp nowait - cat\n[::1]:\n.defaults\n    nice = 2\n82 stream tcp nowait - cat\n";
    fake.files.insert("etc/conf.d/a".into(), inner.into());
    let loaded = load(Path::new("etc/inetd.conf"), &[], &fake);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let services = &loaded.config.services;
    let all: Vec<(&str, i32, bool)> = services
        .iter()
        .map(|one| {
            let Endpoint::Inet(address) = &one.sockets[0].endpoint else { panic!("{one:?}") };
            (one.label.as_str(), one.attributes.process.nice, address.is_ipv4())
        })
        .collect();
    assert_eq!(all, [("80/tcp", 1, true), ("82/tcp", 2, false), ("81/tcp", 1, true)]);
    assert_eq!(&*services[0].origin.file, "etc/conf.d/a");
}

#[test]
fn attributes_can_stand_below_key_values_too() {
    let text = "80 on protocol = tcp, wait = no, user = root, exec = cat; # web\n    nice = 3\n81 off protocol = tcp,\n  wait = no, user = root, exec = cat;\n";
    let loaded = read(text);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    assert_eq!(loaded.config.services[0].attributes.process.nice, 3);
    assert_eq!(loaded.config.disabled[0].label, "81/tcp");
}

/// The sockets of each service, read in the place of another server.
fn sockets_as(dialect: Dialect, text: &str) -> Vec<String> {
    let fake = FakeLookup::with_file("inetd.conf", text);
    let loaded = load_in_place(&[Named::new("inetd.conf")], &[], dialect, &fake);
    assert!(loaded.diagnostics.is_empty(), "{text}: {:?}", loaded.diagnostics);
    let sockets = |service: &Service| {
        let text = outline(service);
        text.split(' ').nth(2).unwrap_or_default().to_owned()
    };
    loaded.config.services.iter().map(|service| sockets(service)).collect()
}

#[test]
fn in_the_place_of_another_server_protocols_have_its_families() {
    let line = |kind: &str, protocol: &str| format!("80 {kind} {protocol} nowait - cat\n");
    let of = |dialect, kind: &str, protocol: &str| {
        sockets_as(dialect, &line(kind, protocol).replace("dgram udp6 nowait", "dgram udp6 wait"))
            .remove(0)
    };
    let (four, six, both) = ("0.0.0.0:80", "[::]:80", "0.0.0.0:80,[::]:80");
    for (protocol, own, openbsd, gnu) in
        [("tcp", both, both, four), ("tcp6", six, six, both), ("tcp4", four, four, four)]
    {
        assert_eq!(of(Dialect::Own, "stream", protocol), own);
        assert_eq!(of(Dialect::OpenBsd, "stream", protocol), openbsd);
        assert_eq!(of(Dialect::Gnu, "stream", protocol), gnu);
    }
    assert_eq!(of(Dialect::Own, "dgram", "udp6"), six);
    assert_eq!(of(Dialect::OpenBsd, "dgram", "udp6"), both);
    assert_eq!(of(Dialect::Gnu, "dgram", "udp6"), both);
}

#[test]
fn what_takes_both_families_there_leaves_ipv4_to_a_line_that_is_for_it() {
    let lines = ["80 stream tcp nowait - cat\n", "80 stream tcp6 nowait - cat\n"];
    let wanted = ["0.0.0.0:80", "[::]:80"];
    assert_eq!(sockets_as(Dialect::Gnu, &lines.concat()), wanted);
    let [four, six] = lines;
    assert_eq!(sockets_as(Dialect::Gnu, &[six, four].concat()), [wanted[1], wanted[0]]);
    let pair = "80 dgram udp6 wait - cat\n80 dgram udp wait - cat\n";
    assert_eq!(sockets_as(Dialect::OpenBsd, pair), [wanted[1], wanted[0]]);
}
