//! Configurations are read in a process of their own: whatever it waits for, clients do
//! not, and nothing of it stays.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;

use crate::common::clients::{echo_once, try_tcp};
use crate::common::daemon::{BINARY, as_pid};
use crate::common::load::Load;
use crate::common::needs::kernel_lacks;
use crate::common::procs;
use crate::common::{
    Daemon, Folder, Line, Setup, free_port, free_ports, need_ipv6, need_program, need_root,
    own_line, read_all, tcp, tcp_line, wait_for, wait_until,
};

/// A server whose file says that it includes another one, `more.conf`, which is not there.
fn with_more(port: u16) -> Daemon {
    Setup::new().start(&with_include(port))
}

pub(crate) fn with_include(port: u16) -> String {
    tcp_line(port, "/bin/echo echo on") + ".include more*.conf\n"
}

/// Makes a `more.conf` that names a pipe: whoever reads it waits.
pub(crate) fn hang(folder: &Folder) {
    nix::unistd::mkfifo(&folder.at("pipe"), Mode::S_IRWXU).unwrap();
    folder.write("more.conf", ".include pipe\n");
}

/// The other end of that pipe, when somebody reads: until it is dropped, it goes on reading.
#[track_caller]
pub(crate) fn reader_of(folder: &Folder) -> File {
    let path = folder.at("pipe");
    wait_for("somebody who reads the included file", || {
        let flags = nix::libc::O_NONBLOCK;
        File::options().write(true).custom_flags(flags).open(&path).ok()
    })
}

fn loopback(port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new("127.0.0.1".parse().unwrap(), port)
}

/// A server in the middle of reading again.
#[track_caller]
fn hanging(port: u16) -> (Daemon, File) {
    let daemon = with_more(port);
    hang(&daemon.folder);
    daemon.signal(Signal::SIGHUP);
    let reader = reader_of(&daemon.folder);
    (daemon, reader)
}

#[test]
fn a_look_up_that_hangs_holds_nobody_up() {
    let port = free_port();
    let (mut daemon, reader) = hanging(port);
    let load = Load::start(port, "on\n");
    load.wait_more(20);
    assert!(daemon.said("reloaded").is_empty());
    assert!(daemon.count_peers().0 >= 20);
    drop(reader);
    let _ = daemon.wait_log(|line| line.is("reloaded"));
    let _ = load.finish();
    daemon.stop();
}

#[test]
fn what_is_read_late_holds_when_it_is_read() {
    use std::io::Write as _;
    let ports = free_ports(2);
    let (daemon, mut reader) = hanging(ports[0]);
    reader.write_all(tcp_line(ports[1], "/bin/echo echo late").as_bytes()).unwrap();
    assert!(try_tcp(loopback(ports[1])).is_err(), "the file is not read to its end");
    drop(reader);
    let _ = daemon.wait_log(|line| line.is("reloaded"));
    assert_eq!(read_all(tcp(ports[1])), "late\n");
}

#[test]
fn signals_during_a_reload_are_one_more_reload() {
    let port = free_port();
    let (daemon, reader) = hanging(port);
    for _ in 0..100 {
        daemon.signal(Signal::SIGHUP);
    }
    // All of them have come, since signals are taken in turn.
    let _ = daemon.count_peers();
    fs::remove_file(daemon.folder.at("more.conf")).unwrap();
    drop(reader);
    let _ = daemon.wait_count(2, |line| line.is("reloaded"));
    daemon.wait_childless();
    daemon.said_times(2, "reloaded");
}

#[test]
fn the_process_that_reads_has_none_of_the_servers_sockets() {
    let port = free_port();
    let daemon = with_more(port);
    let client = tcp(port);
    hang(&daemon.folder);
    daemon.signal(Signal::SIGHUP);
    let _reader = reader_of(&daemon.folder);
    assert_eq!(read_all(client), "on\n");
    let reading = the_only_child(&daemon);
    let links = fs::read_dir(format!("/proc/{reading}/fd")).unwrap();
    let links = links.map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
    let links: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    assert!(
        !links.iter().any(|link| link.contains("socket:") || link.contains("anon_inode")),
        "{links:?}"
    );
    // Standard input, output and error, the pipe to the server, the included file and the
    // folder that it is in.
    assert!(links.len() <= 6, "{links:?}");
}

#[track_caller]
pub(crate) fn the_only_child(daemon: &Daemon) -> u32 {
    wait_for("one child", || match procs::children(daemon.pid())[..] {
        [one] => Some(one),
        _ => None,
    })
}

