//! What a program finds when it starts, as checks that hold for every way to spawn.
//!
//! `hygiene` runs them with the server's choice, `spawn_paths` with plain fork.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::common::clients::udp_ask;
use crate::common::procs::{nicer_by, status_field};
use crate::common::{Folder, Setup, free_port, me, own_line, read_all, read_line, shell, tcp};
use crate::common::{tcp_line, udp};

/// Starts a service that runs `script` with these attributes, and gives what it prints.
fn printed(setup: Setup, script: &str, attributes: &str) -> String {
    let port = free_port();
    let text = own_line(port, &shell(script)) + attributes;
    let _daemon = setup.start(&text);
    read_all(tcp(port))
}

/// A server that was itself started with everything that must not reach a child.
pub(crate) fn descriptors_are_0_1_and_2_only(setup: Setup) {
    let port = free_port();
    let text = own_line(port, "/bin/ls ls -l /proc/self/fd");
    let daemon = setup.after("exec 7</etc/passwd 9>/dev/null").start(&text);
    // A second connection open meanwhile: its descriptor is nobody else's business.
    let _other = tcp(port);
    let answer = read_all(tcp(port));
    let links: BTreeMap<u32, &str> = answer
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|(left, target)| (left.split_whitespace().last().unwrap().parse().unwrap(), target))
        .collect();
    // ls itself has the folder open while it reads it.
    let own: Vec<u32> =
        links.iter().filter(|(_, target)| !target.starts_with("/proc/")).map(|(n, _)| *n).collect();
    assert_eq!(own, [0, 1, 2], "{answer}");
    assert!(links[&0].starts_with("socket:") && links[&0] == links[&1], "{answer}");
    assert!(links[&2].starts_with("pipe:"), "standard error goes to the log: {answer}");
    drop(daemon);
}

/// The masks of `/proc/self/status`, read by a program that sets none.
pub(crate) fn no_signal_is_blocked_ignored_or_caught(setup: Setup) {
    let port = free_port();
    let setup = setup.under(&["sh", "-c", "trap '' PIPE USR1 HUP INT; exec \"$@\"", "sh"]);
    let _daemon = setup.start(&own_line(port, "/bin/cat cat /proc/self/status"));
    let status = read_all(tcp(port));
    for field in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert_eq!(status_field(&status, field), "0".repeat(16), "{field} in\n{status}");
    }
}

/// O_NONBLOCK is 04000 in the octal flags of fdinfo.
pub(crate) fn the_connection_is_in_blocking_mode(setup: Setup) {
    let port = free_port();
    let _daemon = setup.start(&own_line(port, "/bin/cat cat /proc/self/fdinfo/0"));
    let text = read_all(tcp(port));
    let flags = u32::from_str_radix(&status_field(&text, "flags"), 8).unwrap();
    assert_eq!(flags & 0o4000, 0, "{text}");
}

/// Field 5 and 6 of /proc/PID/stat are the process group and the session.
pub(crate) fn each_child_leads_its_own_session_and_group(setup: Setup) {
    let port = free_port();
    let daemon = setup.start(&own_line(port, "/bin/cat cat /proc/self/stat"));
    let text = read_all(tcp(port));
    let fields: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(fields[3], daemon.pid().to_string(), "its parent is the server: {text}");
    assert_eq!((fields[4], fields[5]), (fields[0], fields[0]), "{text}");
    assert_eq!(fields[6], "0", "no controlling terminal: {text}");
}

