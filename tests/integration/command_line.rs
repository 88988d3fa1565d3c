//! The command line: check, run, --daemon, --pid-file, --strict, help and exit statuses.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::common::clients::{echo_once, try_tcp, udp_ask, udp_to};
use crate::common::daemon::{BINARY, as_pid, command};
use crate::common::procs;
use crate::common::{
    Daemon, Folder, Setup, ask, free_port, read_all, tcp, tcp_line, wait_for, wait_until,
};

/// Runs `oxinetd ARGUMENTS` to its end; it must come by itself.
fn oxinetd(arguments: &[&str]) -> Output {
    let mut command = command(&["timeout".to_owned(), "25".to_owned()]);
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn check_of_a_good_file_says_nothing_bad_and_gives_0() {
    let folder = Folder::new();
    folder.write("good", &tcp_line(50_002, "/bin/cat cat"));
    let output = oxinetd(&["check", &folder.name("good")]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(both(&output).contains("0 errors, 0 warnings"), "{}", both(&output));
}

#[test]
fn check_shows_every_error_with_its_place_and_gives_1() {
    let folder = Folder::new();
    let text = "50002 stream tcp nowiat - /bin/cat cat\n50003 straem tcp nowait - /bin/cat cat\n";
    folder.write("bad", text);
    let output = oxinetd(&["check", &folder.name("bad")]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("bad:1:18") && text.contains("bad:2:7"), "{text}");
    assert!(text.contains("nowiat") && text.contains("nowait"), "the line and the remedy: {text}");
    assert!(text.contains("^^^^^^"), "a caret under the word: {text}");
}

#[test]
fn check_of_a_missing_program_is_a_warning_and_gives_0() {
    let folder = Folder::new();
    folder.write("lacking", &tcp_line(50_002, "/no/such/program program"));
    let output = oxinetd(&["check", &folder.name("lacking")]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("warning") && text.contains("/no/such/program"), "{text}");
}

#[test]
fn check_gives_1_for_what_this_machine_lacks_where_it_is_asked_to_be_strict() {
    let folder = Folder::new();
    let right = "127.0.0.1:50001 stream tcp nowait - internal echo\n";
    for (line, lacks) in [
        ("", false),
        ("127.0.0.1:50002 stream tcp nowait - /no/such/program x\n", true),
        ("127.0.0.1:50002 stream tcp nowait no-such-user /bin/cat cat\n", true),
        ("no-such-host.invalid:50002 stream tcp nowait - /bin/cat cat\n", true),
    ] {
        let file = folder.write("inetd.conf", &format!("{right}{line}"));
        let file = file.to_str().unwrap();
        assert_eq!(oxinetd(&["check", file]).status.code(), Some(0), "{line}");
        let strict = oxinetd(&["check", "--strict", file]);
        let said = both(&strict);
        assert_eq!(strict.status.code(), Some(i32::from(lacks)), "{line}{said}");
        assert!(said.contains(if lacks { ", 1 warning\n" } else { ", 0 warnings\n" }), "{said}");
    }
}

#[test]
fn check_binds_nothing() {
    let (folder, port) = (Folder::new(), free_port());
    let daemon = Daemon::start(&tcp_line(port, "/bin/echo echo served"));
    folder.write("same", &tcp_line(port, "/bin/cat cat"));
    let output = oxinetd(&["check", &folder.name("same")]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(read_all(tcp(port)), "served\n");
    drop(daemon);
}

#[test]
fn what_cannot_be_written_is_no_success() {
    let folder = Folder::new();
    let bad = folder.write("bad.conf", &"nonsense\n".repeat(1000));
    let block = "service x\n{\ntype = UNLISTED\nport = 7\nsocket_type = stream\nwait = no\n\
                 user = nobody\nserver = /bin/cat\n}\n";
    let good = folder.write("xinetd.conf", block);
    let (bad, good) = (bad.display(), good.display());
    let status = |script: &str| {
        let output = Command::new("bash").args(["-c", script]).output().unwrap();
        (output.status.code(), both(&output))
    };
    for what in [format!("import {good}"), format!("check {good}"), format!("check {bad}")] {
        let (code, said) = status(&format!("{BINARY} {what} >/dev/full"));
        assert_eq!(code, Some(71), "{what}: {said}");
        assert!(said.contains("standard output"), "{what}: {said}");
    }
    for (what, wanted) in [(format!("import {good}"), 0), (format!("check {bad}"), 1)] {
        let (code, said) = status(&format!("{BINARY} {what} | true; exit ${{PIPESTATUS[0]}}"));
        assert_eq!(code, Some(wanted), "nobody has read it, {what}: {said}");
    }
}

#[test]
fn a_missing_file_is_named_and_gives_1() {
    let folder = Folder::new();
    let missing = folder.name("not-there.conf");
    for arguments in [vec![missing.as_str()], vec!["check", &missing]] {
        let output = oxinetd(&arguments);
        let text = both(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains("not-there.conf"), "{text}");
        assert!(text.to_lowercase().contains("no such file"), "{text}");
    }
}

#[test]
fn wrong_usage_gives_2_and_says_what_was_wrong() {
    for arguments in [&["--no-such-option"][..], &["run"], &["run", "8080"], &["a", "b", "c"]] {
        let output = oxinetd(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", both(&output));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_service_that_is_a_number_is_not_taken_for_a_time() {
    for arguments in [["stop", "--drain", "8080"], ["status", "--watch", "8080"]] {
        let mut command = vec!["--control", "/nowhere"];
        command.splice(0..0, arguments);
        let output = oxinetd(&command);
        let text = both(&output);
        // One service can be watched; none can be drained.
        let wanted = if arguments[0] == "stop" { 2 } else { 71 };
        assert_eq!(output.status.code(), Some(wanted), "{arguments:?}: {text}");
    }
}

#[test]
fn a_file_with_nothing_but_errors_ends_the_start_with_1() {
    let folder = Folder::new();
    folder.write("bad", "nonsense\n");
    let output = oxinetd(&[&folder.name("bad")]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
}

#[test]
fn a_line_with_an_error_is_left_out_at_the_start_unless_strict() {
    let (folder, port) = (Folder::new(), free_port());
    let text = tcp_line(port, "/bin/echo echo good") + "nonsense\n";
    let file = folder.write("half", &text);
    let output = oxinetd(&[file.to_str().unwrap(), "--strict"]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(port)), "good\n");
    assert!(daemon.log.text().contains("inetd.conf:2:"), "{}", daemon.log.text());
}

#[test]
fn help_has_examples_signals_and_exit_statuses() {
    let output = oxinetd(&["--help"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0));
    for part in ["Examples:", "Exit status:", "HUP", "USR1", "USR2", "TERM", "oxinetd run", "check"]
    {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    assert!(both(&oxinetd(&["run", "--help"])).contains("Examples:"));
    assert_eq!(oxinetd(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_folder_stands_for_the_conf_files_in_it() {
    let (folder, port) = (Folder::new(), free_port());
    folder.write("d/one.conf", &tcp_line(port, "/bin/echo echo folder"));
    folder.write("d/notes.txt", "not a configuration\n");
    let path = folder.name("d");
    let _daemon = Setup::new().run(&[&path]);
    assert_eq!(read_all(tcp(port)), "folder\n");
}

#[test]
fn defaults_in_a_file_of_their_own_are_told_to_hold_for_nobody() {
    let folder = Folder::new();
    std::fs::create_dir(folder.at("conf.d")).unwrap();
    folder.write("conf.d/00-defaults.conf", ".defaults\n    per_source = 1\n");
    let directory = folder.name("conf.d");
    let check = || both(&oxinetd(&["check", &directory]));
    // It is the first of many, perhaps.
    assert!(check().ends_with(": 0 services, 0 errors, 0 warnings\n"), "{}", check());
    folder.write("conf.d/echo.conf", "127.0.0.1:50007 stream tcp nowait - internal echo\n");
    let said = check();
    assert!(said.contains("they hold in this file alone") && said.contains("00-defaults.conf:1:1"));
    assert!(said.ends_with(": 1 service, 0 errors, 1 warning\n"), "{said}");
}

/// The address that the daemon says it listens on.
fn address_of(daemon: &Daemon) -> SocketAddr {
    daemon.wait_log(|line| line.is("listening")).get("address").unwrap().parse().unwrap()
}

#[test]
fn run_attaches_a_program_to_a_port_with_the_callers_environment_and_folder() {
    let daemon = Setup::new().env("COLOUR", "green").after("cd /usr/lib").run(&[
        "run",
        "127.0.0.1:0",
        "--",
        "sh",
        "-c",
        "echo $COLOUR; pwd; id -u",
    ]);
    let address = address_of(&daemon);
    assert!(address.ip().is_loopback());
    let uid = nix::unistd::geteuid();
    let answer = read_all(crate::common::clients::tcp_to(address));
    assert_eq!(answer, format!("green\n/usr/lib\n{uid}\n"));
}

#[test]
fn run_with_a_bare_port_serves_this_machine_only() {
    let port = free_port();
    let mut daemon = Setup::new().run(&["run", &port.to_string(), "--", "cat"]);
    assert_eq!(ask(port, "near"), "near");
    for line in daemon.said("listening") {
        let address: SocketAddr = line.get("address").unwrap().parse().unwrap();
        assert!(address.ip().is_loopback(), "{}", line.raw);
    }
    daemon.stop();
}

#[test]
fn run_takes_attributes_as_options() {
    let daemon = Setup::new().run(&[
        "run",
        "-o",
        "instances=1",
        "-o",
        "umask=077",
        "127.0.0.1:0",
        "--",
        "cat",
    ]);
    let address = address_of(&daemon);
    let (first, second) = (try_tcp(address).unwrap(), try_tcp(address).unwrap());
    assert_eq!(echo_once(&first, "one"), "one");
    let _ = daemon.wait_log(|line| line.is("limit-begin"));
    drop(first);
    assert_eq!(echo_once(&second, "two"), "two");
    let output = oxinetd(&["run", "-o", "instances=many", "127.0.0.1:0", "--", "cat"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(both(&output).contains("many"), "{}", both(&output));
}

#[test]
fn run_serves_datagrams_and_unix_sockets_too() {
    let daemon = Setup::new().run(&["run", "--udp", "127.0.0.1:0", "--", "cat"]);
    assert_eq!(udp_ask(&udp_to(address_of(&daemon)), "datagram"), "datagram");
    let folder = Folder::new();
    let path = folder.name("run.sock");
    let _unix = Setup::new().run(&["run", &path, "--", "echo", "unix"]);
    assert_eq!(read_all(std::os::unix::net::UnixStream::connect(&path).unwrap()), "unix\n");
}

#[test]
fn run_finds_a_path_from_the_callers_folder() {
    let folder = Folder::new();
    let setup = Setup::new().after(&format!("cd {}", folder.name("")));
    let _daemon = setup.run(&["run", "./run.sock", "--", "echo", "here"]);
    let stream = std::os::unix::net::UnixStream::connect(folder.at("run.sock")).unwrap();
    assert_eq!(read_all(stream), "here\n");
}

#[test]
fn run_relays_without_a_program() {
    let target = Setup::new().run(&["run", "127.0.0.1:0", "--", "echo", "relayed"]);
    let port = address_of(&target).port();
    let redirect = format!("redirect=127.0.0.1 {port}");
    let daemon = Setup::new().run(&["run", "-o", &redirect, "127.0.0.1:0", "--", "internal"]);
    assert_eq!(read_all(tcp(address_of(&daemon).port())), "relayed\n");
}

#[test]
fn run_of_a_missing_program_fails_and_names_it() {
    let output = oxinetd(&["run", "127.0.0.1:0", "--", "/no/such/program"]);
    assert!(matches!(output.status.code(), Some(1 | 71)), "{}", both(&output));
    assert!(both(&output).contains("/no/such/program"), "{}", both(&output));
}

/// Starts a daemon in the background; its standard output.
fn in_background(folder: &Folder, extra: &[&str]) -> String {
    let out = fs::File::create(folder.at("stdout")).unwrap();
    let err = fs::File::create(folder.at("log")).unwrap();
    let mut command = command(&[]);
    command.arg(folder.at("inetd.conf")).arg("--daemon").args(extra).stdin(Stdio::null());
    let mut child = command.stdout(out).stderr(err).spawn().unwrap();
    let status = wait_for("the foreground process to end", || child.try_wait().unwrap());
    assert!(status.success(), "{status}: {}", fs::read_to_string(folder.at("log")).unwrap());
    fs::read_to_string(folder.at("stdout")).unwrap()
}

fn first_number(text: &str) -> u32 {
    let digits = text.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty());
    digits.unwrap_or_else(|| panic!("no number in {text:?}")).parse().unwrap()
}

#[test]
fn a_daemon_tells_its_pid_serves_when_the_command_returns_and_stops_on_term() {
    let (folder, port) = (Folder::new(), free_port());
    folder.write("inetd.conf", &tcp_line(port, "/bin/echo echo daemon"));
    let pid_file = folder.name("pid");
    let pid = first_number(&in_background(&folder, &["--pid-file", &pid_file]));
    assert_eq!(read_all(tcp(port)), "daemon\n", "no waiting: it listens already");
    assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), pid.to_string());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().to_owned();
    let ours = fs::read_to_string("/proc/self/stat").unwrap();
    let ours = ours.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().to_owned();
    assert_ne!(session, ours, "a session of its own");
    kill(as_pid(pid), Signal::SIGTERM).unwrap();
    wait_until("the daemon to end", || !procs::is_alive(pid));
    assert!(!folder.at("pid").exists(), "the pid file goes with it");
}

#[test]
fn a_command_substitution_gets_the_pid_of_a_daemon_and_returns() {
    let (folder, port) = (Folder::new(), free_port());
    folder.write("inetd.conf", &tcp_line(port, "/bin/echo echo daemon"));
    // A configuration out of a pipe is read before the pipe is closed; a descriptor that
    // nobody has named is closed, too.
    let script = format!("said=$({BINARY} --daemon <(cat inetd.conf) 9>&1); echo $said");
    let output = Command::new("timeout")
        .args(["25", "bash", "-c", &script])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let pid = first_number(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(read_all(tcp(port)), "daemon\n");
    kill(as_pid(pid), Signal::SIGTERM).unwrap();
    wait_until("the daemon to end", || !procs::is_alive(pid));
    assert!(output.status.success(), "the shell waited for a descriptor: {}", output.status);
}

#[test]
fn a_second_server_with_the_same_pid_file_is_refused_and_the_first_goes_on() {
    let (folder, port) = (Folder::new(), free_port());
    let line = tcp_line(port, "/bin/echo echo first");
    let pid_file = folder.name("pid");
    let first = Setup::new().arg("--pid-file").arg(&pid_file).start(&line);
    let other = folder.write("other.conf", &tcp_line(free_port(), "/bin/cat cat"));
    let output = oxinetd(&[other.to_str().unwrap(), "--pid-file", &pid_file]);
    assert!(matches!(output.status.code(), Some(1 | 71)), "{}", both(&output));
    assert!(both(&output).contains("pid"), "{}", both(&output));
    assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), first.pid().to_string());
    assert_eq!(read_all(tcp(port)), "first\n");
}

#[test]
fn a_pid_file_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", &tcp_line(free_port(), "/bin/cat cat"));
    let pid_file = folder.name("pid");
    // No file may grow: as a full disk, but for the word.
    let script = format!("ulimit -f 0; exec {BINARY} {} --pid-file {pid_file}", file.display());
    let output = Command::new("timeout").args(["25", "sh", "-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(71), "{}", both(&output));
    let wanted = format!("oxinetd: writing the pid file {pid_file}: ");
    assert!(both(&output).contains(&wanted), "{}", both(&output));
    assert!(!folder.at("pid").exists(), "nothing is left behind");
}

#[test]
fn what_is_no_regular_file_is_no_pid_file_and_stays() {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", &tcp_line(free_port(), "/bin/cat cat"));
    let fifo = folder.name("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let output = oxinetd(&[file.to_str().unwrap(), "--pid-file", &fifo]);
    assert_eq!(output.status.code(), Some(71), "{}", both(&output));
    assert!(both(&output).contains("not a regular file"), "{}", both(&output));
    assert!(folder.at("fifo").exists(), "root's /dev/null is no regular file either");
}

#[test]
fn a_stale_pid_file_is_taken_over() {
    let (folder, port) = (Folder::new(), free_port());
    let pid_file = folder.write("pid", "999999999\n");
    let line = tcp_line(port, "/bin/echo echo here");
    let daemon = Setup::new().arg("--pid-file").arg(pid_file.to_str().unwrap()).start(&line);
    assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), daemon.pid().to_string());
    assert_eq!(read_all(tcp(port)), "here\n");
}

#[test]
fn a_daemon_started_with_a_relative_path_finds_its_file_again_at_a_reload() {
    let (folder, port) = (Folder::new(), free_port());
    folder.write("here.conf", &tcp_line(port, "/bin/echo echo old"));
    let log = fs::File::create(folder.at("log")).unwrap();
    let out = fs::File::create(folder.at("stdout")).unwrap();
    let mut command = command(&[]);
    command.args(["here.conf", "--daemon"]).current_dir(folder.path()).stdin(Stdio::null());
    let mut child = command.stdout(out).stderr(log).spawn().unwrap();
    assert!(wait_for("the command to return", || child.try_wait().unwrap()).success());
    let pid = first_number(&fs::read_to_string(folder.at("stdout")).unwrap());
    folder.write("here.conf", &tcp_line(port, "/bin/echo echo new"));
    kill(as_pid(pid), Signal::SIGHUP).unwrap();
    let log = || fs::read_to_string(folder.at("log")).unwrap();
    wait_until("the reload", || log().contains("reload"));
    assert_eq!(read_all(tcp(port)), "new\n", "{}", log());
    kill(as_pid(pid), Signal::SIGTERM).unwrap();
    wait_until("the daemon to end", || !procs::is_alive(pid));
}

#[test]
fn what_the_system_refuses_ends_the_start_with_71() {
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.write("inetd.conf", &tcp_line(port, "/bin/cat cat"));
    let output = oxinetd(&[file.to_str().unwrap(), "--pid-file", &folder.name("no/such/pid")]);
    assert_eq!(output.status.code(), Some(71), "{}", both(&output));
    assert!(both(&output).contains("no/such/pid"), "{}", both(&output));
}
