//! As root: programs run as the user and groups of their line, and in their root directory.

use std::path::Path;

use crate::common::procs::{libraries, nicer_by};
use crate::common::{Daemon, Folder, Setup, free_port, is_root, need_root, read_all, shell, tcp};

/// What `id` prints under a service with this user field and these attributes.
fn identity(user: &str, attributes: &str) -> String {
    let port = free_port();
    let script = shell("id -u; id -g; id -G");
    let line = format!("127.0.0.1:{port} stream tcp nowait {user} {script}\n{attributes}");
    let _daemon = Daemon::start(&line);
    read_all(tcp(port)).replace('\n', " ").trim().to_owned()
}

fn nobody() -> (u32, u32) {
    let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    (user.uid.as_raw(), user.gid.as_raw())
}

fn group(name: &str) -> u32 {
    nix::unistd::Group::from_name(name).unwrap().unwrap().gid.as_raw()
}

#[test]
fn no_user_in_particular_means_nobody() {
    if !need_root() {
        return;
    }
    let (uid, gid) = nobody();
    assert_eq!(identity("-", ""), format!("{uid} {gid} {gid}"));
}

#[test]
fn a_program_runs_as_the_user_of_its_line_with_nothing_of_root_left() {
    if !need_root() {
        return;
    }
    let (uid, gid) = nobody();
    assert_eq!(identity("nobody", ""), format!("{uid} {gid} {gid}"));
    let port = free_port();
    let line =
        format!("127.0.0.1:{port} stream tcp nowait nobody /bin/cat cat /proc/self/status\n");
    let _daemon = Daemon::start(&line);
    let status = read_all(tcp(port));
    let all_four = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
    assert!(status.contains(&format!("Uid:\t{}", all_four(uid))), "{status}");
    assert!(status.contains(&format!("Gid:\t{}", all_four(gid))), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
}

#[test]
fn a_group_behind_the_user_is_the_main_group() {
    if !need_root() {
        return;
    }
    let (uid, daemon) = (nobody().0, group("daemon"));
    for spelling in ["nobody:daemon", "nobody.daemon"] {
        let text = identity(spelling, "");
        assert!(text.starts_with(&format!("{uid} {daemon} ")), "{spelling}: {text}");
    }
    let text = identity("nobody", "    group = daemon\n");
    assert!(text.starts_with(&format!("{uid} {daemon} ")), "{text}");
}

#[test]
fn without_supplementary_groups_the_main_group_is_the_only_one() {
    if !need_root() {
        return;
    }
    let (uid, daemon) = (nobody().0, group("daemon"));
    let text = identity("nobody:daemon", "    groups = no\n");
    assert_eq!(text, format!("{uid} {daemon} {daemon}"));
}

#[test]
fn a_root_service_does_not_inherit_the_groups_of_the_server() {
    if !need_root() {
        return;
    }
    if !crate::common::need_program("setpriv") {
        return;
    }
    let port = free_port();
    let script = shell("id -G");
    let odd = group("games").to_string();
    let _daemon = Setup::new()
        .under(&["setpriv", "--groups", &odd])
        .start(&format!("127.0.0.1:{port} stream tcp nowait root {script}\n    groups = no\n"));
    assert_eq!(read_all(tcp(port)), "0\n");
}

#[test]
fn a_program_cannot_get_back_to_root() {
    if !need_root() {
        return;
    }
    let port = free_port();
    let script = shell("cat /etc/shadow 2>&1 | head -c 3; kill -0 1 2>/dev/null || echo no");
    let _daemon = Daemon::start(&format!("127.0.0.1:{port} stream tcp nowait nobody {script}\n"));
    assert!(read_all(tcp(port)).ends_with("no\n"));
}

/// Puts a shell with its libraries into a folder that can be a root directory.
fn small_root(folder: &Folder) {
    let shell = Path::new("/bin/sh").canonicalize().unwrap();
    for file in libraries(&shell) {
        let to = folder.at("root").join(file.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file.canonicalize().unwrap(), &to).unwrap();
    }
    std::fs::create_dir_all(folder.at("root/bin")).unwrap();
    let _ = folder.copy_of(shell.to_str().unwrap(), "root/bin/sh");
    folder.write("root/inside", "file inside\n");
}

#[test]
fn a_program_in_a_root_directory_sees_only_that() {
    if !need_root() {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    small_root(&folder);
    let script = "/bin/sh sh -c 'pwd; echo /*; read -r line </inside; echo $line'";
    let text = format!(
        "127.0.0.1:{port} stream tcp nowait nobody {script}\n    chroot = {}\n",
        folder.name("root")
    );
    let _daemon = Setup::new().start_in(folder, &text);
    let answer = read_all(tcp(port));
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[0], "/", "{answer}");
    assert!(lines[1].contains("/inside") && !lines[1].contains("/etc"), "{answer}");
    assert_eq!(lines[2], "file inside", "{answer}");
}

#[test]
fn a_negative_nice_value_is_root_s_to_give() {
    if !need_root() {
        return;
    }
    let port = free_port();
    let line = format!("127.0.0.1:{port} stream tcp nowait nobody /usr/bin/nice nice\n");
    let _daemon = Daemon::start(&(line + "    nice = -3\n"));
    assert_eq!(read_all(tcp(port)), format!("{}\n", nicer_by(-3)));
}

#[test]
fn an_ordinary_user_serves_as_itself_and_not_as_others() {
    if !need_root() || !crate::common::need_program("setpriv") {
        return;
    }
    let (own, other) = (free_port(), free_port());
    let (uid, gid) = nobody();
    let script = shell("id -u");
    let line =
        |port: u16, user: &str| format!("127.0.0.1:{port} stream tcp nowait {user} {script}\n");
    let text = line(own, "-") + &line(other, "root");
    let (uid_word, gid_word) = (format!("--reuid={uid}"), format!("--regid={gid}"));
    let binary = Path::new(crate::common::daemon::BINARY);
    let folder = Folder::new();
    let copy = folder.copy_of(binary.to_str().unwrap(), "oxinetd");
    // The build folder may be closed to others: they start a copy.
    let exec = format!("shift; exec {copy} \"$@\"");
    let words = ["setpriv", &uid_word, &gid_word, "--clear-groups", "sh", "-c", &exec, "sh"];
    let daemon = Setup::new().under(&words).start_in(folder, &text);
    assert_eq!(read_all(tcp(own)), format!("{uid}\n"));
    assert!(daemon.log.text().contains("root"), "a warning names the user it cannot be");
    let address = std::net::SocketAddr::new("127.0.0.1".parse().unwrap(), other);
    assert!(crate::common::clients::try_tcp(address).is_err());
}

/// Of a server that may not set it; as root it is set.
#[test]
fn a_limit_above_the_servers_own_is_a_warning_and_no_failure_of_each_client() {
    if is_root() && !crate::common::need_program("setpriv") {
        return;
    }
    let (low, high) = (free_port(), free_port());
    let script = shell("ulimit -H -c");
    let line = |port: u16, limit: &str| {
        format!("127.0.0.1:{port} stream tcp nowait - {script}\n    rlimit_core = {limit}\n")
    };
    let folder = Folder::new();
    let copy = folder.copy_of(crate::common::daemon::BINARY, "oxinetd");
    let exec = format!("shift; ulimit -c 0; exec {copy} \"$@\"");
    let shell = ["sh", "-c", &exec, "sh"];
    let (uid, gid) = nobody();
    let words = [format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()];
    let user: Vec<&str> = ["setpriv"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let words = if is_root() { [&user[..], &shell].concat() } else { shell.to_vec() };
    let text = line(low, "0") + &line(high, "1k");
    let daemon = Setup::new().under(&words).start_in(folder, &text);
    assert_eq!(read_all(tcp(low)), "0\n");
    assert!(daemon.log.text().contains("above the server's own, 0"), "{}", daemon.log.text());
    let address = std::net::SocketAddr::new("127.0.0.1".parse().unwrap(), high);
    assert!(crate::common::clients::try_tcp(address).is_err());
}

/// A step that says it has done what it has not: strace(1) stands for the kernel.
#[test]
fn a_step_that_did_not_happen_keeps_the_program_from_starting() {
    if !need_root() || !crate::common::need_program("strace") {
        return;
    }
    let port = free_port();
    let line = format!("127.0.0.1:{port} stream tcp nowait nobody /bin/echo echo started\n");
    let attributes = "    umask = 027\n    group = daemon\n";
    let groups = format!("--groups={},{}", group("games"), group("users"));
    for (call, answer, stage) in [
        ("umask", "retval=0", Some("umask")),
        ("setgroups", "retval=0", Some("verify")),
        ("setresgid", "retval=0", Some("verify")),
        ("setresuid", "retval=0", Some("verify")),
        ("keyctl", "error=ENOMEM", Some("keyring")),
        ("keyctl", "error=ENOSYS", None),
        ("keyctl", "error=EPERM", None),
        ("keyctl", "error=EDQUOT", None),
    ] {
        for way in ["auto", "fork", "apart"] {
            let folder = Folder::new();
            let trace = folder.name("trace");
            let inject = format!("inject={call}:{answer}");
            let only = format!("trace={call}");
            let words =
                ["setpriv", &groups, "strace", "-f", "-o", &trace, "-e", &only, "-e", &inject];
            let setup = Setup::new().under(&words).arg("--spawn").arg(way);
            let daemon = setup.start_in(folder, &format!("{line}{attributes}"));
            let answer = read_all(tcp(port));
            let expected = if stage.is_some() { "" } else { "started\n" };
            assert_eq!(answer, expected, "{call} {way}");
            if stage.is_some() {
                let failed = daemon.wait_log(|line| line.about("failed", port));
                assert_eq!(failed.get("stage"), stage, "{call} {way}: {}", failed.raw);
            }
        }
    }
}

/// Joins a session keyring, puts a key there that holders may read, and goes on as the server.
const WITH_A_KEY: &str = "\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(ctypes.c_long(KEYCTL), ctypes.c_long(1), None) < 0:
    sys.exit('keyctl: ' + os.strerror(ctypes.get_errno()))
if libc.syscall(ctypes.c_long(ADD_KEY), b'user', b'root-key-of-the-server', b'x', ctypes.c_size_t(1), ctypes.c_long(-3)) < 0:
    sys.exit('add_key: ' + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn keys_of_roots_session_are_not_held_by_programs_of_others() {
    if !need_root() || !crate::common::need_program("python3") {
        return;
    }
    if !Path::new("/proc/keys").exists() {
        crate::common::needs::kernel_lacks("keyrings");
        return;
    }
    let code = WITH_A_KEY
        .replace("KEYCTL", &nix::libc::SYS_keyctl.to_string())
        .replace("ADD_KEY", &nix::libc::SYS_add_key.to_string());
    for way in ["auto", "fork", "apart"] {
        let (root, other) = (free_port(), free_port());
        let line = |port: u16, user: &str| {
            format!("127.0.0.1:{port} stream tcp nowait {user} /bin/cat cat /proc/keys\n")
        };
        let setup = Setup::new().under(&["python3", "-c", &code]).arg("--spawn").arg(way);
        let _daemon = setup.start(&(line(root, "root") + &line(other, "nobody")));
        let keys = |port: u16| read_all(tcp(port));
        assert!(keys(root).contains("root-key-of-the-server"), "it is there");
        let others = keys(other);
        assert!(!others.contains("root-key-of-the-server"), "{way}: {others}");
    }
}
