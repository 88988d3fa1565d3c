//! What a child has of the server while its user may already look into it: with
//! `fs.suid_dumpable` 1, and where that cannot be read, nothing.
//!
//! The machine's setting is the machine's: the server is started in a mount name space of
//! its own, where a file of ours stands in its place. What the kernel itself allows stays as
//! it is, so root is the one who looks; as any user, on a machine where it is 1, that is
//! done in `tests/world`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use crate::common::control::upgrade;
use crate::common::procs::{self, status_field};
use crate::common::strace::Strace;
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, need_program, need_root, read_all, read_line,
    shell, tcp, tcp_line, wait_for,
};

/// In the environment of a service that the attacker has nothing to do with.
const SECRET: &str = "of-another-service-5f0c2";
/// In that of the attacker's own.
const OWN: &str = "of-its-own-9d41e";

const SETTING: &str = "/proc/sys/fs/suid_dumpable";

/// A server in whose world the setting is `value`; `setting` in its folder.
fn where_it_is(folder: &Folder, value: &str) -> Setup {
    let file = folder.write("setting", value);
    let script = format!("mount --bind {} {SETTING} && exec \"$@\"", file.display());
    Setup::new().under(&["unshare", "--mount", "sh", "-c", &script, "sh"])
}

/// The attacker's service, one with a secret, and one of root's.
fn services([own, other, of_root]: [u16; 3]) -> String {
    tcp_line(own, "/bin/true true")
        + &format!("    env = OWN={OWN}\n")
        + &tcp_line(other, "/bin/true true")
        + &format!("    env = SECRET={SECRET}\n")
        + &format!("127.0.0.1:{of_root} stream tcp nowait root /bin/true true\n")
}

/// Holds each child of the server where it is about to execute its program, as its user could
/// with SIGSTOP if he is lucky.
fn hold_children_of(daemon: &Daemon) -> Strace {
    let delay = ["-f", "-e", "trace=execve", "-e", "inject=execve:delay_enter=60s"];
    Strace::attach(daemon.pid(), &delay).expect("root may attach")
}

/// A child that is somebody else already, and not its program yet.
fn held_child_of(daemon: &Daemon) -> u32 {
    let image = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.to_string();
    wait_for("a child on its way", || {
        let between = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok();
            let uid = status.map(|status| status_field(&status, "Uid"));
            let changed = uid.is_some_and(|uid| uid.split_whitespace().all(|id| id == nobody));
            changed && procs::state(*pid) == Some('t') && image(*pid) == image(daemon.pid())
        };
        procs::children(daemon.pid()).into_iter().find(between)
    })
}

/// All that can be read of a process's memory.
fn memory(pid: u32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let file = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        if rest.starts_with('r') && !rest.contains("[v") {
            let mut piece = vec![0; usize::try_from(end - start).unwrap()];
            if file.read_exact_at(&mut piece, start).is_ok() {
                all.extend(piece);
            }
        }
    }
    all
}

