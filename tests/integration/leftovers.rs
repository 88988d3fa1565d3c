//! `leftovers`: what a program leaves behind when it ends goes on, or ends with it.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Child;

use nix::sys::signal::{Signal, kill};

use super::draining::drain;
use crate::common::control::{controlled, upgrade};
use crate::common::daemon::as_pid;
use crate::common::files::wait_text;
use crate::common::procs::{is_alive, zombies};
use crate::common::{
    Daemon, Folder, Line, Setup, free_port, need_program, need_root, own_line, read_all, read_line,
    shell, tcp, tcp_line, udp, wait_until,
};

const END: &str = "    leftovers = end\n";

/// Away from the connection.
const AWAY: &str = "</dev/null >/dev/null 2>&1";

/// The client has said something, which nobody reads.
const UNREAD: &str = "until read -t 0; do sleep 0.01; done";

/// The number that a program says before it ends: of what it leaves behind.
#[track_caller]
fn left_by(port: u16) -> u32 {
    read_all(tcp(port)).trim().parse().unwrap()
}

fn leaving() -> String {
    shell(&format!("sleep 600 {AWAY} & echo $!"))
}

/// For a shell with job control, without a terminal too.
fn bash(script: &str) -> String {
    shell(&format!("set -m; {script}")).replace("/bin/sh sh", "/bin/bash bash")
}

/// In a process group of its own.
fn leaving_a_job() -> String {
    bash(&format!("sleep 600 {AWAY} & echo $!"))
}

/// It does not hear TERM.
fn deaf() -> String {
    format!("trap \"\" TERM; sleep 600 {AWAY} & echo $!")
}

/// It does not hear TERM, and is in a process group of its own.
fn leaving_a_deaf_job() -> String {
    bash(&deaf())
}

#[track_caller]
fn wait_gone(pid: u32) {
    wait_until("what is left to be gone", || !is_alive(pid));
}

/// A program has ended; what it has left may have come to the server.
#[track_caller]
fn wait_reaped(daemon: &Daemon, port: u16) {
    let _ = daemon.wait_log(|line| line.about("ended", port));
    wait_until("the program to be reaped", || zombies(daemon.pid()).is_empty());
}

#[track_caller]
fn assert_told(line: &Line, signal: &str) {
    let told = (line.get("signal"), line.get("processes"));
    assert_eq!(told, (Some(signal), Some("1")), "{}", line.raw);
}

#[test]
fn what_a_program_leaves_behind_goes_on_if_nothing_is_said() {
    let port = free_port();
    let daemon = Daemon::start(&own_line(port, &leaving()));
    let left = left_by(port);
    wait_reaped(&daemon, port);
    assert!(is_alive(left) && daemon.said("leftovers").is_empty());
    kill(as_pid(left), Signal::SIGKILL).unwrap();
}

#[test]
fn its_process_group_ends_with_it() {
    let port = free_port();
    let daemon = Daemon::start(&(own_line(port, &leaving()) + END));
    let left = left_by(port);
    wait_gone(left);
    let line = daemon.wait_log(|line| line.about("leftovers", port));
    assert_told(&line, "TERM");
    let ended = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(ended.number("pid"), line.number("pid"));
}

#[test]
fn so_do_other_groups_of_its_session() {
    if !need_program("bash") {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&(own_line(port, &leaving_a_job()) + END));
    wait_gone(left_by(port));
    assert_told(&daemon.wait_log(|line| line.about("leftovers", port)), "TERM");
}

#[test]
fn whoever_does_not_hear_it_is_killed_after_a_while() {
    if !need_program("bash") {
        return;
    }
    for script in [leaving_a_deaf_job(), shell(&deaf())] {
        let port = free_port();
        let text = own_line(port, &script) + END + "    kill_after = 1s\n";
        let daemon = Daemon::start(&text);
        wait_gone(left_by(port));
        let lines = daemon.wait_count(2, |line| line.about("leftovers", port));
        assert_told(&lines[0], "TERM");
        assert_told(&lines[1], "KILL");
        daemon.wait_childless();
    }
}

