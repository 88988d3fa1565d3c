//! Beside the real xinetd: both serve the same file, and what a client sees, what a
//! program sees and who is refused are compared. Every difference is written down
//! here, and in oxinetd.conf(5) with its reason, so that none comes unnoticed.

mod changes;
mod command;
mod differences;
mod lists;
mod programs;
mod sockets;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

use crate::common::clients::{ask, echo_once, read_to_any_end, try_tcp, udp_ask};
use crate::common::needs::{find_program, search_path, skip};
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_ports, need_root, read_all, tcp, udp, wait_until,
};

/// Looked for once for all tests.
static XINETD: OnceLock<Option<PathBuf>> = OnceLock::new();

/// The installed one, or Debian's package unpacked where it can be had; None after a
/// loud skip. (Only root can run both as every user.)
fn xinetd() -> Option<PathBuf> {
    if !need_root() {
        return None;
    }
    let program = XINETD.get_or_init(|| find_program("xinetd").or_else(unpacked)).clone();
    if program.is_none() {
        skip("needs xinetd, installed or from Debian's package");
    }
    program
}

/// Debian's package in the folder of the build, once for all runs.
fn unpacked() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("xinetd");
    let program = folder.join("x/usr/sbin/xinetd");
    if !program.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        let commands = "apt-get -qq download xinetd && dpkg -x xinetd_*.deb x";
        let quiet = || Stdio::null();
        let _ = Command::new("sh")
            .args(["-c", commands])
            .current_dir(&folder)
            .stdout(quiet())
            .stderr(quiet())
            .status();
    }
    // Without its libraries it does not even say its version.
    let output = Command::new(&program).arg("-version").output().ok()?;
    output.status.success().then_some(program)
}

/// The real one at work, killed when the value is dropped.
struct Real {
    child: Child,
    log: PathBuf,
}

impl Real {
    fn start(xinetd: &Path, folder: &Folder, text: &str) -> Self {
        Self::start_under(&[xinetd.to_str().unwrap()], folder, text)
    }

