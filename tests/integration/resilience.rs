//! What goes wrong around the server: ports taken, programs gone, children that misbehave.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::common::clients::{echo_once, try_tcp};
use crate::common::daemon::as_pid;
use crate::common::procs;
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, need_ipv6, need_program, need_root, own_line,
    read_all, shell, tcp, tcp_line, wait_until,
};

fn local(port: u16) -> SocketAddr {
    SocketAddr::new("127.0.0.1".parse().unwrap(), port)
}

#[test]
fn a_taken_port_is_reported_the_others_are_served_and_it_is_taken_over_when_freed() {
    let ports = free_ports(2);
    let theirs = TcpListener::bind(local(ports[0])).unwrap();
    let text = tcp_line(ports[0], "/bin/echo echo one") + &tcp_line(ports[1], "/bin/echo echo two");
    let daemon = Daemon::start(&text);
    let line = daemon.wait_log(|line| line.about("not-listening", ports[0]));
    assert_eq!(line.get("address"), Some(local(ports[0]).to_string().as_str()));
    assert!(line.get("error").unwrap().to_lowercase().contains("in use"), "{}", line.raw);
    assert!(line.get("retry").is_some(), "{}", line.raw);
    assert_eq!(read_all(tcp(ports[1])), "two\n");
    drop(theirs);
    let _ = daemon.wait_log(|line| line.about("listening", ports[0]));
    assert_eq!(read_all(tcp(ports[0])), "one\n");
}

#[test]
fn a_missing_program_is_named_in_a_warning_and_the_others_are_served() {
    let ports = free_ports(2);
    let text =
        tcp_line(ports[0], "/no/such/program program") + &tcp_line(ports[1], "/bin/echo echo here");
    let daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(ports[1])), "here\n");
    assert!(try_tcp(local(ports[0])).is_err(), "nobody answers for it");
    let warnings = daemon.log.all_after(0, |line| line.raw.contains("/no/such/program"));
    assert!(warnings.iter().any(|line| line.level() == "WARN"), "{}", daemon.log.text());
}

#[test]
fn a_program_deleted_after_the_start_fails_at_exec_and_the_server_lives() {
    let (port, folder) = (free_port(), Folder::new());
    let program = folder.copy_of("/bin/cat", "short-lived");
    let line = tcp_line(port, &format!("{program} short-lived"));
    let mut daemon = Setup::new().start_in(folder, &line);
    assert_eq!(echo_once(tcp(port), "alive"), "alive");
    fs::remove_file(&program).unwrap();
    assert_eq!(read_all(tcp(port)), "", "the connection is closed, not left open");
    let line = daemon.wait_log(|line| line.about("failed", port));
    assert_eq!(line.get("stage"), Some("exec"), "{}", line.raw);
    assert!(line.get("error").is_some(), "{}", line.raw);
    let _ = daemon.folder.copy_of("/bin/cat", "short-lived");
    assert_eq!(echo_once(tcp(port), "back"), "back");
    daemon.stop();
}

#[test]
fn a_program_that_is_no_program_fails_at_exec_too() {
    let (port, folder) = (free_port(), Folder::new());
    let program = folder.copy_of("/bin/cat", "odd");
    let line = tcp_line(port, &format!("{program} odd"));
    let daemon = Setup::new().start_in(folder, &line);
    // Still executable, but neither a binary nor a script.
    let noise = daemon.folder.write("noise", "\u{1}\u{2}\u{3}neither\n");
    let _ = daemon.folder.copy_of(noise.to_str().unwrap(), "odd");
    assert_eq!(read_all(tcp(port)), "");
    let line = daemon.wait_log(|line| line.about("failed", port));
    assert_eq!(line.get("stage"), Some("exec"), "{}", line.raw);
}

