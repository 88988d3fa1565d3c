//! A server that may have few descriptors: what listens is served, whoever asks is answered,
//! and the rest is left out, which is said.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::common::clients::{echo_once, is_closed};
use crate::common::control::{status, upgrade};
use crate::common::daemon::{BINARY, Daemon};
use crate::common::needs::search_path;
use crate::common::{
    Folder, Setup, free_port, free_ports, need_program, need_root, own_line, read_all, shell, tcp,
    tcp_line,
};

const FEW: &str = "ulimit -n 32";

/// Lines of services that say their number, and their ports.
fn many(count: u16) -> (Vec<u16>, String) {
    let ports = free_ports(count);
    let text = ports.iter().map(|port| tcp_line(*port, &format!("/bin/echo echo {port}")));
    let text = text.collect();
    (ports, text)
}

/// The ports of those that say that they listen.
#[track_caller]
fn listening(daemon: &Daemon) -> Vec<u16> {
    let all = status(daemon, None);
    let services = all["services"].as_array().unwrap().clone();
    let open = services.iter().filter(|it| it["state"] == "listening" || it["state"] == "resting");
    let port = |it: &serde_json::Value| {
        it["service"].as_str().unwrap().split_once('/').unwrap().0.parse().unwrap()
    };
    open.map(port).collect()
}

#[test]
fn with_few_descriptors_what_listens_is_served_and_the_rest_is_left_out() {
    let (ports, text) = many(40);
    let mut daemon = Setup::new().controlled().after(FEW).start(&text);
    let open = listening(&daemon);
    assert!(!open.is_empty() && open.len() < 40, "{open:?}");
    assert_eq!(open, ports[..open.len()], "those that come first in the file");
    let line = daemon.wait_log(|line| line.is("left-out"));
    assert_eq!(line.number("sockets"), u32::try_from(40 - open.len()).ok());
    assert_eq!(line.get("limit"), Some("32"));
    assert!(line.get("error").unwrap().contains("ulimit -n"), "{}", line.raw);
    let last = status(&daemon, Some(&ports[39].to_string()));
    assert_eq!(last["state"], "failed");
    assert!(last["last_error"].to_string().contains("LimitNOFILE"), "{last}");
    assert!(is_closed(ports[39]));
    for port in &open {
        assert_eq!(read_all(tcp(*port)), format!("{port}\n"));
    }
    // A service that goes makes room for the first of them.
    let rest: String = text.lines().skip(1).map(|line| line.to_owned() + "\n").collect();
    let _ = daemon.reload(&rest);
    assert_eq!(listening(&daemon), ports[1..=open.len()]);
    daemon.stop();
}

#[test]
fn which_sockets_are_open_follows_from_the_file_and_the_limit_alone() {
    let (ports, text) = many(40);
    let first = free_port();
    let mut daemon = Setup::new().controlled().after(FEW).start(&text);
    let open = listening(&daemon);
    let as_before = |daemon: &Daemon| assert_eq!(listening(daemon), open);
    assert_eq!(daemon.reload(&text).number("opened"), Some(0));
    as_before(&daemon);
    for _ in 0..2 {
        upgrade(&daemon);
        as_before(&daemon);
        assert_eq!(daemon.reload(&text).number("opened"), Some(0));
        as_before(&daemon);
    }
    // Who comes before the others has a place, and the last of them has none any more.
    let _ = daemon.reload(&(tcp_line(first, "/bin/echo echo first") + &text));
    let wanted = [&[first], &ports[..open.len() - 1]].concat();
    assert_eq!(listening(&daemon), wanted);
    assert!(is_closed(ports[open.len() - 1]));
    assert_eq!(read_all(tcp(first)), "first\n");
    let _ = daemon.reload(&text);
    as_before(&daemon);
    // So it is where one of them cannot be opened.
    let _ = daemon.answer(&["stop", &ports[0].to_string()]);
    assert_eq!(daemon.reload(&text).number("opened"), Some(0));
    assert_eq!(listening(&daemon), open[1..]);
    daemon.stop();
}

#[test]
fn while_programs_have_all_that_is_left_the_server_answers_and_goes_on() {
    let (mut ports, text) = many(39);
    let cat = free_port();
    ports.insert(0, cat);
    let text = tcp_line(cat, "/bin/cat cat") + "    instances = unlimited\n" + &text;
    let daemon = Setup::new().controlled().after(FEW).start(&text);
    let mut clients: Vec<_> = (0..10).map(|_| tcp(cat)).collect();
    assert_eq!(echo_once(&clients[0], "x"), "x");
    let _ = daemon.wait_log(|line| line.is("limit-begin") || line.is("trouble"));
    let open = listening(&daemon).len();
    assert!(daemon.answer(&["reload"]).starts_with("reloaded"));
    upgrade(&daemon);
    assert!(listening(&daemon).len() >= open);
    assert_eq!(echo_once(&clients[0], "y"), "y", "who was there goes on");
    // As those before them leave, each of the rest is served.
    let waiting = clients.split_off(1);
    drop(clients);
    for client in waiting {
        assert_eq!(echo_once(&client, "in turn"), "in turn");
    }
    let _ = daemon.answer(&["stop"]);
}