    /// Started by other words, to which its options are added.
    fn start_under(words: &[&str], folder: &Folder, text: &str) -> Self {
        let file = folder.write("xinetd.conf", text);
        let log = folder.write("xinetd.log", "");
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["-dontfork", "-stayalive", "-f"])
            .arg(&file)
            .arg("-filelog")
            .arg(&log)
            .arg("-pidfile")
            .arg(folder.at("xinetd.pid"))
            .env_clear()
            .env("PATH", search_path())
            .env("LANG", "C")
            .env("FOO", "bar")
            .env("HOME", "/root")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let real = Self { child, log };
        wait_until("xinetd", || real.says("Started working"));
        real
    }

    fn says(&self, what: &str) -> bool {
        std::fs::read_to_string(&self.log).unwrap_or_default().contains(what)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both servers on one text, in which `@0`, `@1` … are ports.
struct Both {
    real: Real,
    ours: Daemon,
    theirs: Vec<u16>,
    ports: Vec<u16>,
    folder: Folder,
}

impl Both {
    fn start(xinetd: &Path, folder: Folder, count: u16, text: &str) -> Self {
        let (theirs, ours) = (free_ports(count), free_ports(count));
        let filled = |ports: &[u16]| {
            // The longer numbers first: `@1` is the start of `@10`.
            ports.iter().enumerate().rev().fold(text.to_owned(), |text, (index, port)| {
                text.replace(&format!("@{index}"), &port.to_string())
            })
        };
        let real = Real::start(xinetd, &folder, &filled(&theirs));
        let daemon = Setup::new().env("FOO", "bar").env("HOME", "/root").start(&filled(&ours));
        Self { real, ours: daemon, theirs, ports: ours, folder }
    }

    /// What a look at one service gives on each: xinetd's first.
    fn each<T>(&self, service: usize, look: impl Fn(u16) -> T) -> (T, T) {
        (look(self.theirs[service]), look(self.ports[service]))
    }

    #[track_caller]
    fn same<T: PartialEq + std::fmt::Debug>(&self, service: usize, look: impl Fn(u16) -> T) -> T {
        let (theirs, ours) = self.each(service, look);
        assert_eq!(theirs, ours, "service {service}: xinetd's first");
        ours
    }
}

/// A block of an unlisted TCP service; `NOLIBWRAP`, as hosts.allow is the machine's.
fn block(index: usize, program: &str, more: &str) -> String {
    let flags = if more.contains("flags") || program.contains("flags") {
        ""
    } else {
        "flags = NOLIBWRAP\n"
    };
    let program = if more.contains("redirect") { "" } else { program };
    let user = if more.contains("user") { "" } else { "user = nobody\n" };
    let wait = if more.contains("wait") { "" } else { "wait = no\n" };
    format!(
        "service s{index}\n{{\ntype = UNLISTED\nport = @{index}\nsocket_type = stream\nprotocol = tcp\n{wait}{user}{flags}{program}\n{more}\n}}\n"
    )
}

/// Says all that a program can find out about itself, a line for each.
const PROBE: &str = r#"#!/bin/sh
echo "arguments: $*"
echo "uid: $(id -u)"
echo "gid: $(id -g)"
echo "groups: $(id -G)"
echo "umask: $(umask)"
echo "directory: $(pwd)"
echo "nice: $(nice)"
for limit in t f d s c n v; do
    echo "soft $limit: $(ulimit -S -$limit)"
    echo "hard $limit: $(ulimit -H -$limit)"
done
for number in 0 1 2 3 4 5 6 7 8 9; do
    [ -e /proc/$$/fd/$number ] && echo "descriptor $number: $(readlink /proc/$$/fd/$number | sed 's/:.*//')"
done
sed -n 's/^Sig\(Blk\|Ign\).*:\t/signals \1: /p' /proc/self/status
[ "$(cut -d ' ' -f 6 /proc/$$/stat)" = $$ ] && echo "session: own" || echo "session: the server's"
env | grep -v -e '^_=' -e '^PWD=' -e '^OLDPWD=' -e '^SHLVL=' | sed 's/^\([A-Z_]*\)=/variable \1: /'
"#;

/// The probe's lines by their names.
fn probed(port: u16) -> BTreeMap<String, String> {
    let text = read_all(tcp(port));
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    text.lines().map(pair).collect()
}

/// What is different on purpose, whatever the service says: names, and what each
/// server has; "" is nothing, "*" is anything.
const DIFFERENCES: [(&str, &str, &str); 16] = [
    // What the server itself was started with goes on in xinetd.
    ("signals Ign", "*", "0000000000000000"),
    // `group` with `groups = yes`: the user's own main group is not among them.
    ("groups", "2 1", "2"),
    ("session", "the server's", "own"),
    ("variable HOME", "/root", "*"),
    ("variable USER", "", "*"),
    ("variable LOGNAME", "", "*"),
    ("variable SHELL", "", "*"),
    ("variable PROTO", "", "TCP"),
    ("variable REMOTE_ADDR", "", "127.0.0.1"),
    ("variable REMOTE_PORT", "", "*"),
    ("variable REMOTE_HOST", "::ffff:127.0.0.1", "127.0.0.1"),
    ("variable TCPLOCALIP", "", "127.0.0.1"),
    ("variable TCPLOCALPORT", "", "*"),
    ("variable TCPREMOTEIP", "", "127.0.0.1"),
    ("variable TCPREMOTEPORT", "", "*"),
    ("variable PATH", "", "*"),
];

#[test]
fn programs_see_the_same_but_for_what_is_better() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let probe = folder.write("probe", PROBE);
    let program = format!("server = /bin/sh\nserver_args = {} a \"b c\" 'd", probe.display());
    let more = [
        "",
        "groups = yes\nuser = daemon",
        "group = tty",
        "umask = 027\nnice = 5",
        "env = A=1 B=x=y\nenv += C=",
        "passenv =\nenv = A=1",
        "passenv = FOO LANG",
        "rlimit_cpu = 7\nrlimit_as = 2000M\nrlimit_files = 50\nrlimit_stack = 4M\nrlimit_data = 1000M",
        "user = root\ngroups = yes",
        "user = 1\ngroup = 2\ngroups = yes",
        "flags = NOLIBWRAP IPv4 NODELAY KEEPALIVE",
        "rlimit_cpu = UNLIMITED\nrlimit_as = UNLIMITED",
        "rlimit_files = UNLIMITED\nrlimit_cpu = 0\nrlimit_as = 0\nrlimit_stack = 0",
    ];
    let text: String =
        more.iter().enumerate().map(|(index, more)| block(index, &program, more)).collect();
    let both = Both::start(&xinetd, folder, 13, &text);
    for (index, more) in more.iter().enumerate() {
        let (theirs, ours) = both.each(index, probed);
        assert!(theirs.contains_key("arguments"), "xinetd did not start {more:?}");
        compare(more, &theirs, &ours);
    }
}

#[track_caller]
fn compare(what: &str, theirs: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) {
    let names: std::collections::BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    for name in names {
        let value = |of: &BTreeMap<String, String>| of.get(name).cloned().unwrap_or_default();
        let (theirs, ours) = (value(theirs), value(ours));
        if theirs == ours {
            continue;
        }
        let fits = |wanted: &str, value: &str| wanted == "*" || wanted == value;
        let known = DIFFERENCES.iter().any(|(known, first, second)| {
            known == name && (fits(first, &theirs) || theirs.is_empty()) && fits(second, &ours)
        });
        assert!(known, "{what:?}: {name} is {theirs:?} under xinetd and {ours:?} under oxinetd");
    }
}