#[test]
fn a_deleted_program_of_a_waiting_service_does_not_make_the_server_spin() {
    let (port, folder) = (free_port(), Folder::new());
    let program = folder.copy_of("/bin/cat", "short-lived");
    let user = crate::common::me();
    let line = format!("127.0.0.1:{port} dgram udp wait {user} {program} short-lived\n");
    let daemon = Setup::new().start_in(folder, &line);
    fs::remove_file(&program).unwrap();
    crate::common::udp(port).send(b"x").unwrap();
    let _ = daemon.wait_log(|line| line.about("backoff", port));
    let failed = daemon.said("failed").len();
    assert!((1..=15).contains(&failed), "{failed} attempts before the first pause");
    assert!(procs::cpu_time(daemon.pid()) < Duration::from_secs(1));
}

#[test]
fn a_child_that_floods_standard_error_does_not_keep_others_waiting() {
    let ports = free_ports(2);
    let flood = shell("exec yes 0123456789012345678901234567890123456789012345678901 >&2");
    let text = tcp_line(ports[0], &flood) + &tcp_line(ports[1], "/bin/echo echo calm");
    let mut daemon = Daemon::start(&text);
    let _flooding = tcp(ports[0]);
    let _ = daemon.log.wait(0, 1000, |line| line.about("stderr", ports[0]));
    for _ in 0..30 {
        assert_eq!(read_all(tcp(ports[1])), "calm\n");
    }
    daemon.stop();
}

#[test]
fn a_stopped_child_harms_nobody() {
    let port = free_port();
    let mut daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let client = tcp(port);
    assert_eq!(echo_once(&client, "one"), "one");
    let pid = daemon.accepted(port, 1)[0];
    kill(as_pid(pid), Signal::SIGSTOP).unwrap();
    wait_until("the child to be stopped", || procs::state(pid) == Some('T'));
    assert_eq!(echo_once(tcp(port), "others go on"), "others go on");
    assert_eq!(
        daemon.list_peers(1).iter().filter(|line| line.number("pid") == Some(pid)).count(),
        1
    );
    assert!(
        daemon
            .log
            .all_after(0, |line| line.is("ended") && line.number("pid") == Some(pid))
            .is_empty()
    );
    kill(as_pid(pid), Signal::SIGCONT).unwrap();
    assert_eq!(echo_once(&client, "two"), "two");
    daemon.stop();
}

#[test]
fn a_child_that_closes_its_connection_but_runs_on_is_still_counted() {
    let port = free_port();
    let line = tcp_line(port, &shell("exec 0<&- 1>&-; exec sleep 60")) + "    linger = no\n";
    let daemon = Daemon::start(&line);
    assert_eq!(read_all(tcp(port)), "", "the server holds no copy of the connection");
    assert_eq!(daemon.count_peers(), (1, 1));
}

#[test]
fn as_process_one_it_reaps_orphans_that_are_not_its_own() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let port = free_port();
    let script = shell("(sleep 0.2 & sleep 0.1 &) ; echo left");
    let mut daemon = Setup::new()
        .under(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .start(&tcp_line(port, &script));
    let line = daemon.wait_log(|line| line.is("ready"));
    assert_eq!(line.number("pid"), Some(1), "{}", line.raw);
    for _ in 0..20 {
        assert_eq!(read_all(tcp(port)), "left\n");
    }
    let _ = daemon.wait_count(20, |line| line.about("ended", port));
    daemon.wait_childless();
    assert_eq!(daemon.count_peers(), (20, 0), "orphans are nobody's peers");
    daemon.stop();
}

#[test]
fn an_orphan_that_a_realtime_signal_has_ended_is_reaped_as_any_other() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    // The orphan waits until it is one, so that nobody but us hears of its end.
    let orphan = "while [ \"$(ps -o ppid= -p $$ | tr -d ' ')\" != 1 ]; do :; done; kill -40 $$";
    let orphan = folder.script("orphan.sh", orphan);
    let leaving = folder
        .script("leaving.sh", &format!("{} & echo left", orphan.trim_start_matches("/bin/sh ")));
    let daemon = Setup::new()
        .under(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .env("RUST_LOG", "debug")
        .start_in(folder, &own_line(port, &leaving));
    for _ in 0..3 {
        assert!(read_all(tcp(port)).starts_with("left\n"));
    }
    let orphans = daemon.wait_count(3, |line| line.is("orphan"));
    assert!(orphans.iter().all(|line| line.get("signal") == Some("SIGRTMIN+6")), "{orphans:?}");
    daemon.wait_childless();
}

