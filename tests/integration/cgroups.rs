//! Programs that try to use up the machine, in the group of processes (cgroup v2) of
//! their service. The server is started in a group of its own, as a service manager
//! would delegate it. Where the machine has no cgroup v2 with the controllers, these
//! tests are skipped, and one looks that nothing runs unlimited.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;

use crate::common::clients::{echo_once, read_to_any_end};
use crate::common::control::upgrade;
use crate::common::daemon::BINARY;
use crate::common::needs::kernel_lacks;
use crate::common::{
    Daemon, Folder, Setup, free_port, is_root, need_program, need_root, own_line, read_all, shell,
    tcp, wait_until,
};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A group for a daemon, gone with the value and everything in it.
struct Delegated(PathBuf);

impl Delegated {
    /// None, and a loud skip, where such a group cannot be had.
    #[track_caller]
    fn new() -> Option<Self> {
        if !need_root() {
            return None;
        }
        let Some(root) = root_of_groups() else {
            kernel_lacks("cgroup v2 with the controllers memory, pids and cpu");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("oxinetd-test.{}.{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Some(Self(path))
    }

    /// The daemon's first and only member.
    fn setup(&self, way: &str) -> Setup {
        self.setup_in("", way)
    }

    /// The same in a group below it.
    fn setup_in(&self, below: &str, way: &str) -> Setup {
        let own = self.0.join(below);
        let join = format!("mkdir -p {0}; echo $$ > {0}/cgroup.procs", own.display());
        Setup::new().after(&join).arg("--spawn").arg(way)
    }

    /// Marked as the service manager marks what it delegates; false if that cannot be done.
    fn mark(&self) -> bool {
        if !need_program("python3") {
            return false;
        }
        let script = "import os, sys; os.setxattr(sys.argv[1], \"user.delegate\", b\"1\")";
        let marked = Command::new("python3").args(["-c", script]).arg(&self.0).status().unwrap();
        if !marked.success() {
            kernel_lacks("extended attributes of cgroups (Linux 5.7)");
        }
        marked.success()
    }

    /// What the service manager runs after the end of a server.
    fn release(&self) {
        let own = self.0.join(".control");
        fs::create_dir(&own).unwrap();
        let join =
            format!("echo $$ > {}/cgroup.procs; exec {BINARY} release-groups", own.display());
        assert!(Command::new("sh").args(["-c", &join]).status().unwrap().success());
        wait_until("the group to be empty", || fs::remove_dir(&own).is_ok());
    }

    /// The groups of services that there are now.
    fn services(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().flatten().map(|entry| entry.path());
        let is_service = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            path.is_dir() && name.starts_with("oxinetd.") && name != "oxinetd.server"
        };
        entries.filter(is_service).collect()
    }

    #[track_caller]
    fn only_service(&self) -> PathBuf {
        let services = self.services();
        assert_eq!(services.len(), 1, "{services:?}");
        services[0].clone()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let members = || fs::read_to_string(self.0.join("cgroup.events")).unwrap_or_default();
        wait_until("the group to be empty", || !members().contains("populated 1"));
        for entry in fs::read_dir(&self.0).unwrap().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// As the unit's `DelegateSubgroup=` calls it.
const SUBGROUP: &str = "oxinetd";

/// Ends a daemon without its knowing.
fn crash(daemon: &mut Daemon) {
    daemon.signal(Signal::SIGKILL);
    let _ = daemon.wait_exit();
}

/// The group that a process is in, by its directory's name.
fn group_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    line.rsplit('/').next().unwrap().to_owned()
}

/// The root of the hierarchy, with the three controllers for the groups in it.
fn root_of_groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let of_version_2 = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let root = PathBuf::from(of_version_2.split(' ').nth(4)?);
    let has = |file: &str| {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        ["memory", "pids", "cpu"].iter().all(|name| text.split_whitespace().any(|is| is == *name))
    };
    let control = "cgroup.subtree_control";
    let enabled = has("cgroup.controllers")
        && (has(control) || fs::write(root.join(control), "+memory +pids +cpu").is_ok());
    enabled.then_some(root)
}

fn number(path: &Path, name: &str) -> u64 {
    fs::read_to_string(path.join(name)).unwrap().trim().parse().unwrap()
}

/// A number in a file of `KEY VALUE` lines.
fn counted(path: &Path, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(path.join(file)).unwrap();
    let line = text.lines().find(|line| line.split(' ').next() == Some(key)).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Eats memory until it is stopped; `tail` keeps what has no end of line.
const HOG: &str = "head -c 1G /dev/zero | tail; echo survived";

#[test]
fn a_program_that_eats_memory_is_killed_and_the_server_lives() {
    for way in ["auto", "fork"] {
        let Some(group) = Delegated::new() else { return };
        let (port, other) = (free_port(), free_port());
        let hog = own_line(port, &shell(HOG)) + "    memory_max = 24M\n";
        let mut daemon = group.setup(way).start(&(hog + &own_line(other, "/bin/cat cat")));
        for _ in 0..3 {
            let _ = read_to_any_end(tcp(port));
            assert_eq!(echo_once(tcp(other), "alive\n"), "alive\n");
        }
        let service = group.only_service();
        assert_eq!(number(&service, "memory.max"), 24 << 20);
        assert!(counted(&service, "memory.events", "oom_kill") >= 3);
        assert!(daemon.is_running());
        daemon.stop();
    }
}

#[test]
fn a_limit_too_small_to_start_in_does_not_take_the_server_with_it() {
    for way in ["auto", "fork"] {
        let Some(group) = Delegated::new() else { return };
        let (port, other) = (free_port(), free_port());
        let tiny = own_line(port, "/bin/cat cat") + "    memory_max = 4k\n";
        let mut daemon = group.setup(way).start(&(tiny + &own_line(other, "/bin/cat cat")));
        for _ in 0..5 {
            let _ = read_to_any_end(tcp(port));
            assert_eq!(echo_once(tcp(other), "alive\n"), "alive\n");
        }
        assert!(daemon.is_running());
        daemon.stop();
    }
}

#[test]
fn an_upgrade_goes_on_with_the_groups() {
    let Some(group) = Delegated::new() else { return };
    let port = free_port();
    let text = own_line(port, "/bin/cat cat") + "    memory_max = 64M\n";
    let mut daemon = group.setup("auto").controlled().start(&text);
    let mut client = tcp(port);
    assert_eq!(echo_once(&mut client, "before"), "before");
    let service = group.only_service();
    for limit in [32u64, 48] {
        let changed = text.replace("64M", &format!("{limit}M"));
        daemon.folder.write("inetd.conf", &changed);
        upgrade(&daemon);
        assert_eq!(group.only_service(), service);
        assert_eq!(number(&service, "memory.max"), limit << 20);
        assert_eq!(echo_once(tcp(port), "new"), "new");
    }
    // Its group goes when the last program of it has gone, not before.
    let _ = daemon.reload(&own_line(port, "/bin/cat cat"));
    assert_eq!(echo_once(&mut client, "still"), "still");
    upgrade(&daemon);
    assert_eq!(group.only_service(), service);
    drop(client);
    wait_until("the group to be removed", || group.services().is_empty());
    daemon.stop();
}

#[test]
fn a_program_that_forks_without_end_stops_at_the_limit() {
    for way in ["auto", "fork"] {
        let Some(group) = Delegated::new() else { return };
        let (port, other) = (free_port(), free_port());
        let folder = Folder::new();
        let full = folder.name("full");
        let bomb = format!("[ -e {full} ] && exec sleep 600; while :; do sleep 600 & done");
        let bomb = shell(&bomb);
        let attributes = "    tasks_max = 10\n    stderr = socket\n";
        let text = own_line(port, &bomb) + attributes + &own_line(other, "/bin/cat cat");
        let mut daemon = group.setup(way).start(&text);
        let mut clients = vec![tcp(port)];
        let service = group.only_service();
        wait_until("the limit to be met", || counted(&service, "pids.events", "max") > 0);
        assert!(number(&service, "pids.current") <= 10);
        assert_eq!(echo_once(tcp(other), "alive\n"), "alive\n");
        // A full group lets nobody in, the first process of a program no more than others. It
        // is full once there is one that forks no more: a shell that cannot fork may give up.
        fs::write(&full, "").unwrap();
        wait_until("a full group to let nobody in", || {
            clients.push(tcp(port));
            daemon.said("failed").iter().any(|line| line.raw.contains("cgroup"))
        });
        assert!(number(&service, "pids.current") <= 10);
        assert!(daemon.is_running());
        drop(clients);
    }
}

#[test]
fn processor_time_is_shared_out_as_said() {
    for way in ["auto", "fork"] {
        let Some(group) = Delegated::new() else { return };
        let port = free_port();
        let busy = own_line(port, &shell("while :; do :; done")) + "    cpu_max = 20%\n";
        let _daemon = group.setup(way).start(&busy);
        let _client = tcp(port);
        let service = group.only_service();
        assert_eq!(fs::read_to_string(service.join("cpu.max")).unwrap(), "20000 100000\n");
        wait_until("the program to be slowed down", || {
            counted(&service, "cpu.stat", "nr_throttled") > 2
        });
    }
}

#[test]
fn a_group_goes_with_its_service_and_its_last_program() {
    for way in ["auto", "fork"] {
        let Some(group) = Delegated::new() else { return };
        let (port, other) = (free_port(), free_port());
        let cat = own_line(port, "/bin/cat cat");
        let rest = own_line(other, "/bin/cat cat");
        let mut daemon = group.setup(way).start(&format!("{cat}    tasks_max = 10\n{rest}"));
        let mut client: TcpStream = tcp(port);
        assert_eq!(echo_once(&mut client, "in\n"), "in\n");
        let service = group.only_service();
        assert_eq!(number(&service, "pids.current"), 1);
        // A new value holds for what runs already.
        let _ = daemon.reload(&format!("{cat}    tasks_max = 20\n{rest}"));
        assert_eq!(group.only_service(), service);
        assert_eq!(number(&service, "pids.max"), 20);
        assert_eq!(number(&service, "pids.current"), 1);
        // The service goes; the group stays for the program that runs, and no longer.
        let _ = daemon.reload(&rest);
        assert_eq!(group.only_service(), service);
        assert_eq!(echo_once(&mut client, "still\n"), "still\n");
        drop(client);
        wait_until("the group to go", || group.services().is_empty());
        // It comes back, and goes with the server.
        let _ = daemon.reload(&format!("{cat}    memory_max = 64M\n{rest}"));
        assert_eq!(echo_once(tcp(port), "again\n"), "again\n");
        daemon.wait_childless();
        assert_eq!(group.services().len(), 1);
        daemon.stop();
        let left: Vec<_> = fs::read_dir(&group.0).unwrap().flatten().collect();
        assert!(!left.iter().any(|entry| entry.path().is_dir()), "{left:?}");
    }
}

#[test]
fn what_outlives_its_program_keeps_the_group_until_it_ends() {
    let Some(group) = Delegated::new() else { return };
    let (port, other) = (free_port(), free_port());
    let leaver = own_line(port, &shell("sleep 600 >/dev/null 2>&1 & echo $!"));
    let rest = own_line(other, "/bin/cat cat");
    let daemon = group.setup("auto").start(&format!("{leaver}    tasks_max = 10\n{rest}"));
    let pid: i32 = read_all(tcp(port)).trim().parse().unwrap();
    let _ = daemon.wait_log(|line| line.about("ended", port));
    let _ = daemon.reload(&rest);
    assert_eq!(group.services().len(), 1);
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("the group to go", || group.services().is_empty());
}

#[test]
fn a_server_in_the_root_group_stays_there() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if !need_root() {
        return;
    }
    let Some(root) = root_of_groups().filter(|_| own.lines().any(|line| line == "0::/")) else {
        kernel_lacks("a place in the root of cgroup v2, and its controllers");
        return;
    };
    let port = free_port();
    let cat = own_line(port, "/bin/cat cat") + "    memory_max = 64M\n";
    let mut daemon = Daemon::start(&cat);
    let group = root.join(format!("oxinetd.{port}_tcp@127.0.0.1"));
    assert_eq!(echo_once(tcp(port), "in\n"), "in\n");
    assert_eq!(number(&group, "memory.max"), 64 << 20);
    let of_daemon = fs::read_to_string(format!("/proc/{}/cgroup", daemon.pid())).unwrap();
    assert!(of_daemon.lines().any(|line| line == "0::/"), "{of_daemon}");
    daemon.wait_childless();
    daemon.stop();
    assert!(!group.exists());
}

#[test]
fn two_services_of_one_name_have_a_group_each() {
    let Some(group) = Delegated::new() else { return };
    let port = free_port();
    let on = |address: &str| format!("{address}:{port} stream tcp nowait root /bin/cat cat\n");
    let limit = "    tasks_max = 5\n";
    let text = format!("{}{limit}{}{limit}", on("127.0.0.1"), on("127.0.0.2"));
    let _daemon = group.setup("auto").start(&text);
    assert_eq!(group.services().len(), 2);
}

#[test]
fn without_the_controllers_nothing_runs_unlimited() {
    if is_root() && root_of_groups().is_some() {
        // They are there. That a service is refused without them needs another machine.
        return;
    }
    for attribute in ["memory_max = 64M", "tasks_max = 10", "cpu_max = 50%"] {
        let (port, other) = (free_port(), free_port());
        let line = own_line(port, "/bin/echo echo started");
        let daemon =
            Daemon::start(&format!("{line}    {attribute}\n{}", own_line(other, "/bin/cat cat")));
        // Before the first client comes: by the server, and by whoever looks at the file.
        daemon.wait_log(|line| line.is("trouble") && line.get("call") == Some("cgroup"));
        let mut check = crate::common::daemon::command(&[]);
        let output = check.arg("check").arg(daemon.folder.at("inetd.conf")).output().unwrap();
        let (name, text) =
            (attribute.split(' ').next().unwrap(), String::from_utf8(output.stdout).unwrap());
        assert!(text.contains(&format!("warning: `{name}` cannot hold here, and no")), "{text}");
        assert!(output.status.success() && text.ends_with(", 1 warning\n"), "{text}");
        let client = crate::common::clients::try_tcp((Ipv4Addr::LOCALHOST, port).into()).unwrap();
        assert_eq!(read_to_any_end(client), "");
        let failed = daemon.wait_log(|line| line.is("failed"));
        assert_eq!(failed.get("stage"), Some("cgroup"), "{}", failed.raw);
        assert_eq!(echo_once(tcp(other), "alive\n"), "alive\n");
    }
}

#[test]
fn limits_hold_whatever_becomes_of_the_server() {
    let Some(group) = Delegated::new().filter(Delegated::mark) else { return };
    let (port, plain) = (free_port(), free_port());
    let limits = "    memory_max = 64M\n    tasks_max = 10\n    cpu_max = 50%\n";
    let cat = |port| own_line(port, "/bin/cat cat");
    let text = cat(port) + limits + &cat(plain);
    let start = || group.setup_in(SUBGROUP, "auto").start(&text);
    let mut daemon = start();
    let (mut client, mut other) = (tcp(port), tcp(plain));
    assert_eq!(echo_once(&mut client, "in") + &echo_once(&mut other, "in"), "inin");
    let service = group.only_service();
    let is_as_said = || {
        let cpu = fs::read_to_string(service.join("cpu.max")).unwrap();
        (number(&service, "memory.max"), number(&service, "pids.max"), cpu.trim().to_owned())
            == (64 << 20, 10, "50000 100000".to_owned())
    };
    let mut past = Vec::new();
    for (end, members) in [(crash as fn(&mut Daemon), 2), (Daemon::stop, 3)] {
        end(&mut daemon);
        assert!(is_as_said(), "nobody serves, and the limits are gone");
        // What the unit does for older service managers has nothing to do here.
        group.release();
        assert!(is_as_said(), "the limits have been taken away");
        // Dropped, it would end its programs.
        past.push(std::mem::replace(&mut daemon, start()));
        assert!(is_as_said(), "the limits are others now");
        assert_eq!(group_of(daemon.pid()), SUBGROUP);
        assert!(daemon.said("trouble").is_empty(), "{}", daemon.log.text());
        assert_eq!(echo_once(&mut client, "still") + &echo_once(&mut other, "still"), "stillstill");
        let newcomer = tcp(port);
        assert_eq!(echo_once(&newcomer, "new"), "new");
        assert_eq!(group.only_service(), service);
        assert_eq!(number(&service, "pids.current"), members);
        std::mem::forget(newcomer);
    }
    // The next has other services: what is left goes with the last program of it.
    daemon.stop();
    let mut next = group.setup_in(SUBGROUP, "auto").start(&cat(plain));
    assert!(is_as_said(), "the service has gone, and the limits of its programs with it");
    fs::write(service.join("cgroup.kill"), "1").unwrap();
    wait_until("the group to go", || group.services().is_empty());
    next.stop();
}

#[test]
fn a_server_in_a_group_of_its_own_can_be_started_again() {
    let Some(group) = Delegated::new().filter(Delegated::mark) else { return };
    let port = free_port();
    let text = own_line(port, "/bin/cat cat") + "    memory_max = 64M\n    tasks_max = 10\n";
    let mut daemon = group.setup("auto").start(&text);
    let mut client = tcp(port);
    assert_eq!(echo_once(&mut client, "in"), "in");
    let service = group.only_service();
    let mut past = Vec::new();
    for end in [crash as fn(&mut Daemon), Daemon::stop] {
        end(&mut daemon);
        group.release();
        past.push(std::mem::replace(&mut daemon, group.setup("auto").start(&text)));
        assert_eq!(number(&service, "memory.max"), 64 << 20);
        assert_eq!(number(&service, "pids.max"), 10);
        let gap = daemon.wait_log(|line| line.is("trouble") && line.get("call") == Some("cgroup"));
        assert!(gap.raw.contains("no limits for a while"), "{}", gap.raw);
        assert_eq!(echo_once(&mut client, "still"), "still");
        assert_eq!(echo_once(tcp(port), "new"), "new");
        assert_eq!(group.only_service(), service);
    }
    daemon.stop();
}

#[test]
fn limits_can_be_added_while_programs_of_before_run() {
    for below in ["", SUBGROUP] {
        let Some(group) = Delegated::new().filter(Delegated::mark) else { return };
        let port = free_port();
        let cat = own_line(port, "/bin/cat cat");
        let mut daemon = group.setup_in(below, "auto").start(&cat);
        let mut client = tcp(port);
        assert_eq!(echo_once(&mut client, "in"), "in");
        crash(&mut daemon);
        let limited = cat + "    memory_max = 64M\n";
        let next = group.setup_in(below, "auto").start(&limited);
        assert_eq!(echo_once(tcp(port), "new"), "new");
        assert_eq!(number(&group.only_service(), "memory.max"), 64 << 20);
        assert_eq!(echo_once(&mut client, "still"), "still");
        assert!(next.said("trouble").is_empty(), "{}", next.log.text());
    }
}

#[test]
fn what_is_in_the_way_of_a_group_is_waited_for() {
    let Some(group) = Delegated::new() else { return };
    let port = free_port();
    // Not of the server's starting, and not its to move.
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(group.0.join("cgroup.procs"), other.id().to_string()).unwrap();
    let daemon =
        group.setup("auto").start(&(own_line(port, "/bin/cat cat") + "    memory_max = 64M\n"));
    let said = daemon.wait_log(|line| line.is("trouble"));
    assert_eq!(said.get("call"), Some("cgroup"), "{}", said.raw);
    assert_eq!(read_to_any_end(tcp(port)), "");
    other.kill().unwrap();
    other.wait().unwrap();
    wait_until("clients to be served", || echo_once_or_nothing(port) == "alive");
    assert_eq!(number(&group.only_service(), "memory.max"), 64 << 20);
    // And what somebody else has removed is made again.
    daemon.wait_childless();
    fs::remove_dir(group.only_service()).unwrap();
    wait_until("clients to be served again", || echo_once_or_nothing(port) == "alive");
    assert_eq!(number(&group.only_service(), "memory.max"), 64 << 20);
}

fn echo_once_or_nothing(port: u16) -> String {
    use std::io::Write as _;
    let mut client = tcp(port);
    // It may be closed at once.
    let _ = client.write_all(b"alive");
    let _ = client.shutdown(std::net::Shutdown::Write);
    read_to_any_end(client)
}

#[test]
fn two_servers_beside_each_other_keep_to_their_own_groups() {
    let Some(group) = Delegated::new().filter(Delegated::mark) else { return };
    let port = free_port();
    let on = |address: &str| {
        format!("{address}:{port} stream tcp nowait root /bin/cat cat\n    tasks_max = 10\n")
    };
    let start = |address: &str| group.setup_in(SUBGROUP, "auto").start(&on(address));
    let mut first = start("127.0.0.1");
    let mut client = tcp(port);
    assert_eq!(echo_once(&mut client, "in"), "in");
    let of_first = group.only_service();
    let mut second = start("127.0.0.2");
    assert_eq!(group.services().len(), 2);
    crash(&mut second);
    second = start("127.0.0.2");
    assert_eq!(group.services().len(), 2);
    second.stop();
    assert_eq!(group.only_service(), of_first);
    assert_eq!(number(&of_first, "pids.max"), 10);
    assert_eq!(echo_once(tcp(port), "still"), "still");
    first.stop();
}
