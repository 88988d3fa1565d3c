//! Started as `inetd` or `xinetd`: every option does what it does there.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::common::clients::{echo_once, read_to_any_end, try_tcp};
use crate::common::daemon::{BINARY, as_pid, command, command_of};
use crate::common::{
    DEADLINE, Daemon, Folder, Line, Setup, free_port, free_ports, need_program, read_all, shell,
    tcp, tcp_line, wait_until,
};

/// A server in the foreground under another name, with one file `conf`.
#[track_caller]
fn inetd(arguments: &[&str], text: &str) -> Daemon {
    foreground("inetd", &["-i", "-p"], arguments, text)
}

#[track_caller]
fn foreground(name: &'static str, fixed: &[&str], arguments: &[&str], text: &str) -> Daemon {
    let folder = Folder::new();
    let pid_file = folder.name("pid");
    let file = folder.write("conf", text).display().to_string();
    let mut all = fixed.to_vec();
    let last: &[&str] = if name == "inetd" { &[&file] } else { &["-f", &file] };
    all.push(&pid_file);
    all.extend(arguments.iter().chain(last));
    Setup::new().named(name).env("COLOUR", "green").run_in(folder, &all)
}

/// Runs it under another name to its end, which must come by itself.
fn to_the_end(name: &str, arguments: &[&str]) -> Output {
    let folder = Folder::new();
    let program = folder.link(name, BINARY);
    let mut command = command_of(&program, &["timeout".to_owned(), "25".to_owned()]);
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn refused_for(daemon: &Daemon, reason: &str) -> Line {
    daemon.wait_log(|line| line.is("refused") && line.get("reason") == Some(reason))
}

#[test]
fn under_the_name_inetd_it_serves_a_real_client() {
    if !need_program("nc") {
        return;
    }
    let port = free_port();
    let mut daemon = inetd(&[], &tcp_line(port, "/usr/bin/tr tr a-z A-Z"));
    let script = format!("echo hello | nc -N 127.0.0.1 {port}");
    let output = Command::new("timeout").args(["25", "sh", "-c", &script]).output().unwrap();
    assert_eq!(both(&output), "HELLO\n");
    assert_eq!(
        std::fs::read_to_string(daemon.folder.at("pid")).unwrap(),
        format!("{}\n", daemon.pid())
    );
    daemon.stop();
}

#[test]
fn argv0_alone_is_enough() {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("conf", &tcp_line(port, "/bin/echo echo argv"));
    let mut command = Command::new(BINARY);
    command.arg0("/no/such/folder/inetd").args(["-f", "-p"]).arg("--").arg(&file);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    wait_until("the port to be served", || try_tcp(local(port)).is_ok());
    let answer = read_all(tcp(port));
    kill(as_pid(child.id()), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    assert_eq!(answer, "argv\n");
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn inetd_r_limits_the_starts_a_minute_of_services_without_a_limit() {
    let ports = free_ports(2);
    let own = format!("127.0.0.1:{} stream tcp nowait.99 - /bin/echo echo own\n", ports[1]);
    let daemon = inetd(&["-R", "2"], &(tcp_line(ports[0], "/bin/echo echo hi") + &own));
    for _ in 0..6 {
        let _ = read_to_any_end(tcp(ports[0]));
        assert_eq!(read_all(tcp(ports[1])), "own\n", "the line's own limit counts");
    }
    assert!(refused_for(&daemon, "rate").about("refused", ports[0]));
}

#[test]
fn inetd_c_lets_a_client_over_the_number_wait() {
    let port = free_port();
    let daemon = inetd(&["-c1"], &tcp_line(port, "/bin/cat cat"));
    let (first, second) = (tcp(port), tcp(port));
    assert_eq!(echo_once(&first, "one"), "one");
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    drop(first);
    assert_eq!(echo_once(&second, "two"), "two");
}

#[test]
fn inetd_s_and_capital_c_limit_each_client_address() {
    let port = free_port();
    let daemon = inetd(&["-s", "1"], &tcp_line(port, "/bin/cat cat"));
    let first = tcp(port);
    assert_eq!(echo_once(&first, "one"), "one");
    assert_eq!(read_to_any_end(tcp(port)), "");
    let _ = refused_for(&daemon, "per_source");

    let port = free_port();
    let daemon = inetd(&["-C", "1"], &tcp_line(port, "/bin/echo echo hi"));
    assert_eq!(read_all(tcp(port)), "hi\n");
    let _: Vec<String> = (0..4).map(|_| read_to_any_end(tcp(port))).collect();
    let _ = refused_for(&daemon, "source_rate");
}

#[test]
fn inetd_q_is_the_queue_of_the_kernel() {
    if !need_program("ss") {
        return;
    }
    let port = free_port();
    let _daemon = inetd(&["-q", "7"], &tcp_line(port, "/bin/cat cat"));
    let filter = format!("sport = :{port}");
    let output = Command::new("ss").args(["-Hltn", &filter]).output().unwrap();
    let text = both(&output);
    assert_eq!(text.split_whitespace().nth(2), Some("7"), "Send-Q is the backlog: {text}");
}

#[test]
fn inetd_a_is_the_address_of_services_that_have_none() {
    let ports = free_ports(2);
    let text = format!(
        "{} stream tcp nowait - /bin/echo echo near\n127.0.0.2:{} stream tcp nowait - /bin/echo echo own\n",
        ports[0], ports[1]
    );
    for address in ["127.0.0.1", "localhost"] {
        let mut daemon = inetd(&["-a", address], &text);
        assert_eq!(read_all(tcp(ports[0])), "near\n");
        let own: SocketAddr = ([127, 0, 0, 2], ports[1]).into();
        assert_eq!(read_all(try_tcp(own).unwrap()), "own\n");
        for line in daemon.said("listening") {
            let address: SocketAddr = line.get("address").unwrap().parse().unwrap();
            assert!(address.ip().is_loopback(), "{}", line.raw);
        }
        daemon.stop();
    }
}

#[test]
fn an_inetd_passes_its_environment_on_and_addresses_are_told_anyway() {
    let port = free_port();
    let text = tcp_line(port, &shell("echo $COLOUR $PROTO $TCPREMOTEIP"));
    for options in [&["--environment"][..], &["-E"], &[]] {
        let _daemon = inetd(options, &text);
        assert_eq!(read_all(tcp(port)), "green TCP 127.0.0.1\n", "{options:?}");
    }
}

/// `-p FILE` where only `-pFILE` is one, and a configuration begins with a port.
#[test]
fn a_configuration_is_taken_for_no_pid_file() {
    let folder = Folder::new();
    let text = tcp_line(free_port(), "/bin/echo echo hi");
    let file = folder.write("conf", &text);
    let words = ["-i", "-p", file.to_str().unwrap(), "/nonexistent"];
    let said = String::from_utf8(to_the_end("openbsd-inetd", &words).stderr).unwrap();
    assert!(said.contains("this is no pid file"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    // To GNU's it is the configuration.
    let words = ["-d", "-p", file.to_str().unwrap()];
    let daemon = Setup::new().named("inetutils-inetd").run_in(Folder::new(), &words);
    assert_eq!(daemon.said("listening").len(), 1);
}

#[test]
fn inetd_d_logs_more_and_writes_no_pid_file_of_its_own() {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("conf", &tcp_line(port, "/bin/echo echo hi"));
    let mut daemon = Setup::new().named("inetd").run_in(folder, &["-d", file.to_str().unwrap()]);
    assert_eq!(read_all(tcp(port)), "hi\n");
    assert!(daemon.log.text().contains(" DEBUG "), "{}", daemon.log.text());
    assert!(!daemon.log.text().contains("pid file"), "{}", daemon.log.text());
    daemon.stop();
}

#[test]
fn inetd_reads_several_files_and_folders_and_reloads_them_all() {
    let (ports, folder) = (free_ports(3), Folder::new());
    let line = |index: usize, text: &str| tcp_line(ports[index], &format!("/bin/echo echo {text}"));
    let first = folder.write("first", &line(0, "one"));
    folder.write("d/second", &line(1, "two"));
    folder.write("d/second~", "a leftover\n");
    let (first, other) = (first.to_str().unwrap().to_owned(), folder.name("d"));
    let daemon = Setup::new().named("inetd").run_in(folder, &[&first, "-i", "-p", "--", &other]);
    assert_eq!(
        (read_all(tcp(ports[0])), read_all(tcp(ports[1]))),
        ("one\n".into(), "two\n".into())
    );
    // What is wrong keeps nothing else from being taken over.
    daemon.folder.write("d/second", &line(1, "other"));
    daemon.folder.write("d/third", "nonsense\n");
    let mark = daemon.log.mark();
    daemon.signal(Signal::SIGHUP);
    let _ = daemon.wait_after(mark, |line| line.is("reloaded"));
    assert!(daemon.log.text().contains("d/third:1:"), "{}", daemon.log.text());
    assert_eq!(read_all(tcp(ports[1])), "other\n");
    daemon.folder.write("d/third", &line(2, "three"));
    let mark = daemon.log.mark();
    daemon.signal(Signal::SIGHUP);
    let _ = daemon.wait_after(mark, |line| line.is("reloaded"));
    assert_eq!(read_all(tcp(ports[2])), "three\n");
}

#[test]
fn options_that_mean_something_else_here_are_said_in_the_log() {
    let ports = free_ports(2);
    let daemon = inetd(&["-wW", "-l", "--resolve"], &tcp_line(ports[0], "/bin/cat cat"));
    let notes = daemon.said("configuration");
    assert_eq!(notes.len(), 2, "{}", daemon.log.text());
    assert!(notes[0].level() == "WARN" && notes[0].raw.contains("only_from"), "{}", notes[0].raw);
    let daemon = foreground("xinetd", &["-dontfork", "-pidfile"], &["-cc", "60"], &hello(ports[1]));
    daemon.said_times(1, "configuration");
}

#[test]
fn a_manager_that_waits_for_word_of_the_process_gets_it_in_the_foreground() {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("conf", &tcp_line(port, "/bin/echo echo hi"));
    let manager = UnixDatagram::bind(folder.at("manager")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let setup = Setup::new().named("inetd").env("NOTIFY_SOCKET", &folder.name("manager"));
    let mut daemon = setup.run_in(folder, &["-ep", "--", file.to_str().unwrap()]);
    let mut word = [0; 4096];
    let count = manager.recv(&mut word).unwrap();
    assert!(String::from_utf8_lossy(&word[..count]).contains("READY=1"));
    assert_eq!(read_all(tcp(port)), "hi\n");
    assert!(daemon.is_running());
    daemon.stop();
}

/// update-inetd sends HUP to a process of this name only.
#[test]
fn after_an_upgrade_the_process_is_called_as_before() {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("conf", &tcp_line(port, "/bin/cat cat")).display().to_string();
    let setup = Setup::new().env("RUNTIME_DIRECTORY", folder.path().to_str().unwrap());
    let daemon = setup.named("inetd").run_in(folder, &["-i", "-p", "--", &file]);
    let name = || std::fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).unwrap();
    assert_eq!(name(), "inetd\n");
    let output = command(&[])
        .args(["upgrade", "--control", &daemon.folder.name("oxinetd.sock")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    assert_eq!(name(), "inetd\n");
    assert_eq!(echo_once(tcp(port), "hello"), "hello");
}

#[test]
fn wrong_usage_gives_2_and_the_options() {
    for (name, argument) in [("inetd", "-x"), ("inetd", "-R"), ("xinetd", "-x"), ("xinetd", "file")]
    {
        let output = to_the_end(name, &[argument]);
        assert_eq!(output.status.code(), Some(2), "{name} {argument}: {}", both(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("Usage: {name}")));
    }
    for (name, argument) in [("inetd", "--help"), ("inetd", "-V"), ("xinetd", "-version")] {
        let output = to_the_end(name, &[argument]);
        assert_eq!(output.status.code(), Some(0), "{name} {argument}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(name));
    }
}

#[test]
fn the_manual_page_has_every_option_of_both() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/man/oxinetd.8");
    let page = std::fs::read_to_string(page).unwrap();
    let page = page.split(".Sh AS INETD AND XINETD").nth(1).unwrap();
    for (name, help) in [("inetd", "--help"), ("xinetd", "-help")] {
        let usage = both(&to_the_end(name, &[help]));
        let list = usage.split("\n\n").nth(1).unwrap();
        let options = list.split([' ', ',', '\n', '=']).filter(|word| word.starts_with('-'));
        for option in options {
            let wanted = format!("Fl {}", &option[1..]);
            assert!(page.contains(&wanted), "oxinetd(8) lacks {option} of {name}");
        }
    }
}

/// A service of xinetd.
fn hello(port: u16) -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    format!(
        "service hello\n{{\n\ttype = UNLISTED\n\tport = {port}\n\tbind = 127.0.0.1\n\tsocket_type = stream\n\twait = no\n\tuser = {user}\n\tserver = /bin/cat\n}}\n"
    )
}

#[test]
fn under_the_name_xinetd_it_takes_xinetds_options() {
    let port = free_port();
    let text = hello(port);
    let fixed = ["-dontfork", "-limit", "3", "-reuse", "-pidfile"];
    let mut daemon = foreground("xinetd", &fixed, &["-inetd_compat"], &text);
    assert_eq!(echo_once(tcp(port), "hello"), "hello");
    let line = daemon.wait_log(|line| line.is("spawning"));
    assert_eq!(line.number("max_children"), Some(3), "{}", line.raw);
    assert!(daemon.folder.at("pid").exists());
    daemon.stop();
    assert!(!daemon.folder.at("pid").exists());
}

#[test]
fn xinetd_limit_holds_for_all_services_together() {
    let ports = free_ports(2);
    let text = hello(ports[0]) + &hello(ports[1]).replace("service hello", "service other");
    let daemon = foreground("xinetd", &["-d", "-limit", "1", "-pidfile"], &[], &text);
    let (first, second) = (tcp(ports[0]), tcp(ports[1]));
    assert_eq!(echo_once(&first, "one"), "one");
    let _ = daemon.wait_log(|line| line.is("limit-begin"));
    drop(first);
    assert_eq!(echo_once(&second, "two"), "two");
}

#[test]
fn xinetd_without_services_ends_unless_it_is_to_stay_alive() {
    let folder = Folder::new();
    let empty = folder.write("empty", "defaults\n{\n}\n").display().to_string();
    let output = to_the_end("xinetd", &["-f", &empty]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains("nothing to serve"), "{}", both(&output));
    let mut daemon = Setup::new().named("xinetd").run_in(folder, &["-dontfork", "-f", &empty]);
    let port = free_port();
    daemon.folder.write("empty", &hello(port));
    let mark = daemon.log.mark();
    daemon.signal(Signal::SIGHUP);
    let _ = daemon.wait_after(mark, |line| line.is("reloaded"));
    let client: TcpStream = tcp(port);
    assert_eq!(echo_once(&client, "now"), "now");
    drop(client);
    daemon.stop();
}

/// Of two lines for one address the last has it, and the first has what is left.
#[test]
fn an_address_that_is_said_again_costs_no_other() {
    let port = free_port();
    let text = format!(
        "127.0.0.1,127.0.0.2:{port} stream tcp nowait - /bin/echo echo one\n\
         127.0.0.2:{port} stream tcp nowait - /bin/echo echo two\n"
    );
    let _daemon = inetd(&[], &text);
    assert_eq!(read_all(tcp(port)), "one\n");
    assert_eq!(read_all(try_tcp(([127, 0, 0, 2], port).into()).unwrap()), "two\n");
}