fn has(memory: &[u8], text: &str) -> bool {
    memory.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Whether somebody who looks into the attacker's child finds the other service's secret.
#[track_caller]
fn finds_the_secret(daemon: &Daemon, port: u16) -> bool {
    let strace = hold_children_of(daemon);
    let client = tcp(port);
    let child = held_child_of(daemon);
    let memory = memory(child);
    assert!(has(&memory, OWN), "its own environment is there");
    // What it could write to and read from: the connection, the log's pipe, its own pipe.
    let descriptors = procs::descriptor_numbers(child).len();
    strace.cut();
    assert_eq!(read_all(client), "");
    let found = has(&memory, SECRET);
    assert!(found || descriptors <= 4, "{descriptors} descriptors");
    found
}

fn three_ports() -> [u16; 3] {
    free_ports(3).try_into().unwrap()
}

fn may_run() -> bool {
    need_root() && need_program("strace") && need_program("unshare") && Path::new(SETTING).exists()
}

#[test]
fn where_a_user_may_look_into_it_nothing_of_the_server_is_there() {
    if !may_run() {
        return;
    }
    let ports = three_ports();
    for (value, way, found) in [
        // This test can fail.
        ("0\n", "auto", true),
        ("2\n", "fork", true),
        ("1\n", "auto", false),
        ("1\n", "fork", false),
        ("nonsense\n", "auto", false),
        ("0\n", "apart", false),
    ] {
        let folder = Folder::new();
        let setup = where_it_is(&folder, value).arg("--spawn").arg(way);
        let daemon = setup.start_in(folder, &services(ports));
        assert_eq!(finds_the_secret(&daemon, ports[0]), found, "{value:?} {way}");
    }
}

#[test]
fn where_the_setting_cannot_be_read_nothing_of_the_server_is_there() {
    if !may_run() {
        return;
    }
    let ports = three_ports();
    for hide in ["/proc/sys", "/proc"] {
        let script = format!("mount -t tmpfs none {hide} && exec \"$@\"");
        let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        let daemon = Setup::new().under(&words).start(&services(ports));
        assert!(!finds_the_secret(&daemon, ports[0]), "{hide}");
    }
}

/// Those that wait already share the server's memory.
#[test]
fn a_change_of_the_setting_holds_from_the_next_client_on() {
    if !may_run() {
        return;
    }
    let ports = three_ports();
    let folder = Folder::new();
    let daemon = where_it_is(&folder, "0\n").start_in(folder, &services(ports));
    let set = |value: &str| fs::write(daemon.folder.at("setting"), value).unwrap();
    let wait_spare = || {
        wait_for("a child that is made ahead", || {
            // Where they come one right after the other.
            (0..8).for_each(|_| assert_eq!(read_all(tcp(ports[2])), ""));
            let waits = |pid: &u32| procs::state(*pid) == Some('S') && procs::leads_session(*pid);
            procs::children(daemon.pid()).into_iter().find(waits)
        })
    };
    wait_spare();
    set("1\n");
    assert!(!finds_the_secret(&daemon, ports[0]));
    set("0\n");
    // Those made before strace is there are not held.
    daemon.wait_childless();
    assert!(finds_the_secret(&daemon, ports[0]));
}

/// What a program of `nobody` is, in many respects.
const STATE: &str = "env | grep -v PORT= | sort; ls -l /proc/self/fd | wc -l; \
     grep -e ^Sig[PBI] -e ^Cap -e ^NoNewPrivs -e ^Groups -e ^Uid -e ^Gid /proc/self/status; \
     pid=$$; read -r stat </proc/$$/stat; set -- $stat; [ $5 = $pid ] && [ $6 = $pid ] && echo leads; \
     umask; pwd; ulimit -a; nice; cat";

#[test]
fn a_program_is_the_same_whichever_way_it_was_started() {
    if !need_root() {
        return;
    }
    let attributes = [
        "",
        "    umask = 027\n    chdir = /usr\n    nice = 3\n    rlimit_nproc = 999\n    \
         rlimit_files = 77\n    no_new_privs = yes\n    env = A=b C=\"d e\"\n    \
         capabilities = chown\n    group = daemon\n",
    ];
    for attributes in attributes {
        let state = |way: &str| {
            let port = free_port();
            let text = tcp_line(port, &shell(STATE)) + attributes;
            let daemon = Setup::new().arg("--spawn").arg(way).start(&text);
            let mut client = tcp(port);
            std::io::Write::write_all(&mut client, b"and what the client says\n").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let state = read_all(client);
            daemon.wait_log(|line| line.about("ended", port));
            daemon.wait_childless();
            state
        };
        let usual = state("auto");
        assert!(usual.contains("\nleads\n") && usual.ends_with("says\n"), "{usual}");
        assert_eq!(state("apart"), usual);
    }
}

#[test]
fn why_a_program_apart_could_not_be_started_is_told_of_it_alone() {
    if !need_root() {
        return;
    }
    let [port, of_status, good] = three_ports();
    let folder = Folder::new();
    let program = folder.copy_of("/bin/cat", "short-lived");
    let text = tcp_line(port, &format!("{program} short-lived"))
        // A status that a child of ours would have, too.
        + &tcp_line(of_status, &shell("exit 127"))
        + &tcp_line(good, &shell("echo good"));
    let daemon = Setup::new().arg("--spawn").arg("apart").start_in(folder, &text);
    fs::remove_file(&program).unwrap();
    for _ in 0..3 {
        assert_eq!(read_all(tcp(port)), "");
        assert_eq!(read_all(tcp(of_status)), "");
        assert_eq!(read_all(tcp(good)), "good\n");
    }
    let failed = daemon.wait_count(3, |line| line.about("failed", port));
    assert!(failed.iter().all(|line| line.get("stage") == Some("exec")));
    let ended = daemon.wait_count(3, |line| line.about("ended", of_status));
    assert!(ended.iter().all(|line| line.get("status") == Some("127")), "{}", ended[0].raw);
    daemon.wait_childless();
}

#[test]
fn after_an_upgrade_programs_start_apart_and_those_before_run_on() {
    if !need_root() {
        return;
    }
    let port = free_port();
    let text = tcp_line(port, &shell("echo here; read -r line; echo $line"));
    let daemon = Setup::new().controlled().copied().arg("--spawn").arg("apart").start(&text);
    let mut before = tcp(port);
    assert_eq!(read_line(&before), "here\n");
    upgrade(&daemon);
    let mut after = tcp(port);
    assert_eq!(read_line(&after), "here\n");
    for client in [&mut before, &mut after] {
        std::io::Write::write_all(client, b"still\n").unwrap();
        assert_eq!(read_line(client), "still\n");
    }
}

/// Whoever finds it can have it do what he may do himself.
#[test]
fn a_stub_without_a_job_ends() {
    for arguments in [&[][..], &["3"], &["3", "4"], &["x", "y"], &["0", "2"]] {
        let words = ["sh", "-c", "exec -a oxinetd-stub \"$0\" \"$@\" 3</dev/null 4>/dev/null"];
        let mut command = Command::new("bash");
        command.args(&words[1..]).arg(crate::common::daemon::BINARY).args(arguments);
        if !need_program("bash") {
            return;
        }
        let status = command.status().unwrap();
        assert!(!status.success() && status.code().is_some(), "{arguments:?}: {status}");
    }
}