#[test]
fn a_reader_of_the_log_that_stalls_does_not_stall_the_server() {
    // 1,500 connections say more than a pipe holds.
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("inetd.conf", &tcp_line(port, "/bin/echo echo on"));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = crate::common::daemon::command(&[]).arg(&file).stderr(writer).spawn().unwrap();
    wait_until("the port to be served", || try_tcp(local(port)).is_ok());
    for _ in 0..1500 {
        assert_eq!(read_all(tcp(port)), "on\n");
    }
    kill(as_pid(child.id()), Signal::SIGKILL).unwrap();
    let _ = child.wait();
    drop(reader);
}

#[test]
fn a_server_started_without_standard_descriptors_gives_its_programs_the_right_ones() {
    let (port, folder) = (free_port(), Folder::new());
    let program = shell("echo to the log >&2; ls -l /proc/self/fd | grep -c -e socket: -e pipe:");
    let file = folder.write("inetd.conf", &tcp_line(port, &program));
    let mut command = crate::common::daemon::command(
        &["sh", "-c", "exec 0<&- 1>&- 2>&-; exec \"$@\"", "sh"].map(str::to_owned),
    );
    let mut child = command.arg(&file).spawn().unwrap();
    wait_until("the port to be served", || try_tcp(local(port)).is_ok());
    // Standard input, standard output, standard error; grep's own input is not ls's.
    let answer = read_all(tcp(port));
    kill(as_pid(child.id()), Signal::SIGKILL).unwrap();
    let _ = child.wait();
    assert_eq!(answer, "3\n");
}

#[test]
fn a_server_whose_log_nobody_holds_any_more_serves_on() {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("inetd.conf", &tcp_line(port, "/bin/echo echo on"));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = crate::common::daemon::command(&[]).arg(&file).stderr(writer).spawn().unwrap();
    wait_until("the port to be served", || try_tcp(local(port)).is_ok());
    drop(reader);
    for _ in 0..50 {
        assert_eq!(read_all(tcp(port)), "on\n");
    }
    assert!(child.try_wait().unwrap().is_none(), "it runs on");
    kill(as_pid(child.id()), Signal::SIGTERM).unwrap();
    assert!(crate::common::wait_for("its end", || child.try_wait().unwrap()).success());
}

#[test]
fn a_stopped_and_continued_server_serves_who_came_meanwhile() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/echo echo awake"));
    daemon.signal(Signal::SIGSTOP);
    wait_until("the server to be stopped", || procs::state(daemon.pid()) == Some('T'));
    let clients: Vec<_> = (0..100).map(|_| tcp(port)).collect();
    daemon.signal(Signal::SIGCONT);
    for client in clients {
        assert_eq!(read_all(client), "awake\n");
    }
}

#[test]
fn many_services_are_served_from_one_file() {
    let ports: Vec<u16> = (0..6).flat_map(|_| free_ports(40)).collect();
    let text: String =
        ports.iter().map(|port| tcp_line(*port, &format!("/bin/echo echo {port}"))).collect();
    let mut daemon = Daemon::start(&text);
    for port in &ports {
        assert_eq!(read_all(tcp(*port)), format!("{port}\n"));
    }
    let line = daemon.reload(&(text + "# the same\n"));
    assert_eq!(line.number("kept"), Some(240), "{}", line.raw);
    daemon.stop();
}

/// As early at boot, and in a new network namespace.
#[test]
fn ipv6_is_served_though_the_loopback_is_still_down() {
    if !need_root() || !need_program("unshare") || !need_ipv6() {
        return;
    }
    let port = free_port();
    let text = format!("{port} stream tcp nowait - /bin/cat cat\n");
    let daemon = Setup::new().under(&["unshare", "--net"]).start(&text);
    let address = format!("[::]:{port}");
    let _ = daemon.wait_log(|line| line.get("address") == Some(address.as_str()));
    assert!(!daemon.log.text().contains("no IPv6"), "{}", daemon.log.text());
}