#[test]
fn programs_get_the_same_argv() {
    let Some(xinetd) = xinetd() else { return };
    let text = [
        block(0, "server = /bin/cat\nserver_args = /proc/self/cmdline", ""),
        block(1, "server = /bin/cat\nserver_args = /proc/self/cmdline \"x", ""),
        // The flag after the arguments makes xinetd's child crash; here the order is free.
        block(
            2,
            "flags = NOLIBWRAP NAMEINARGS\nserver = /bin/cat\nserver_args = other /proc/self/cmdline",
            "",
        ),
    ];
    let both = Both::start(&xinetd, Folder::new(), 3, &text.concat());
    assert_eq!(both.same(0, |port| read_all(tcp(port))), "cat\0/proc/self/cmdline\0");
    assert_eq!(both.each(1, |port| read_all(tcp(port)).contains("\"x\0")), (true, true));
    assert_eq!(both.same(2, |port| read_all(tcp(port))), "other\0/proc/self/cmdline\0");
}

/// What came of a connection from an address.
fn outcome(own: IpAddr, port: u16) -> String {
    let stream = match own {
        IpAddr::V4(own) => from(own, port),
        IpAddr::V6(_) => try_tcp((Ipv6Addr::LOCALHOST, port).into()).ok(),
    };
    match stream {
        None => "not connected".to_owned(),
        Some(stream) => match read_to_any_end(stream).as_str() {
            "" => "closed".to_owned(),
            text => text.trim_end().to_owned(),
        },
    }
}

/// A connection to 127.0.0.1 from an address of the loopback.
fn from(own: Ipv4Addr, port: u16) -> Option<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::ReuseAddr, &true).unwrap();
    let [a, b, c, d] = own.octets();
    bind(fd.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).ok()?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    Some(stream)
}

#[test]
fn the_same_clients_are_refused() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let (all, yes, no) = (
        folder.write("all", "hello\n"),
        folder.write("yes", "welcome\n"),
        folder.write("no", "go away\n"),
    );
    let banners = format!(
        "banner = {}\nbanner_success = {}\nbanner_fail = {}",
        all.display(),
        yes.display(),
        no.display()
    );
    let rules = [
        "only_from = 127.0.0.1",
        "only_from =",
        "only_from = 127.0.0.0\nno_access = 127.0.0.2",
        "only_from = 127.0.0.{2,3}",
        "only_from = 0.0.0.0",
        "no_access = 127.0.0.0/8",
        "only_from = ::1",
        "only_from = 127.0.0.1\nno_access = 127.0.0.1",
        "only_from = 127.0.0.1\nonly_from = 127.0.0.2",
        "only_from = 127.0.0.1\nonly_from += 127.0.0.2",
        "only_from = 0.0.0.0/0 ::/0",
        "flags = NOLIBWRAP IPv4",
        "flags = NOLIBWRAP IPv6",
        "flags = NOLIBWRAP IPv6\nv6only = yes",
        "bind = 127.0.0.1",
        "bind = ::1",
        "disable = yes",
        &format!("only_from = 127.0.0.1\n{banners}"),
        &format!("access_times = {}", another_time()),
        "access_times = 0:00-23:59",
        "instances = 5\nper_source = 3\ncps = 1000 1\nmax_load = 10000",
    ];
    let program = "server = /bin/echo\nserver_args = served";
    let text: String =
        rules.iter().enumerate().map(|(index, more)| block(index, program, more)).collect();
    let both = Both::start(&xinetd, folder, 21, &text);
    let clients: [IpAddr; 3] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(127, 0, 0, 2).into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    let mut differences = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for client in clients {
            let (theirs, ours) = both.each(index, |port| outcome(client, port));
            if theirs != ours {
                differences.push(format!("{rule:?} {client}: {theirs:?} {ours:?}"));
            }
        }
    }
    assert_eq!(differences, Vec::<String>::new(), "xinetd's first");
}

/// An hour of the day that is not now, in no time zone.
fn another_time() -> &'static str {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let hour = clock.as_secs() / 3600 % 24;
    // Both may be some hours away from UTC: what is opposite is far enough from either.
    ["10:00-13:00", "16:00-19:00", "22:00-23:59", "4:00-7:00"][usize::try_from(hour / 6).unwrap()]
}