#[test]
fn whoever_is_born_while_his_parent_ends_is_found_too() {
    if !need_program("bash") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let out = folder.open_folder("out").join("pid");
    let script = folder.open_folder("script").join("chain");
    let last = format!("echo $BASHPID >>{}; exec sleep 600", out.display());
    let next = "if [ $1 = 0 ]; then LAST; fi; (next $(($1 - 1)) &)".replace("LAST", &last);
    let text = format!("set -m; trap '' TERM; next() {{ {next}; }}; next 60 {AWAY}");
    std::fs::write(&script, text).unwrap();
    let line = own_line(port, &format!("/bin/bash bash {}", script.display()));
    let daemon = Setup::new().start_in(folder, &(line + END + "    kill_after = 500ms\n"));
    for _ in 0..5 {
        assert_eq!(read_all(tcp(port)), "");
    }
    let lasts = || std::fs::read_to_string(&out).unwrap_or_default();
    let _ = daemon.wait_count(5, |line| line.about("ended", port));
    daemon.wait_childless();
    assert!(lasts().lines().all(|pid| !is_alive(pid.parse().unwrap())), "{}", lasts());
}

#[test]
fn it_has_time_and_once_it_has_ended_nobody_waits_for_it() {
    putting_in_order("read line", "");
}

#[test]
fn what_has_been_told_with_a_program_over_its_time_is_not_told_again() {
    putting_in_order("exec sleep 600", "    timeout = 4s\n");
}

/// What a program leaves behind does something when it is told, and ends.
#[track_caller]
fn putting_in_order(then: &str, attributes: &str) {
    let (port, folder) = (free_port(), Folder::new());
    let out = folder.open_folder("out").join("text");
    let order = format!("trap \"sleep 0.3; echo in order >>{}; exit 0\" TERM", out.display());
    let script =
        format!("({order}; echo ready; exec {AWAY}; while :; do sleep 0.05; done) & {then}");
    let text = own_line(port, &shell(&script)) + END + "    kill_after = 1h\n" + attributes;
    let daemon = Setup::new().start_in(folder, &text);
    let client = tcp(port);
    assert_eq!(read_line(&client), "ready\n");
    drop(client);
    assert_eq!(wait_text(&out), "in order\n");
    daemon.wait_childless();
    assert_eq!(wait_text(&out), "in order\n", "it has been told once");
}

#[test]
fn a_program_that_leaves_nothing_is_reaped_at_once() {
    let port = free_port();
    let daemon =
        Daemon::start(&(own_line(port, "/bin/echo echo hi") + END + "    kill_after = 1h\n"));
    for _ in 0..20 {
        assert_eq!(read_all(tcp(port)), "hi\n");
    }
    let _ = daemon.wait_count(20, |line| line.about("ended", port));
    wait_until("all to be reaped", || zombies(daemon.pid()).is_empty());
    assert!(daemon.said("leftovers").is_empty());
}

#[test]
fn a_session_of_its_own_is_left_alone() {
    if !need_program("setsid") {
        return;
    }
    let port = free_port();
    // It has it before the program ends.
    let session = "$(cut -d\" \" -f6 /proc/$!/stat)";
    let script = shell(&format!(
        "setsid sleep 600 {AWAY} & until [ \"{session}\" = $! ]; do :; done; echo $!"
    ));
    let daemon = Daemon::start(&(own_line(port, &script) + END));
    let left = left_by(port);
    wait_reaped(&daemon, port);
    assert!(is_alive(left) && daemon.said("leftovers").is_empty());
    kill(as_pid(left), Signal::SIGKILL).unwrap();
}

#[test]
fn what_a_program_over_its_time_leaves_behind_ends_too() {
    if !need_program("bash") {
        return;
    }
    let port = free_port();
    let script = bash(&format!("sleep 600 {AWAY} & echo $!; exec sleep 600"));
    // bash has to have said by then what it leaves.
    let text = own_line(port, &script) + END + "    timeout = 15s\n    kill_after = 1h\n";
    let daemon = Daemon::start(&text);
    wait_gone(left_by(port));
    assert_told(&daemon.wait_log(|line| line.about("leftovers", port)), "TERM");
    daemon.said_times(1, "timeout");
}