#[test]
fn term_during_a_reload_ends_the_server_and_leaves_no_process() {
    let port = free_port();
    let (mut daemon, _reader) = hanging(port);
    let reading = the_only_child(&daemon);
    daemon.stop();
    assert!(!procs::is_alive(reading));
    let _again = TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[test]
fn a_server_that_is_killed_takes_it_along() {
    let port = free_port();
    let (mut daemon, _reader) = hanging(port);
    let reading = the_only_child(&daemon);
    daemon.signal(Signal::SIGKILL);
    let _ = daemon.wait_exit();
    wait_until("the process that reads to end", || !procs::is_alive(reading));
    let _again = TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[test]
fn if_the_reader_of_a_reload_is_killed_everything_stays() {
    let port = free_port();
    let (daemon, reader) = hanging(port);
    kill(as_pid(the_only_child(&daemon)), Signal::SIGKILL).unwrap();
    let line = daemon.wait_log(|line| line.is("reload-refused"));
    assert_eq!(line.number("errors"), Some(1), "{}", line.raw);
    let why = daemon.wait_log(|line| line.is("configuration"));
    assert!(why.raw.contains("could not be read") && why.raw.contains("SIGKILL"), "{}", why.raw);
    assert_eq!(read_all(tcp(port)), "on\n");
    drop(reader);
    fs::remove_file(daemon.folder.at("more.conf")).unwrap();
    daemon.signal(Signal::SIGHUP);
    let _ = daemon.wait_log(|line| line.is("reloaded"));
    daemon.wait_childless();
}

#[test]
fn the_first_configuration_may_be_a_descriptor() {
    let port = free_port();
    let folder = Folder::new();
    let file = folder.write("other.conf", &tcp_line(port, "/bin/echo echo here"));
    let arguments = format!("exec 9<{}", file.display());
    let daemon = Setup::new().after(&arguments).run(&["/dev/fd/9"]);
    assert_eq!(read_all(tcp(port)), "here\n");
    drop(daemon);
}

#[test]
fn process_1_reaps_it_as_a_child_of_its_own() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let port = free_port();
    let daemon = Setup::new()
        .under(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .start(&tcp_line(port, "/bin/echo echo old"));
    for round in 0..5 {
        let _ = daemon.reload(&tcp_line(port, &format!("/bin/echo echo {round}")));
        assert_eq!(read_all(tcp(port)), format!("{round}\n"));
    }
    assert!(daemon.said("reload-refused").is_empty());
    daemon.wait_childless();
}

#[test]
fn a_socket_that_changes_its_service_keeps_its_clients() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let program = |user: &str| format!("stream tcp nowait {user} /bin/echo echo on");
    let user = crate::common::me();
    let one = format!("*:{port} {}\n", program(user));
    let four = format!("*:{port} {}\n", program(user).replace(" tcp ", " tcp4 "));
    let six = format!("[::]:{port} {}\n", program(user).replace(" tcp ", " tcp6 "));
    let daemon = Daemon::start(&one);
    let load = Load::start(port, "on\n");
    for (n, text) in
        [six.clone() + &four, one.clone(), four + &six, one].iter().cycle().take(12).enumerate()
    {
        let line = daemon.reload(text);
        assert_eq!(
            (line.number("kept"), line.number("opened")),
            (Some(2), Some(0)),
            "{n}: {}",
            line.raw
        );
        load.wait_more(5);
    }
    let _ = load.finish();
}

#[test]
fn a_socket_whose_place_another_has_is_opened_at_once_when_that_is_closed() {
    let port = free_port();
    let wide = format!("*:{port} stream tcp4 nowait {} /bin/echo echo wide\n", crate::common::me());
    let narrow = tcp_line(port, "/bin/echo echo narrow");
    let daemon = Daemon::start(&wide);
    for _ in 0..3 {
        let line = daemon.reload(&narrow);
        assert_eq!((line.number("opened"), line.number("closed")), (Some(1), Some(1)));
        assert_eq!(read_all(tcp(port)), "narrow\n");
        let _ = daemon.reload(&wide);
        assert_eq!(read_all(tcp(port)), "wide\n");
    }
    assert!(daemon.said("not-listening").is_empty());
}

/// Services of one port on many addresses of the loopback network.
fn many(count: usize, port: u16, word: &str) -> String {
    let line = |n: usize| {
        let address = many_at(n, port);
        let word = if n.is_multiple_of(10) { "same" } else { word };
        format!("{address} stream tcp nowait {} /bin/echo echo {word}\n", crate::common::me())
    };
    (0..count).map(line).collect()
}

fn many_at(n: usize, port: u16) -> std::net::SocketAddr {
    format!("127.1.{}.{}:{port}", n / 250, n % 250 + 1).parse().unwrap()
}

/// As many services as there are descriptors for, 10,000 at most.
fn room() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    usize::try_from(hard).unwrap_or(usize::MAX).saturating_sub(300).min(10_000)
}