#[test]
fn what_the_server_was_started_with_takes_nobodys_place() {
    let [cat, echo] = free_ports(2)[..] else { panic!("two ports") };
    let text = tcp_line(cat, "/bin/cat cat") + &tcp_line(echo, "internal echo");
    let start = "ulimit -n 40; exec 5</dev/null 6</dev/null 7</dev/null 8</dev/null 9</dev/null";
    let daemon = Setup::new().after(start).start(&text);
    let _clients: Vec<_> = (0..12).map(|_| tcp(cat)).collect();
    let _ = daemon.wait_log(|line| line.is("limit-begin"));
    assert_eq!(echo_once(tcp(echo), "x"), "x");
}

#[test]
fn what_ended_programs_leave_at_standard_error_takes_nobodys_place() {
    let [shell, cat] = free_ports(2)[..] else { panic!("two ports") };
    let text = tcp_line(shell, "/bin/sh sh") + &tcp_line(cat, "/bin/cat cat");
    let mut daemon = Setup::new().controlled().after("ulimit -n 100").start(&text);
    for _ in 0..120 {
        let client = tcp(shell);
        // It ends with its program; what has standard error only runs on.
        (&client).write_all(b"sleep 20 </dev/null >/dev/null &\nexit\n").unwrap();
        assert_eq!(read_all(client), "");
    }
    assert_eq!(echo_once(tcp(cat), "x"), "x");
    assert_eq!(listening(&daemon), [shell, cat]);
    daemon.stop();
}

#[test]
fn with_too_few_to_serve_anybody_it_refuses_to_start() {
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.write("inetd.conf", &tcp_line(port, "/bin/date date"));
    for limit in [8, 16, 20] {
        let start = format!("ulimit -n {limit}; exec {BINARY} {} --control none", file.display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &start]).env_clear().env("PATH", search_path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(71), "{limit}: {said}");
        assert!(said.contains("ulimit -n") && !said.contains("ready"), "{limit}: {said}");
    }
}

/// The kernel has no pidfds, or a filter forbids them.
#[test]
fn without_pidfds_everything_goes_on() {
    if !need_program("strace") {
        return;
    }
    for error in ["ENOSYS", "EPERM"] {
        let inject = format!("inject=pidfd_open:error={error}");
        let strace = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=pidfd_open"];
        let words = [&strace[..], &["-e", &inject]].concat();
        let (one, long) = (free_port(), free_port());
        let long_line = own_line(long, &shell("echo here; exec sleep 600")) + "    timeout = 1s\n";
        let text = tcp_line(one, "/bin/date date") + "    per_source = 1\n" + &long_line;
        let mut daemon = Setup::new().controlled().under(&words).start(&text);
        for _ in 0..20 {
            assert!(!read_all(tcp(one)).is_empty(), "{error}");
        }
        let mut client = tcp(long);
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        let ended = daemon.wait_log(|line| line.about("ended", long));
        assert_eq!(ended.get("signal"), Some("SIGTERM"), "{error}");
        let line = daemon.reload(&text);
        assert_eq!(line.number("kept"), Some(2), "{error}");
        upgrade(&daemon);
        assert!(!read_all(tcp(one)).is_empty(), "{error}");
        let _ = daemon.reload(&text);
        daemon.wait_childless();
        daemon.stop();
    }
}

/// A root folder, or a container, without /proc.
#[test]
fn without_proc_everything_but_an_upgrade_goes_on() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let path = folder.open_folder("sockets").join("here");
    let words = ["unshare", "-m", "sh", "-c", "umount -l /proc; exec \"$@\"", "sh"];
    let date = "/bin/date date";
    let line = format!("{} stream unix nowait - {date}\n", path.display());
    let text = tcp_line(port, date) + &line + "    socket_user = nobody\n    socket_mode = 0660\n";
    let mut daemon = Setup::new().controlled().under(&words).start_in(folder, &text);
    assert!(!read_all(tcp(port)).is_empty());
    let mode = || {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(&path).map(|found| (found.mode() & 0o777, found.uid()))
    };
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!(mode().unwrap(), (0o660, nobody), "{}", daemon.log.text());
    let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert!(!read_all(client).is_empty());
    assert_eq!(daemon.reload(&text).number("kept"), Some(2));
    assert!(daemon.answer(&["status"]).contains(&port.to_string()));
    let output = daemon.ask(&["upgrade"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/proc"), "{output:?}");
    assert!(!read_all(tcp(port)).is_empty());
    daemon.stop();
}