#[test]
fn what_a_waiting_program_leaves_behind_ends_too() {
    let (port, folder) = (free_port(), Folder::new());
    let out = folder.open_folder("out").join("pid");
    let script = format!("sleep 600 & echo $! >{}; dd count=1 >/dev/null 2>&1", out.display());
    let line = format!("127.0.0.1:{port} dgram udp wait - {}\n", shell(&script));
    let daemon = Setup::new().start_in(folder, &(line + END));
    udp(port).send(b"?").unwrap();
    wait_gone(wait_text(&out).trim().parse().unwrap());
    assert_told(&daemon.wait_log(|line| line.about("leftovers", port)), "TERM");
}

#[test]
fn a_stopping_server_leaves_nobody_who_is_to_end() {
    if !need_program("bash") {
        return;
    }
    let port = free_port();
    let text = own_line(port, &leaving_a_deaf_job()) + END + "    kill_after = 1h\n";
    let mut daemon = Daemon::start(&text);
    let left = left_by(port);
    let _ = daemon.wait_log(|line| line.about("leftovers", port));
    assert!(is_alive(left));
    daemon.stop();
    wait_gone(left);
}

#[test]
fn with_too_many_the_first_have_no_more_time() {
    let port = free_port();
    let text = own_line(port, &shell(&deaf())) + END + "    kill_after = 1h\n";
    let mut daemon = Daemon::start(&text);
    let left: Vec<u32> = (0..260).map(|_| left_by(port)).collect();
    let gone = || left.iter().filter(|pid| !is_alive(**pid)).count();
    wait_until("four of them to be gone", || gone() == 4);
    // Two that end almost at once may be found in either order.
    assert!(left[16..].iter().all(|pid| is_alive(*pid)));
    daemon.stop();
    left.iter().for_each(|pid| wait_gone(*pid));
}

#[test]
fn an_upgrade_goes_on_ending_leftovers() {
    if !need_program("bash") {
        return;
    }
    let port = free_port();
    let text = own_line(port, &leaving_a_deaf_job()) + END + "    kill_after = 3s\n";
    let daemon = controlled(&text);
    let left = left_by(port);
    let term = daemon.wait_log(|line| line.about("leftovers", port));
    upgrade(&daemon);
    let kill = daemon.wait_log(|line| line.is("leftovers") && line.get("signal") == Some("KILL"));
    assert_eq!((term.get("signal"), kill.number("pid")), (Some("TERM"), term.number("pid")));
    wait_gone(left);
    daemon.wait_childless();
}