#[test]
fn over_a_limit_clients_are_refused_in_the_same_way() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let busy = folder.write("busy", "busy\n");
    let text = [
        block(0, "server = /bin/cat", &format!("instances = 1\nbanner_fail = {}", busy.display())),
        block(1, "server = /bin/cat", "per_source = 1"),
        block(2, "server = /bin/cat", "instances = UNLIMITED"),
    ];
    let both = Both::start(&xinetd, folder, 3, &text.concat());
    for (service, told) in [(0, "busy\n"), (1, "")] {
        let second = both.same(service, |port| {
            let mut first = tcp(port);
            assert_eq!(echo_once(&mut first, "x"), "x");
            read_to_any_end(tcp(port))
        });
        assert_eq!(second, told);
    }
    both.same(2, |port| {
        let mut streams: Vec<TcpStream> = (0..10).map(|_| tcp(port)).collect();
        streams.iter_mut().for_each(|stream| assert_eq!(echo_once(stream, "x"), "x"));
    });
}

#[test]
fn a_listener_over_its_rate_is_closed_there_and_rests_here() {
    let Some(xinetd) = xinetd() else { return };
    let text = block(0, "server = /bin/echo\nserver_args = served", "cps = 2 2");
    let both = Both::start(&xinetd, Folder::new(), 1, &text);
    let turned_away = |port: u16| {
        let one = |_| outcome(Ipv4Addr::LOCALHOST.into(), port);
        (0..8).map(one).filter(|outcome| outcome == "not connected").count()
    };
    let (theirs, ours) = both.each(0, turned_away);
    assert!(theirs > 0, "xinetd closes the port");
    assert_eq!(ours, 0, "clients wait until the listener has rested");
}

#[test]
fn built_in_services_and_relays_answer_the_same() {
    let Some(xinetd) = xinetd() else { return };
    let internal = |index: usize, name: &str, kind: &str| {
        let (protocol, wait) = if kind == "stream" { ("tcp", "no") } else { ("udp", "yes") };
        format!(
            "service {name}\n{{\nid = i{index}\ntype = INTERNAL UNLISTED\nport = @{index}\nsocket_type = {kind}\nprotocol = {protocol}\nwait = {wait}\nflags = NOLIBWRAP\nuser = root\n}}\n"
        )
    };
    let text = [
        internal(0, "echo", "stream"),
        internal(1, "echo", "dgram"),
        internal(2, "discard", "stream"),
        internal(3, "daytime", "stream"),
        internal(4, "time", "stream"),
        block(5, "", "redirect = 127.0.0.1 @0"),
    ];
    let both = Both::start(&xinetd, Folder::new(), 6, &text.concat());
    assert_eq!(both.same(0, |port| ask(port, "hello")), "hello");
    assert_eq!(both.same(1, |port| udp_ask(&udp(port), "hello")), "hello");
    assert_eq!(both.same(2, |port| ask(port, "hello")), "");
    let (theirs, ours) = both.each(3, |port| read_all(tcp(port)));
    assert!(theirs.ends_with("\r\n") && ours.ends_with("\r\n"), "{theirs:?} {ours:?}");
    let seconds = |port| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut tcp(port), &mut bytes).unwrap();
        u32::from_be_bytes(bytes.try_into().unwrap())
    };
    let (theirs, ours) = both.each(4, seconds);
    assert!(theirs.abs_diff(ours) < 60, "{theirs} {ours}");
    assert_eq!(both.same(5, |port| echo_once(tcp(port), "relayed")), "relayed");
}

#[test]
fn a_program_that_waits_gets_the_socket_itself() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let script = folder.write("wait", "sleep 2\n");
    let text =
        block(0, &format!("server = /bin/sh\nserver_args = {}", script.display()), "wait = yes");
    let both = Both::start(&xinetd, folder, 1, &text);
    // The listening socket is the program's: it must not be closed for the client.
    let connected = |port: u16| try_tcp((Ipv4Addr::LOCALHOST, port).into()).is_ok();
    assert!(both.same(0, connected));
}

#[test]
fn the_same_services_are_left_out() {
    let Some(xinetd) = xinetd() else { return };
    let good = "server = /bin/echo\nserver_args = served";
    let mut text: Vec<String> = (0..5).map(|index| block(index, good, "")).collect();
    // No port is said, the wait is missing, the program is not there, the name is in
    // no services database, and the list says no.
    text[0] = text[0].replace("port = @0", "");
    text[1] = text[1].replace("wait = no", "");
    text[2] = text[2].replace("/bin/echo", "/no/such/program");
    text[3] = text[3].replace("type = UNLISTED", "");
    let defaults = "defaults\n{\ndisabled = s4\n}\n";
    let text = format!("{defaults}{}{}", text.concat(), block(5, good, ""));
    let both = Both::start(&xinetd, Folder::new(), 6, &text);
    for service in 0..6 {
        let outcome = both.same(service, |port| outcome(Ipv4Addr::LOCALHOST.into(), port));
        assert_eq!(outcome, if service == 5 { "served" } else { "not connected" });
    }
}
