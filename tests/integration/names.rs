//! Names that nobody knows now: what needs none is served at once, the rest when they come.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::common::clients::try_tcp;
use crate::common::daemon::{as_pid, command};
use crate::common::name_server::NameServer;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, need_program, need_root, procs,
    read_all, tcp, tcp_line, wait_for, wait_until,
};

const HERE: &str = "/bin/echo echo here";

/// A line for a port of a host.
fn at(host: &str, port: u16, program: &str) -> String {
    format!("{host}:{port} stream tcp nowait root {program}\n")
}

fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, 0, n)
}

/// What is served at an address, once it is.
#[track_caller]
fn served(ip: Ipv4Addr, port: u16) -> String {
    let address = SocketAddr::from((ip, port));
    read_all(wait_for("somebody at the address", || try_tcp(address).ok()))
}

fn under(words: &[String]) -> Setup {
    Setup::new().under(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn nine() -> Vec<String> {
    (1..=9).map(|n| format!("n{n}.example")).collect()
}

fn nine_lines(port: u16) -> String {
    nine().iter().map(|name| at(name, port, "/bin/echo echo named")).collect()
}

fn nine_answers(names: &[String]) -> Vec<(&str, Ipv4Addr)> {
    names.iter().zip(1..).map(|(name, n)| (name.as_str(), ip(n))).collect()
}

#[test]
fn nine_names_that_nobody_answers_hold_up_nothing_else_and_are_served_when_they_come() {
    let folder = Folder::new();
    let Some((names, words)) = NameServer::start(&folder) else { return };
    let ports = free_ports(2);
    let text = nine_lines(ports[1]) + &tcp_line(ports[0], HERE);
    let daemon = under(&words).controlled().start(&text);
    assert_eq!(read_all(tcp(ports[0])), "here\n");
    let ready = daemon.wait_log(|line| line.is("ready"));
    assert_eq!((ready.number("services"), ready.number("listeners")), (Some(10), Some(1)));
    let status = daemon.answer(&["status"]);
    assert_eq!(status.matches("  waiting  ").count(), 9, "{status}");
    assert!(status.contains(&format!("n4.example:{}", ports[1])), "{status}");
    assert!(status.contains("waiting for the name n9.example ("), "{status}");
    // Of each there is one line.
    let about = daemon.log.all_after(0, |line| line.raw.contains("n9.example"));
    assert_eq!(about.len(), 1, "{about:?}");
    assert!(about[0].is("configuration") && about[0].raw.contains("waits for it"), "{about:?}");
    names.say(&nine_answers(&nine()));
    for n in 1..=9 {
        assert_eq!(served(ip(n), ports[1]), "named\n");
    }
    let status = daemon.answer(&["status"]);
    assert!(!status.contains("waiting") && status.contains(&format!("127.77.0.9:{}", ports[1])));
    assert!(daemon.said("reloaded").is_empty());
    daemon.wait_childless();
}

#[test]
fn the_command_returns_and_the_service_manager_hears_that_it_is_ready() {
    let folder = Folder::new();
    let Some((_names, words)) = NameServer::start(&folder) else { return };
    let ports = free_ports(2);
    folder.write("conf", &(nine_lines(ports[1]) + &tcp_line(ports[0], HERE)));
    let manager = UnixDatagram::bind(folder.at("notify")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut starting = command(&words);
    starting.current_dir(folder.path()).args(["conf", "--daemon", "--control", "none"]);
    starting.args(["--log", "file:log"]).env("NOTIFY_SOCKET", folder.name("notify"));
    let output = starting.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let pid: u32 = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let mut bytes = [0; 4096];
    let count = manager.recv(&mut bytes).unwrap();
    let message = String::from_utf8_lossy(&bytes[..count]).into_owned();
    let answer = read_all(tcp(ports[0]));
    kill(as_pid(pid), Signal::SIGTERM).unwrap();
    wait_until("the server to end", || !procs::is_alive(pid));
    assert!(message.starts_with("READY=1\n"), "{message}");
    assert_eq!(answer, "here\n");
}

#[test]
fn check_and_import_and_a_start_ask_for_all_names_at_the_same_time() {
    let folder = Folder::new();
    let Some((names, words)) = NameServer::start(&folder) else { return };
    let port = free_port();
    let file = folder.write("conf", &nine_lines(port));
    // Asked for one after the other, the first would have given up before the last is.
    names.say_when_all_are_asked(&nine_answers(&nine()));
    let output = command(&words).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("9 services, 0 errors, 0 warnings"), "{said}");
    let daemon = under(&words).start(&nine_lines(port));
    for n in 1..=9 {
        assert_eq!(served(ip(n), port), "named\n");
    }
    drop(daemon);
}

#[test]
fn a_reload_without_a_name_server_refuses_nothing_and_keeps_the_addresses() {
    let folder = Folder::new();
    let Some((names, words)) = NameServer::start(&folder) else { return };
    let ports = free_ports(3);
    names.say(&[("known.example", ip(21))]);
    let before = at("known.example", ports[0], "/bin/echo echo before");
    let daemon = under(&words).controlled().start(&before);
    assert_eq!(served(ip(21), ports[0]), "before\n");
    names.say(&[]);
    let after = at("known.example", ports[0], "/bin/echo echo after")
        + &at("new.example", ports[1], "/bin/echo echo new")
        + &tcp_line(ports[2], HERE);
    let line = daemon.reload(&after);
    assert_eq!((line.number("kept"), line.number("opened")), (Some(1), Some(1)), "{}", line.raw);
    assert_eq!(served(ip(21), ports[0]), "after\n");
    assert_eq!(read_all(tcp(ports[2])), "here\n");
    let said = daemon.log.text();
    assert!(said.contains("`known.example` cannot be looked up now"), "{said}");
    assert!(said.contains("goes on with what it was"), "{said}");
    // An upgrade knows no less.
    let answer = daemon.answer(&["upgrade"]);
    assert!(answer.contains("pid"), "{answer}");
    assert_eq!(served(ip(21), ports[0]), "after\n");
    names.say(&[("new.example", ip(22))]);
    assert_eq!(served(ip(22), ports[1]), "new\n");
}

#[test]
fn what_is_served_does_not_give_way_to_a_name_that_nobody_knows() {
    let folder = Folder::new();
    let Some((_names, words)) = NameServer::start(&folder) else { return };
    let port = free_port();
    let daemon = under(&words).start(&tcp_line(port, "/bin/echo echo served"));
    let _ = daemon.reload(&at("dead.example", port, "/bin/echo echo new"));
    assert_eq!(read_all(tcp(port)), "served\n");
    let relay =
        format!("127.0.0.1:{port} stream tcp nowait root internal\n redirect = dead.example 80\n");
    let _ = daemon.reload(&relay);
    assert_eq!(read_all(tcp(port)), "served\n");
    let said = daemon.log.text();
    assert!(said.contains("is running and goes on as it was"), "{said}");
}

#[test]
fn of_a_default_list_only_the_dead_name_is_missing_and_one_warning_names_its_services() {
    let folder = Folder::new();
    let Some((names, words)) = NameServer::start(&folder) else { return };
    let ports = free_ports(3);
    let line = |port: u16| format!("{port} stream tcp nowait root {HERE}\n");
    let text = format!("127.0.0.1,dead.example,{}:\n", ip(31))
        + &ports.iter().map(|port| line(*port)).collect::<String>();
    let daemon = under(&words).start(&text);
    for port in &ports {
        assert_eq!(read_all(tcp(*port)), "here\n");
        assert_eq!(served(ip(31), *port), "here\n");
    }
    let warnings = daemon.said("configuration");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let labels = format!("{}/tcp, {}/tcp and {}/tcp wait for it", ports[0], ports[1], ports[2]);
    assert!(warnings[0].raw.contains(&labels), "{}", warnings[0].raw);
    names.say(&[("dead.example", ip(32))]);
    for port in ports {
        assert_eq!(served(ip(32), port), "here\n");
    }
}

#[test]
fn a_relay_waits_for_the_name_of_its_target_and_looks_it_up_again_when_that_moves() {
    let folder = Folder::new();
    let Some((names, words)) = NameServer::start(&folder) else { return };
    let ports = free_ports(2);
    let relay = |host: &str| {
        let port = ports[1];
        format!(
            "127.0.0.1:{} stream tcp nowait root internal\n redirect = {host} {port}\n",
            ports[0]
        )
    };
    let _targets = Daemon::start(
        &(at(&ip(41).to_string(), ports[1], "/bin/echo echo first")
            + &at(&ip(42).to_string(), ports[1], "/bin/echo echo second")),
    );
    let daemon = under(&words).controlled().start(&relay("target.example"));
    let status = daemon.answer(&["status"]);
    assert!(status.contains("waiting"), "{status}");
    let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
    assert!(try_tcp(address).is_err(), "nobody can be relayed yet");
    names.say(&[("target.example", ip(41))]);
    let client = wait_for("the relay", || try_tcp(address).ok());
    assert_eq!(read_all(client), "first\n");
    // The target goes to where nobody is, and comes back elsewhere.
    names.say(&[("target.example", ip(43))]);
    let _ = daemon.reload(&relay("target.example"));
    names.say(&[("target.example", ip(42))]);
    let answer = wait_for("the new address", || {
        use std::io::Read as _;
        let mut said = String::new();
        let client = try_tcp(address).ok()?;
        (&client).read_to_string(&mut said).is_ok_and(|count| count > 0).then_some(said)
    });
    assert_eq!(answer, "second\n");
    let line = daemon.wait_log(|line| line.is("resolved"));
    assert!(line.raw.contains("name=target.example"), "{}", line.raw);
    daemon.wait_childless();
}

#[test]
fn a_network_device_that_comes_later_is_served_then() {
    if !need_root() || !["unshare", "nsenter", "ip"].into_iter().all(need_program) {
        return;
    }
    let script = "ip link set lo up && mount -t sysfs sysfs /sys && exec \"$@\"";
    let setup = Setup::new().under(&["unshare", "--net", "--mount", "sh", "-c", script, "sh"]);
    let text = format!(
        "5001 stream tcp4 nowait root {HERE}\n bind = later0\n\
         [fe80::77%later0]:5002 stream tcp nowait root {HERE}\n\
         127.0.0.1:5003 stream tcp nowait root {HERE}\n"
    );
    let daemon = setup.controlled().start(&text);
    let ready = daemon.wait_log(|line| line.is("ready"));
    assert_eq!(ready.number("listeners"), Some(1), "{}", daemon.log.text());
    let pid = daemon.pid().to_string();
    let inside = |words: &[&str]| {
        let mut entering = Command::new("nsenter");
        assert!(entering.args(["-t", &pid, "-n"]).args(words).status().unwrap().success());
    };
    inside(&["ip", "link", "add", "later0", "type", "veth", "peer", "name", "other0"]);
    inside(&["ip", "link", "set", "other0", "up"]);
    inside(&["ip", "link", "set", "later0", "up"]);
    inside(&["ip", "addr", "add", "fe80::77/64", "dev", "later0", "nodad"]);
    for port in [5001, 5002] {
        let _ =
            daemon.wait_log(|line| line.is("listening") && line.raw.contains(&format!(":{port}")));
    }
    assert!(daemon.answer(&["status"]).matches("listening").count() == 3);
}

/// A module of libc's for names that never answers, and the words that run a program with it.
fn hanging_accounts(folder: &Folder) -> Option<Vec<String>> {
    if !need_root() || !need_program("unshare") || !need_program("cc") {
        return None;
    }
    let source = folder.write(
        "hang.c",
        "#include <unistd.h>\n\
         static int hang(void) { for (;;) pause(); }\n\
         int _nss_hang_getpwnam_r(void) { return hang(); }\n\
         int _nss_hang_getgrnam_r(void) { return hang(); }\n\
         int _nss_hang_getpwuid_r(void) { return hang(); }\n",
    );
    let library = folder.name("libnss_hang.so.2");
    let mut building = Command::new("cc");
    building.args(["-shared", "-fPIC", "-o", &library]).arg(source);
    assert!(building.status().unwrap().success());
    let switch = folder.write("nsswitch", "passwd: files hang\ngroup: files hang\nhosts: files\n");
    let script = format!("mount --bind {} /etc/nsswitch.conf && exec \"$@\"", switch.display());
    Some(["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec())
}

#[test]
fn a_user_database_that_hangs_withholds_only_who_is_not_in_a_file() {
    let folder = Folder::new();
    let Some(words) = hanging_accounts(&folder) else { return };
    let ports = free_ports(4);
    let line = |port: u16, user: &str| format!("{port} stream tcp4 nowait {user} {HERE}\n");
    let text = line(ports[0], "far-away")
        + &line(ports[1], "elsewhere")
        + &line(ports[2], "root:no-such-group")
        + &line(ports[3], "root");
    let library = folder.path().display().to_string();
    let daemon = under(&words).env("LD_LIBRARY_PATH", &library).start(&text);
    assert_eq!(read_all(tcp(ports[3])), "here\n");
    let said = daemon.log.text();
    for name in ["user `far-away`", "user `elsewhere`", "group `no-such-group`"] {
        let wanted = format!("nobody says in time who the {name} is: not served");
        assert!(said.contains(&wanted), "{said}");
    }
    // Who is served goes on.
    let _ = daemon.reload(&line(ports[3], "far-away"));
    assert_eq!(read_all(tcp(ports[3])), "here\n");
    daemon.wait_childless();
}

#[test]
fn nobody_is_left_who_asks_when_the_server_is_killed() {
    let folder = Folder::new();
    let Some((names, words)) = NameServer::start(&folder) else { return };
    let port = free_port();
    let text = at("dead.example", port, HERE) + &tcp_line(port, HERE);
    let mut daemon = under(&words).start(&text);
    names.wait_asked("dead.example");
    let seekers = wait_for("who looks it up", || {
        let children = procs::children(daemon.pid());
        (!children.is_empty()).then_some(children)
    });
    daemon.signal(Signal::SIGKILL);
    let _ = daemon.wait_exit();
    for pid in seekers {
        wait_until("who looks it up to end", || !procs::is_alive(pid));
    }
}
