//! Signals while the configuration is read for the first time. Nobody is served yet, and
//! whoever stops the server does not wait for what the reading waits for.

use std::cell::Cell;
use std::fs::{self, File};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill, killpg};

use crate::common::daemon::{as_pid, command};
use crate::common::{
    Daemon, Folder, Setup, free_port, need_program, need_root, procs, read_all, tcp, tcp_line,
    wait_for, wait_until,
};
use crate::loading::{hang, reader_of, the_only_child, with_include};

const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// A server that reads for the first time, and the process that does so for it: until the
/// file is dropped, into which nobody writes.
#[track_caller]
fn reading_first(setup: Setup, port: u16) -> (Daemon, u32, File) {
    let folder = Folder::new();
    hang(&folder);
    let pipe = Cell::new(None);
    let begun = |daemon: &Daemon| pipe.set(Some(reader_of(&daemon.folder)));
    let daemon = setup.begin_in(folder, &with_include(port), &begun);
    let reading = the_only_child(&daemon);
    (daemon, reading, pipe.take().unwrap())
}

/// The server ends as it would have later, while there still is something to wait for.
#[track_caller]
fn expect_stop(daemon: &mut Daemon, reading: u32, signal: Signal) {
    let status = daemon.wait_exit();
    let log = daemon.log.text();
    assert!(status.success(), "{signal}: {status}\n{log}");
    assert_eq!(procs::state(reading), None, "{signal}: the process that reads is left\n{log}");
    let words = daemon.log.all_after(0, |_| true);
    let words: Vec<&str> = words.iter().map(|line| line.word()).collect();
    assert_eq!(words, ["peers", "stopping", "stopped"], "{signal}:\n{log}");
    assert_eq!(daemon.said("stopping")[0].get("signal"), Some(signal.as_str()), "{log}");
}

/// In a process name space of its own.
fn as_process_1() -> Option<Setup> {
    let words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    (need_root() && need_program("unshare")).then(|| Setup::new().under(&words))
}

#[test]
fn a_signal_to_stop_is_heard_at_once() {
    for signal in STOPS {
        let folder = Folder::new();
        let pid_file = folder.at("pid");
        let setup = Setup::new().arg("--pid-file").arg(pid_file.to_str().unwrap());
        let (mut daemon, reading, _pipe) = reading_first(setup, free_port());
        daemon.signal(signal);
        expect_stop(&mut daemon, reading, signal);
        assert!(!pid_file.exists());
    }
}

#[test]
fn process_1_hears_a_signal_to_stop_while_it_reads() {
    let Some(setup) = as_process_1() else { return };
    for signal in STOPS {
        let (mut daemon, reading, _pipe) = reading_first(setup.clone(), free_port());
        daemon.signal(signal);
        expect_stop(&mut daemon, reading, signal);
    }
}

#[test]
fn a_terminal_sends_it_to_the_process_that_reads_too() {
    if !need_program("setsid") {
        return;
    }
    // Either of the two may be the first to end.
    for _ in 0..10 {
        let setup = Setup::new().under(&["setsid"]);
        let (mut daemon, reading, _pipe) = reading_first(setup, free_port());
        killpg(as_pid(daemon.pid()), Signal::SIGINT).unwrap();
        expect_stop(&mut daemon, reading, Signal::SIGINT);
    }
}

#[test]
fn who_waits_for_a_server_in_the_background_waits_no_longer() {
    let folder = Folder::new();
    hang(&folder);
    let file = folder.write("inetd.conf", &with_include(free_port()));
    let mut starter = command(&[]);
    starter.arg(file).args(["--daemon", "--control", "none", "--log", "stderr"]);
    let mut starter = starter.stderr(Stdio::piped()).spawn().unwrap();
    let _pipe = reader_of(&folder);
    let server = wait_for("the server", || procs::children(starter.id()).first().copied());
    kill(as_pid(server), Signal::SIGTERM).unwrap();
    let status = wait_for("its starter to end", || starter.try_wait().unwrap());
    wait_until("the server to end", || !procs::is_alive(server));
    let log = std::io::read_to_string(starter.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("stopping signal=SIGTERM"), "{log}");
}

#[test]
fn any_other_signal_waits_for_the_server() {
    for setup in [Some(Setup::new()), as_process_1()].into_iter().flatten() {
        let port = free_port();
        let (mut daemon, _, pipe) = reading_first(setup, port);
        for signal in [Signal::SIGHUP, Signal::SIGUSR2] {
            daemon.signal(signal);
        }
        fs::remove_file(daemon.folder.at("more.conf")).unwrap();
        drop(pipe);
        let _ = daemon.wait_log(|line| line.is("reloaded"));
        let _ = daemon.wait_log(|line| line.is("peers"));
        assert_eq!(read_all(tcp(port)), "on\n");
        daemon.stop();
    }
}

#[test]
fn a_parent_that_ignores_the_end_of_its_children_is_no_obstacle() {
    let port = free_port();
    let setup = Setup::new().under(&["env", "--ignore-signal=CHLD"]);
    let mut daemon = setup.start(&tcp_line(port, "/bin/echo echo on"));
    assert_eq!(read_all(tcp(port)), "on\n");
    daemon.stop();
}