fn as_variables(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The variables that say who the user is, which are not the peer's.
fn without_user(mut found: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for name in ["PATH", "HOME", "USER", "LOGNAME", "SHELL"] {
        assert!(found.remove(name).is_some(), "no {name} in {found:?}");
    }
    found
}

fn expected(pairs: &[(&str, String)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// The server's own environment is full of what must not be passed on.
fn littered(setup: Setup) -> Setup {
    setup
        .env("LISTEN_FDS_START", "3")
        .env("LD_LIBRARY_PATH", "/nowhere")
        .env("BASH_ENV", "/nowhere")
        .env("RUST_LOG", "info")
        .env("SECRET", "of the server")
        .env("PASSED", "on purpose")
}

/// Nothing more and nothing less than config-language says.
pub(crate) fn the_environment_of_a_tcp_program_is_exact(setup: Setup) {
    let port = free_port();
    let text = own_line(port, "/usr/bin/env env -0")
        + "    env = COLOUR=red SIZE=10\n    passenv = PASSED MISSING\n";
    let _daemon = littered(setup).start(&text);
    let client = tcp(port);
    let own = client.local_addr().unwrap().port().to_string();
    let found = without_user(as_variables(&read_all(client)));
    let here = "127.0.0.1".to_owned();
    let wanted = expected(&[
        ("PROTO", "TCP".to_owned()),
        ("TCPLOCALIP", here.clone()),
        ("TCPLOCALPORT", port.to_string()),
        ("TCPREMOTEIP", here.clone()),
        ("TCPREMOTEPORT", own.clone()),
        ("REMOTE_ADDR", here.clone()),
        ("REMOTE_PORT", own),
        ("REMOTE_HOST", here),
        ("COLOUR", "red".to_owned()),
        ("SIZE", "10".to_owned()),
        ("PASSED", "on purpose".to_owned()),
    ]);
    assert_eq!(found, wanted);
}

/// The same over UDP with a program per peer.
pub(crate) fn the_environment_of_a_udp_program_is_exact(setup: Setup) {
    let port = free_port();
    let script = shell("head -c 1 >/dev/null; env -0 | cat");
    let line = format!("127.0.0.1:{port} dgram udp nowait {} {script}\n", me());
    let _daemon = littered(setup).start(&line);
    let client = udp(port);
    let own = client.local_addr().unwrap().port().to_string();
    let mut found = without_user(as_variables(&udp_ask(&client, "?")));
    // The shell's own.
    for name in ["PWD", "OLDPWD", "_", "SHLVL"] {
        found.remove(name);
    }
    let here = "127.0.0.1".to_owned();
    let wanted = expected(&[
        ("PROTO", "UDP".to_owned()),
        ("UDPLOCALIP", here.clone()),
        ("UDPLOCALPORT", port.to_string()),
        ("UDPREMOTEIP", here.clone()),
        ("UDPREMOTEPORT", own.clone()),
        ("REMOTE_ADDR", here.clone()),
        ("REMOTE_PORT", own),
        ("REMOTE_HOST", here),
    ]);
    assert_eq!(found, wanted);
}

/// A unix peer is a process.
pub(crate) fn the_environment_of_a_unix_program_is_exact(setup: Setup) {
    let folder = Folder::new();
    let path = folder.name("env");
    let line = format!("{path} stream unix nowait {} /usr/bin/env env -0\n", me());
    let _daemon = littered(setup).start_in(folder, &line);
    let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let found = without_user(as_variables(&read_all(client)));
    let wanted = expected(&[
        ("PROTO", "UNIX".to_owned()),
        ("UNIXLOCALPATH", path),
        ("UNIXREMOTEPID", std::process::id().to_string()),
        ("UNIXREMOTEEUID", nix::unistd::geteuid().to_string()),
        ("UNIXREMOTEEGID", nix::unistd::getegid().to_string()),
    ]);
    assert_eq!(found, wanted);
}

/// The user's variables come from the passwd entry, not from the server's environment.
pub(crate) fn the_users_variables_are_the_passwd_entrys(setup: Setup) {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap();
    let Some(user) = user else { return };
    let setup = setup.env("HOME", "/nowhere").env("USER", "nemo").env("SHELL", "/bin/nosh");
    let answer = printed(setup, "echo $HOME $USER $LOGNAME $SHELL", "");
    let (home, shell) = (user.dir.display(), user.shell.display());
    assert_eq!(answer, format!("{home} {0} {0} {shell}\n", user.name));
}

/// A raised soft limit of the server is its own affair.
pub(crate) fn the_open_files_limit_is_the_one_the_server_was_started_with(setup: Setup) {
    let setup = setup.after("ulimit -S -n 200; ulimit -H -n 900");
    let answer = printed(setup, "ulimit -S -n; ulimit -H -n", "");
    assert_eq!(answer, "200\n900\n");
}

/// Each of the rlimit attributes, soft and hard.
pub(crate) fn resource_limits_are_what_the_attributes_say(setup: Setup) {
    let attributes = "    rlimit_as = 512M\n    rlimit_core = 0\n    rlimit_cpu = 7\n    \
                      rlimit_data = 64M\n    rlimit_files = 99\n    rlimit_fsize = 1M\n    \
                      rlimit_nproc = 5000\n    rlimit_stack = 4M\n";
    let port = free_port();
    let text = own_line(port, "/bin/cat cat /proc/self/limits") + attributes;
    let _daemon = setup.start(&text);
    let limits = read_all(tcp(port));
    let mib = 1u64 << 20;
    let wanted = [
        ("Max address space", 512 * mib),
        ("Max core file size", 0),
        ("Max cpu time", 7),
        ("Max data size", 64 * mib),
        ("Max open files", 99),
        ("Max file size", mib),
        ("Max processes", 5000),
        ("Max stack size", 4 * mib),
    ];
    for (name, value) in wanted {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(words, [value.to_string(), value.to_string()], "{line}");
    }
}

/// The defaults do not depend on where and how the server was started.
pub(crate) fn umask_folder_and_nice_have_their_defaults_and_are_settable(setup: Setup) {
    let script = "umask; pwd; nice";
    let started = setup.clone().after("cd /usr; umask 0");
    assert_eq!(printed(started, script, ""), format!("0022\n/\n{}\n", nicer_by(0)));
    let attributes = "    umask = 027\n    chdir = /usr/lib\n    nice = 5\n";
    let wanted = format!("0027\n/usr/lib\n{}\n", nicer_by(5));
    assert_eq!(printed(setup, script, attributes), wanted);
}

/// NoNewPrivs of /proc/self/status.
pub(crate) fn no_new_privs_is_set_where_asked_for_only(setup: &Setup) {
    for (attribute, wanted) in [("", "0"), ("    no_new_privs = yes\n", "1")] {
        let port = free_port();
        let text = own_line(port, "/bin/cat cat /proc/self/status") + attribute;
        let _daemon = setup.clone().start(&text);
        assert_eq!(status_field(&read_all(tcp(port)), "NoNewPrivs"), wanted, "{attribute:?}");
    }
}

/// A program without a NUL, a newline or a blank too many: argv is the line's.
/// A program's two ends: its client, and the log.
pub(crate) fn standard_error_is_logged_and_the_connection_works_both_ways(setup: Setup) {
    let port = free_port();
    let script = shell("echo said >&2; read -r line; echo \"got $line\"");
    let daemon = setup.start(&tcp_line(port, &script));
    let mut client = tcp(port);
    client.write_all(b"this\n").unwrap();
    assert_eq!(read_line(&client), "got this\n");
    let line = daemon.wait_log(|line| line.is("stderr"));
    assert_eq!(line.get("line"), Some("said"), "{}", line.raw);
    let _ = daemon.wait_log(|line| line.about("ended", port));
    daemon.wait_childless();
}

/// Its client gets an end of file and nothing else.
pub(crate) fn a_program_that_cannot_be_executed_is_logged_as_such(setup: Setup) {
    let folder = Folder::new();
    let program = folder.copy_of("/bin/cat", "short-lived");
    let port = free_port();
    let line = tcp_line(port, &format!("{program} short-lived"));
    let daemon = setup.start_in(folder, &line);
    std::fs::remove_file(&program).unwrap();
    assert_eq!(read_all(tcp(port)), "");
    let line = daemon.wait_log(|line| line.about("failed", port));
    assert_eq!(line.get("stage"), Some("exec"), "{}", line.raw);
}

pub(crate) fn argv_is_the_one_of_the_line(setup: Setup) {
    let port = free_port();
    let line = tcp_line(port, "/bin/cat other-name /proc/self/cmdline");
    let _daemon = setup.start(&line);
    assert_eq!(read_all(tcp(port)), "other-name\0/proc/self/cmdline\0");
}