#[test]
fn the_client_gets_all_of_the_answer_when_what_is_left_has_ended() {
    if !need_program("bash") {
        return;
    }
    // Both have the connection.
    for left in ["sleep 600 &", "set -m; sleep 600 & set +m;", "trap \"\" TERM; sleep 600 &"] {
        let port = free_port();
        let text = tcp_line(port, &format!("/bin/bash bash -c '{UNREAD}; {left} echo here'"));
        let daemon = Daemon::start(&(text + END + "    kill_after = 300ms\n"));
        let mut client = tcp(port);
        client.write_all(b"a request that nobody reads\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("the connection is reset");
        assert_eq!(answer, "here\n");
        let _ = daemon.wait_log(|line| line.about("ended", port));
        drop(client);
        daemon.wait_childless();
    }
}

#[test]
fn the_client_gets_all_of_it_with_an_upgrade_in_between_too() {
    all_of_it_comes_after_an_upgrade(|_| {});
}

#[test]
fn so_it_is_when_the_service_is_no_more() {
    all_of_it_comes_after_an_upgrade(|daemon| {
        let _ = daemon.reload("");
    });
}

/// What is left answers after it, when something has happened before.
#[track_caller]
fn all_of_it_comes_after_an_upgrade(before: impl FnOnce(&Daemon)) {
    if !need_program("bash") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let flag = folder.open_folder("flag").join("here");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", flag.display());
    let script = format!("{UNREAD}; trap \"\" TERM; ({wait}; head -c 1000000 /dev/zero) &");
    let text = tcp_line(port, &format!("/bin/bash bash -c '{script}'"));
    let text = text + END + "    kill_after = 1h\n";
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let mut client = tcp(port);
    client.write_all(b"a request that nobody reads\n").unwrap();
    let _ = daemon.wait_log(|line| line.about("leftovers", port));
    before(&daemon);
    upgrade(&daemon);
    std::fs::write(&flag, "").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the connection is reset");
    assert_eq!(answer.len(), 1_000_000);
}

#[test]
fn the_answer_ends_with_the_program_where_what_is_left_does_not_have_it() {
    let port = free_port();
    let text = tcp_line(port, &shell(&deaf())) + END + "    kill_after = 1h\n";
    let daemon = Daemon::start(&(text + "    linger = yes\n"));
    // It does not wait for what is left.
    let left = left_by(port);
    let _ = daemon.wait_log(|line| line.about("leftovers", port));
    assert!(is_alive(left));
}

/// What a program leaves behind in a group of its own, which ends a while after it is told to.
fn leaving_one_that_takes_its_time(out: &Path) -> String {
    let order = format!("trap \"sleep 1; echo in order >{}; exit 0\" TERM", out.display());
    bash(&format!("({order}; echo ready; exec {AWAY}; while :; do sleep 0.05; done) & read line"))
}

/// The server does not end before it has.
#[track_caller]
fn is_waited_for(setup: Setup, attributes: &str, end: impl FnOnce(&Daemon) -> Option<Child>) {
    if !need_program("bash") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let out = folder.open_folder("out").join("text");
    let text = own_line(port, &leaving_one_that_takes_its_time(&out)) + END;
    let text = text + "    kill_after = 50s\n" + attributes;
    let mut daemon = setup.start_in(folder, &text);
    let client = tcp(port);
    assert_eq!(read_line(&client), "ready\n");
    let asking = end(&daemon);
    drop(client);
    assert!(daemon.wait_exit().success());
    if let Some(mut asking) = asking {
        assert!(asking.wait().unwrap().success());
    }
    assert_eq!(std::fs::read_to_string(&out).unwrap_or_default(), "in order\n");
}

#[test]
fn a_server_that_drains_waits_for_it() {
    is_waited_for(Setup::new().controlled(), "", |daemon| Some(drain(daemon, "3600")));
}

#[test]
fn a_server_that_ends_when_nobody_is_here_waits_for_it() {
    is_waited_for(Setup::new().arg("--idle-exit").arg("100ms"), "", |_| None);
}

#[test]
fn a_server_that_waits_for_its_programs_waits_for_it() {
    let stop = |daemon: &Daemon| {
        daemon.signal(Signal::SIGTERM);
        // What was left of a program that has ended before is killed.
        let _ = daemon.wait_log(|line| line.is("draining"));
        None
    };
    is_waited_for(Setup::new(), "    on_stop = terminate\n", stop);
}

#[test]
fn leftovers_of_another_user_are_ended_too() {
    if !need_root() || !need_program("bash") {
        return;
    }
    let port = free_port();
    let text = format!("127.0.0.1:{port} stream tcp nowait nobody {}\n", leaving_a_deaf_job());
    let daemon = Daemon::start(&(text + END + "    kill_after = 200ms\n"));
    wait_gone(left_by(port));
    daemon.wait_childless();
}

#[test]
fn process_1_ends_it_and_reaps_it() {
    if !need_root() || !need_program("unshare") || !need_program("bash") {
        return;
    }
    let (port, quick) = (free_port(), free_port());
    let setup = Setup::new()
        .under(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .env("RUST_LOG", "debug");
    let text = own_line(port, &leaving_a_deaf_job()) + END + "    kill_after = 1s\n";
    let daemon = setup.start(&(text + &own_line(quick, "/bin/echo echo hi") + END));
    let _ = left_by(port);
    for _ in 0..20 {
        assert_eq!(read_all(tcp(quick)), "hi\n");
    }
    let _ = daemon.wait_count(20, |line| line.about("ended", quick));
    let _ = daemon.wait_log(|line| line.is("leftovers") && line.get("signal") == Some("KILL"));
    let _ = daemon.wait_log(|line| line.is("orphan") && line.get("signal") == Some("SIGKILL"));
    daemon.said_times(1, "orphan");
}

#[test]
fn without_proc_it_is_the_process_group() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let port = free_port();
    let script = "mount -t tmpfs none /proc && exec \"$@\"";
    let setup = Setup::new().under(&["unshare", "--mount", "sh", "-c", script, "sh"]);
    let text = own_line(port, &shell(&deaf())) + END + "    kill_after = 500ms\n";
    let daemon = setup.start(&text);
    wait_gone(left_by(port));
    daemon.wait_childless();
}