#[test]
fn ten_thousand_services_change_some_at_a_time_and_no_connection_is_lost() {
    let (count, ports) = (room(), free_ports(2));
    let own = own_line(ports[0], "/bin/echo echo on");
    let daemon =
        Setup::new().env("RUST_LOG", "info,oxinetd::server::services::applying=debug").start(&own);
    // So many lines about new sockets may be more than the log has room for.
    daemon.rewrite(&(own.clone() + &many(count, ports[1], "old")));
    wait_until("the last of them", || {
        try_tcp(many_at(count - 1, ports[1])).is_ok_and(|client| read_all(client) == "old\n")
    });
    let load = Load::start(ports[0], "on\n");
    for word in ["new", "newer"] {
        let mark = daemon.log.mark();
        daemon.rewrite(&(own.clone() + &many(count, ports[1], word)));
        let is_it = |line: &Line| line.is("reloaded") && line.number("updated") != Some(0);
        let line = daemon.wait_after(mark, is_it);
        let number = |key: &str| usize::try_from(line.number(key).unwrap()).unwrap();
        assert!(number("updated") >= count / 10 * 9, "{}", line.raw);
        assert_eq!(number("kept"), count + 1, "{}", line.raw);
        for n in [1, 2, count / 2 + 1, count - 1] {
            let expected = if n.is_multiple_of(10) { "same" } else { word };
            assert_eq!(read_all(try_tcp(many_at(n, ports[1])).unwrap()), format!("{expected}\n"));
        }
        load.wait_more(5);
        // No clock: how much one turn of the loop has taken on.
        let applied = daemon.log.all_after(mark, |line| line.is("applied"));
        let applied = applied.last().unwrap();
        assert!(applied.number("most").unwrap() < 48, "{}", applied.raw);
        let turns = usize::try_from(applied.number("turns").unwrap()).unwrap();
        assert!(turns > count / 48, "{}", applied.raw);
    }
    let _ = load.finish();
}

#[test]
fn term_in_the_middle_of_a_change_closes_everything() {
    let (count, port) = (room().min(1500), free_port());
    let mut daemon = Daemon::start(&many(count, port, "old"));
    let paths = Folder::new();
    let new: String = (0..count)
        .map(|n| {
            format!(
                "{} stream unix nowait {} /bin/true true\n",
                paths.name(&n.to_string()),
                crate::common::me()
            )
        })
        .collect();
    daemon.rewrite(&new);
    wait_until("the first new sockets", || entries(paths.path()) > 0);
    daemon.stop();
    assert_eq!(entries(paths.path()), 0, "paths are left");
    for n in [0, count / 2, count - 1] {
        let _free = TcpListener::bind(many_at(n, port)).unwrap();
    }
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn programs_run_on_while_the_configuration_is_read() {
    let ports = free_ports(2);
    let text = with_include(ports[0]) + &tcp_line(ports[1], "/bin/cat cat");
    let daemon = Setup::new().start(&text);
    let client = tcp(ports[1]);
    assert_eq!(echo_once(&client, "before"), "before");
    hang(&daemon.folder);
    daemon.signal(Signal::SIGHUP);
    let reader = reader_of(&daemon.folder);
    assert_eq!(echo_once(&client, "meanwhile"), "meanwhile");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = daemon.wait_log(|line| line.about("ended", ports[1]));
    assert_eq!(read_all(&client), "", "nobody else holds the connection");
    drop(reader);
    let _ = daemon.wait_log(|line| line.is("reloaded"));
}

/// How often the file of hosts is opened by `oxinetd check`; None if nobody may trace here.
fn looks_at_hosts(file: &Path) -> Option<usize> {
    let mut trace = Command::new("strace");
    trace.args(["-f", "-e", "trace=openat", BINARY, "check"]).arg(file);
    let output = trace.output().unwrap();
    let calls = String::from_utf8_lossy(&output.stderr);
    calls.contains("inetd.conf").then(|| calls.matches("\"/etc/hosts\"").count())
}

#[test]
fn a_host_that_many_services_have_is_looked_up_once() {
    if !need_program("strace") {
        return;
    }
    let folder = Folder::new();
    let line = |n: u16| format!("localhost:{n} stream tcp nowait - date\n");
    let file = folder.write("inetd.conf", &(1..=5).map(line).collect::<String>());
    let Some(looks) = looks_at_hosts(&file) else {
        kernel_lacks("ptrace of other processes");
        return;
    };
    // None where a daemon answers for everybody.
    assert!(looks <= 1, "{looks}");
}
