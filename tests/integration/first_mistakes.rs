//! What people get wrong at first, and what they are told: each message says what is wrong,
//! where, and what would be right.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::common::daemon::{BINARY, command};
use crate::common::needs::skip;
use crate::common::{
    Daemon, Folder, Setup, free_port, me, need_program, need_root, own_line, read_all, tcp,
    tcp_line,
};

/// Runs `oxinetd ARGUMENTS` in a folder to its end: status, and all that it says.
fn told(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = command(&["timeout".to_owned(), "25".to_owned()]);
    let command = command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), out + &String::from_utf8_lossy(&output.stderr))
}

/// A program with these bytes.
fn program(folder: &Folder, name: &str, bytes: &str) -> String {
    let written = folder.write("written", bytes);
    fs::create_dir_all(folder.at(name).parent().unwrap()).unwrap();
    let copy = folder.copy_of(written.to_str().unwrap(), name);
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn a_command_that_is_none_is_told_from_a_file() {
    let folder = Folder::new();
    for (arguments, wanted) in [
        (&["runn", "8080", "--", "date"][..], "did you mean `oxinetd run`?"),
        (&["chek", "some.conf"], "did you mean `oxinetd check`?"),
        (&["stauts"], "did you mean `oxinetd status`?"),
        (&["8080", "date"], "`oxinetd run 8080 -- date`"),
        (&["run", "8080", "ls", "-l"], "`oxinetd run 8080 -- ls -l`"),
        (&["run", "--timeout", "5s", "8080", "--", "date"], "it is said as `-o timeout=5s`"),
        (&["run", "--allow=10.0.0.1", "8080", "--", "date"], "`-o only_from=10.0.0.1`"),
        (&["--strict", "check", "some.conf"], "`oxinetd check --strict some.conf`"),
    ] {
        let (status, text) = told(&folder, arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(wanted), "{arguments:?}: {text}");
    }
    let (status, text) = told(&folder, &["help", "run"]);
    assert!(status == Some(0) && text.contains("Usage: oxinetd run"), "{text}");
    // A file may have such a name all the same.
    folder.write("chek", "nonsense\n");
    let (status, text) = told(&folder, &["chek"]);
    assert!(status == Some(1) && text.contains("chek:1:"), "{text}");
}

#[test]
fn a_program_that_cannot_be_meant_is_refused_with_what_is() {
    let folder = Folder::new();
    program(&folder, "hello", "#!/bin/sh\necho hello\n");
    program(&folder, "windows", "#!/bin/sh\r\necho hello\r\n");
    program(&folder, "other", "#!/no/such/python3\n");
    for (word, wanted) in [
        ("hello", "the one in this directory is `./hello`"),
        ("ls -l | wc", "a shell runs a whole line: `sh -c '…'`"),
        ("./windows", "names `/bin/sh\\r`, which is no program"),
        ("./windows", "take its Windows line ends away"),
        ("./other", "names `/no/such/python3`, which is no program"),
        ("./written", "chmod +x"),
    ] {
        let (status, text) = told(&folder, &["run", "127.0.0.1:0", "--", word]);
        assert_eq!(status, Some(1), "{word}: {text}");
        assert!(text.contains(wanted), "{word}: {text}");
    }
}

#[test]
fn an_endpoint_that_is_none_is_not_said_to_be_open() {
    let folder = Folder::new();
    for (word, wanted) in [
        ("70000", "ports are numbers from 0, which is any free one, to 65535"),
        ("8080/tcp", "write `8080`"),
        ("run/x.sock", "a unix socket is an absolute path"),
        ("127.0.0.1", "write `127.0.0.1:PORT`"),
        ("*", "write `*:PORT`"),
    ] {
        let (status, text) = told(&folder, &["run", word, "--", "date"]);
        assert_eq!(status, Some(2), "{word}: {text}");
        assert!(text.contains(wanted) && !text.contains("local-only"), "{word}: {text}");
    }
    let port = free_port();
    let taken = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let endpoint = format!("127.0.0.1:{port}");
    let (status, text) = told(&folder, &["run", &endpoint, "--", "date"]);
    assert_eq!(status, Some(71), "{text}");
    assert!(text.contains(&format!("cannot listen on {endpoint}: Address already")), "{text}");
    assert!(text.contains(&format!("`ss -antup sport = :{port}` shows who has it")), "{text}");
    drop(taken);
    let nowhere = folder.name("missing/x.sock");
    let (status, text) = told(&folder, &["run", &nowhere, "--", "date"]);
    assert!(status == Some(71) && text.contains("its directory is missing"), "{text}");
}

#[test]
fn what_is_wrong_behind_run_is_shown_with_a_mark_under_its_words() {
    let folder = Folder::new();
    let (status, text) = told(&folder, &["run", "-o", "instances=many", "8080", "--", "date"]);
    let shown = "\
error: `many` is not a number
 --> command line
  |
1 | oxinetd run -o instances=many 8080 -- date
  |                          ^^^^
";
    assert!(status == Some(2) && text.contains(shown), "{text}");
    assert!(text.ends_with("oxinetd: the command line is wrong\n"), "{text}");
    let (status, text) = told(&folder, &["run", "sock", "--", "date"]);
    assert!(status == Some(1) && text.contains("is `./sock`\n"), "{text}");
    // In a log that is elsewhere it is a line; and who has started the server is told it anyway.
    let log = folder.name("log");
    let target = format!("file:{log}");
    let words = ["run", "--log", &target, "-o", "instances=x", "8080", "--", "date"];
    let (_, text) = told(&folder, &words);
    assert!(text.contains(" --> command line\n") && text.contains("^"), "{text}");
    let line = std::fs::read_to_string(&log).unwrap();
    assert!(line.contains(" configuration command line: error: `x` is "), "{line}");
}

#[test]
fn what_is_wrong_on_the_command_line_is_a_wrong_command_line() {
    let folder = Folder::new();
    folder.write("conf", &tcp_line(free_port(), "/bin/date date"));
    for words in [
        &["run", "-o", "instnces=1", "127.0.0.1:0", "--", "date"][..],
        &["run", "-o", "instances=many", "127.0.0.1:0", "--", "date"],
        &["run", "-o", "instances", "127.0.0.1:0", "--", "date"],
        &["run", "-o", "wait=maybe", "127.0.0.1:0", "--", "date"],
        &["--default", "instnces=1", "conf"],
        &["--default", "instances=many", "conf"],
        &["--daemon", "--default", "instances", "conf"],
        &["check", "--default", "instnces=1", "conf"],
        &["--metrics", "nowhere", "conf"],
        &["run", "--metrics", "99999", "127.0.0.1:0", "--", "date"],
        &["--log", "nowhere", "conf"],
    ] {
        let (status, text) = told(&folder, words);
        assert_eq!(status, Some(2), "{words:?}: {text}");
        assert!(!text.contains("ready") && !text.contains("started"), "{words:?}: {text}");
    }
    // What is wrong elsewhere is not.
    folder.write("conf", "nonsense\n");
    for words in [&["--strict", "conf"][..], &["check", "conf"], &["missing-file"]] {
        let (status, text) = told(&folder, words);
        assert_eq!(status, Some(1), "{words:?}: {text}");
    }
}

#[test]
fn who_asks_for_one_service_of_an_unknown_host_does_not_wait_for_it() {
    let (status, text) = told(&Folder::new(), &["run", "host.invalid:8080", "--", "/bin/date"]);
    assert_eq!(status, Some(71), "{text}");
    assert!(text.contains("the host `host.invalid` has no address"), "{text}");
    assert!(!text.contains("tried again") && !text.contains("waits"), "{text}");
}

#[test]
fn a_root_directory_that_is_missing_is_not_a_missing_program() {
    let folder = Folder::new();
    let root = folder.name("missing");
    let line = format!("127.0.0.1:50001 stream tcp nowait root /bin/cat\n chroot = {root}\n");
    folder.write("conf", &line);
    let (status, text) = told(&folder, &["check", "conf"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(&format!("there is no directory `{root}` to be the root")), "{text}");
    assert!(!text.contains("no program"), "{text}");
}

#[test]
fn a_script_without_its_first_line_is_told_in_the_log_and_by_status() {
    let (folder, port) = (Folder::new(), free_port());
    let script = program(&folder, "hello", "echo hello\n");
    let text = own_line(port, &format!("{script} hello"));
    let daemon = Setup::new().controlled().start_in(folder, &text);
    assert_eq!(read_all(tcp(port)), "");
    let line = daemon.wait_log(|line| line.about("failed", port));
    assert_eq!(line.get("stage"), Some("exec"), "{}", line.raw);
    assert!(line.get("error").unwrap().contains("`#!/bin/sh`"), "{}", line.raw);
    let shown = daemon.answer(&["status"]);
    assert!(shown.contains("a script needs a first line"), "{shown}");
    assert_eq!(line.get("program"), Some(script.as_str()), "{}", line.raw);
    let label = format!("{port}/tcp");
    assert!(daemon.answer(&["status", &label]).contains(&format!("exec: {script}: ")), "{shown}");
}

#[test]
fn links_in_another_root_directory_lead_nowhere_else() {
    let folder = Folder::new();
    program(&folder, "jail/opt/box", "#!/bin/sh\n");
    let root = folder.name("jail");
    for (name, target) in [("bin/sh", "/opt/sh-of-the-jail"), ("opt/sh-of-the-jail", "box")] {
        fs::create_dir_all(folder.at("jail/bin")).unwrap();
        folder.link(&format!("jail/{name}"), target);
    }
    folder.write(
        "conf",
        &format!("127.0.0.1:50001 stream tcp nowait root /bin/sh\n chroot = {root}\n"),
    );
    let (status, text) = told(&folder, &["check", "conf"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(!text.contains("no program"), "{text}");
    // And what is nowhere in it is not there, whatever this machine has.
    folder.write(
        "conf",
        &format!("127.0.0.1:50001 stream tcp nowait root /bin/cat\n chroot = {root}\n"),
    );
    let (_, text) = told(&folder, &["check", "conf"]);
    assert!(text.contains("there is no program `/bin/cat`"), "{text}");
}

#[test]
fn a_directory_of_path_that_is_not_for_us_hides_no_mistake() {
    let folder = Folder::new();
    fs::create_dir(folder.at("closed")).unwrap();
    fs::set_permissions(folder.at("closed"), Permissions::from_mode(0o000)).unwrap();
    let mut command = command(&["timeout".to_owned(), "25".to_owned()]);
    let path = format!("{}:/bin", folder.name("closed"));
    let command = command.args(["run", "127.0.0.1:0", "--", "no-such-program"]).env("PATH", path);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("no program `no-such-program` is in PATH"), "{text}");
}

/// What `check` says of a program that is started as `user`, with more lines below its own.
fn checked(folder: &Folder, (user, program): (&str, &str), more: &str) -> String {
    let port = free_port();
    let text = format!("{port} stream tcp nowait {user} {program} {program}\n{more}");
    let file = folder.write("inetd.conf", &text);
    told(folder, &["check", file.to_str().unwrap()]).1
}

#[test]
fn a_script_without_its_first_line_is_told_by_check() {
    let folder = Folder::new();
    let script = program(&folder, "hello", "echo hello\n");
    let text = checked(&folder, (me(), &script), "");
    let wanted = format!("warning: `{script}` is a text without `#!`: exec format error");
    assert!(text.contains(&wanted) && text.contains("`#!/bin/sh`"), "{text}");
    let script = program(&folder, "good", "#!/bin/sh\necho hello\n");
    let text = checked(&folder, (me(), &script), "");
    assert!(text.contains("0 warnings"), "{text}");
}

#[test]
fn a_program_where_nothing_can_be_executed_is_told_by_check() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let folder = Folder::new();
    let inside = folder.open_folder("mounted");
    let file = folder.write("inetd.conf", "");
    let script = format!(
        "mount -t tmpfs -o noexec,mode=755 none {0} || exit 77; cp /bin/cat {0}/cat; \
         printf '#!{0}/cat\\n' >{1}; chmod 755 {1}; \
         for program in {0}/cat {1}; do \
         echo \"9999 stream tcp nowait root $program program\" >{2}; {3} check {2}; done",
        inside.display(),
        folder.at("script").display(),
        file.display(),
        BINARY
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    if output.status.code() == Some(77) {
        skip("needs to mount");
        return;
    }
    let text =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        text.matches("cat` is on a file system that is mounted noexec").count(),
        2,
        "{text}"
    );
}

#[test]
fn a_directory_that_its_user_may_not_enter_is_told_by_check() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let script = program(&folder, "closed/hello", "#!/bin/sh\necho hello\n");
    let closed = folder.at("closed");
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let wanted = format!("user `nobody` may not enter `{}`", closed.display());
    let text = checked(&folder, ("nobody", &script), "");
    assert!(text.contains(&wanted), "{text}");
    assert!(!checked(&folder, ("root", &script), "").contains("may not enter"));
    let chdir = format!("    chdir = {}\n", closed.display());
    let text = checked(&folder, ("nobody", "/bin/cat"), &chdir);
    assert!(text.contains(&wanted), "{text}");
    // Only what is below it counts where it is the root directory.
    fs::set_permissions(&closed, Permissions::from_mode(0o755)).unwrap();
    let open = checked(&folder, ("nobody", &script), "");
    assert!(!open.contains("may not enter"), "{open}");
    // And what happens is what was said.
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let port = free_port();
    let line = format!("127.0.0.1:{port} stream tcp nowait nobody {script} hello\n");
    let daemon = Daemon::start(&line);
    assert_eq!(read_all(tcp(port)), "");
    let failed = daemon.wait_log(|line| line.about("failed", port));
    assert!(failed.get("error").unwrap().contains("noexec"), "{}", failed.raw);
    assert_eq!(failed.get("program"), Some(script.as_str()), "{}", failed.raw);
    let told = daemon.wait_log(|line| line.is("configuration"));
    assert!(told.raw.contains("may not enter"), "{}", told.raw);
}
