//! Programs that run for too long: TERM to the whole group, and KILL if that is not enough.

use crate::common::clients::echo_once;
use crate::common::files::wait_text;
use crate::common::procs::{children, is_alive, zombies};
use crate::common::strace::Strace;
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, need_program, need_root, own_line, read_all,
    read_line, shell, tcp, wait_until,
};

const SLEEP: &str = "/bin/sleep sleep 600";

#[test]
fn a_program_that_runs_for_too_long_is_terminated_and_the_log_says_so() {
    let port = free_port();
    let daemon = Daemon::start(&(own_line(port, SLEEP) + "    timeout = 200ms\n"));
    let client = tcp(port);
    let pid = daemon.accepted(port, 1)[0];
    assert_eq!(read_all(client), "", "the connection ends with the program");
    let line = daemon.wait_log(|line| line.about("timeout", port));
    assert_eq!((line.number("pid"), line.get("signal")), (Some(pid), Some("TERM")));
    assert!(line.get("peer").unwrap().starts_with("127.0.0.1:"), "{}", line.raw);
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!((line.number("pid"), line.get("signal")), (Some(pid), Some("SIGTERM")));
}

#[test]
fn a_program_that_ends_in_time_is_left_alone() {
    let port = free_port();
    let daemon = Daemon::start(&(own_line(port, "/bin/cat cat") + "    timeout = 60s\n"));
    for _ in 0..20 {
        assert_eq!(echo_once(tcp(port), "?"), "?");
    }
    let _ = daemon.wait_count(20, |line| line.about("ended", port));
    assert!(daemon.said("timeout").is_empty());
}

#[test]
fn a_program_that_does_not_hear_term_is_killed_with_its_children() {
    let port = free_port();
    let script = shell("trap \"\" TERM; sleep 600 & echo $!; wait");
    let text = own_line(port, &script) + "    timeout = 3s\n    kill_after = 200ms\n";
    let daemon = Daemon::start(&text);
    let client = tcp(port);
    let grandchild: u32 = read_line(&client).trim().parse().unwrap();
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGKILL"));
    let signals = daemon.wait_count(2, |line| line.about("timeout", port));
    let signals: Vec<_> = signals.iter().map(|line| line.get("signal").unwrap()).collect();
    assert_eq!(signals, ["TERM", "KILL"]);
    wait_until("its child to be gone", || !is_alive(grandchild));
}

#[test]
fn a_program_over_its_time_that_ends_by_a_realtime_signal_leaves_nothing() {
    let port = free_port();
    let script = shell("trap \"kill -35 $$\" TERM; while :; do sleep 0.1; done");
    let daemon = Daemon::start(&(own_line(port, &script) + "    timeout = 3s\n"));
    assert_eq!(read_all(tcp(port)), "");
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGRTMIN+1"), "{}", line.raw);
    wait_until("nothing to be left of it", || children(daemon.pid()).is_empty());
}

#[test]
fn children_that_outlive_their_program_are_killed_after_their_time() {
    let port = free_port();
    let script = shell("(trap \"\" TERM; exec sleep 600) & echo $!; exec sleep 600");
    let text = own_line(port, &script) + "    timeout = 3s\n    kill_after = 500ms\n";
    let daemon = Daemon::start(&text);
    let client = tcp(port);
    let grandchild: u32 = read_line(&client).trim().parse().unwrap();
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGTERM"), "the program itself has heard it");
    wait_until("its child to be gone", || !is_alive(grandchild));
    wait_until("nothing to be left of it", || children(daemon.pid()).is_empty());
}

#[test]
fn children_that_outlive_their_program_have_time_to_put_things_in_order() {
    let _daemon = outliving(Setup::new(), None);
}

#[test]
fn they_have_as_much_under_process_1_and_orphans_are_reaped_meanwhile() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let port = free_port();
    let setup = Setup::new()
        .under(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .env("RUST_LOG", "debug");
    let leaving = own_line(port, &shell("(sleep 0.1 &); echo left"));
    let daemon = outliving(setup, Some(&leaving));
    // Whoever has put things in order came to us. The program itself is kept for a minute,
    // unreaped, and in nobody's way.
    let _ = daemon.wait_log(|line| line.is("orphan") && line.get("status") == Some("0"));
    let before = daemon.said("orphan").len();
    assert_eq!(read_all(tcp(port)), "left\n");
    let _ = daemon.wait_count(before + 1, |line| line.is("orphan"));
}

/// A program that is over its time has ended, and its child has had time after that.
#[track_caller]
fn outliving(setup: Setup, others: Option<&str>) -> Daemon {
    let (port, folder) = (free_port(), Folder::new());
    let out = folder.open_folder("out").join("text");
    let order = format!("trap \"sleep 0.3; echo in order > {}; exit 0\" TERM", out.display());
    let script = shell(&format!("({order}; echo ready; sleep 600 & wait) & exec sleep 600"));
    let text = own_line(port, &script) + "    timeout = 4s\n    kill_after = 60s\n";
    let daemon = setup.start_in(folder, &(text + others.unwrap_or_default()));
    let client = tcp(port);
    assert_eq!(read_line(&client), "ready\n");
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGTERM"));
    assert_eq!(wait_text(&out), "in order\n");
    daemon
}

/// The server has been told of somebody else's end, and sees the leader's when it looks.
#[test]
fn a_leader_that_ends_while_orphans_are_reaped_keeps_its_number() {
    if !need_root() || !need_program("unshare") || !need_program("strace") {
        return;
    }
    let (ports, folder) = (free_ports(2), Folder::new());
    let until = |name| format!("until [ -e {} ]; do sleep 0.02; done", folder.name(name));
    let over = folder.script("over", &format!("trap '' TERM; echo $$; {}", until("leader")));
    let orphan = format!("({}) </dev/null >/dev/null 2>&1 & echo left", until("orphan"));
    let leaving = folder.script("leaving", &orphan);
    let text = own_line(ports[0], &over) + "    timeout = 3s\n    kill_after = 1h\n";
    let daemon = Setup::new()
        .under(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .env("RUST_LOG", "debug")
        .start_in(folder, &(text + &own_line(ports[1], &leaving)));
    let client = tcp(ports[0]);
    let leader: u32 = read_line(&client).trim().parse().unwrap();
    let _ = daemon.wait_log(|line| line.about("timeout", ports[0]));
    assert_eq!(read_all(tcp(ports[1])), "left\n");
    let _ = daemon.wait_log(|line| line.about("ended", ports[1]));
    // Between a signal and the look that it leads to.
    let delay = ["-e", "trace=waitid", "-e", "inject=waitid:delay_enter=3000000:when=1"];
    let Some(strace) = Strace::attach(daemon.pid(), &delay) else { return };
    let _ = daemon.folder.write("orphan", "");
    wait_until("the look", || strace.text().contains("waitid(P_ALL"));
    let _ = daemon.folder.write("leader", "");
    let ended = daemon.wait_log(|line| line.about("ended", ports[0]));
    assert_eq!((ended.number("pid"), ended.get("status")), (Some(leader), Some("0")));
    drop(strace);
    // Whatever was done to it then has been told of before this.
    assert_eq!(read_all(tcp(ports[1])), "left\n");
    let _ = daemon.wait_count(2, |line| line.about("ended", ports[1]));
    let orphans = daemon.said("orphan");
    assert!(!orphans.is_empty(), "{}", daemon.log.text());
    assert!(orphans.iter().all(|line| line.number("pid") != Some(leader)), "{orphans:?}");
    wait_until("the leader to be left of all", || zombies(daemon.pid()).len() == 1);
}

#[test]
fn a_stopped_program_hears_of_its_end_and_its_place_is_free() {
    let port = free_port();
    let text = own_line(port, &shell("kill -STOP $$; exec sleep 600"))
        + "    timeout = 300ms\n    kill_after = 60s\n    instances = 1\n";
    let daemon = Daemon::start(&text);
    let clients = [tcp(port), tcp(port), tcp(port)];
    let _ = daemon.wait_count(3, |line| line.about("ended", port));
    for client in clients {
        assert_eq!(read_all(client), "");
    }
}

#[test]
fn a_stopping_server_leaves_nobody_behind_who_has_had_term() {
    let port = free_port();
    let script = shell("trap \"\" TERM; echo ready; sleep 600");
    let text = own_line(port, &script) + "    timeout = 3s\n    kill_after = 1h\n";
    let mut daemon = Daemon::start(&text);
    let client = tcp(port);
    assert_eq!(read_line(&client), "ready\n");
    let pid = daemon.accepted(port, 1)[0];
    let _ = daemon.wait_log(|line| line.about("timeout", port));
    daemon.stop();
    wait_until("the program to be gone", || !is_alive(pid));
}

#[test]
fn a_waiting_program_has_its_time_too() {
    let port = free_port();
    let text = format!("127.0.0.1:{port} dgram udp wait - {SLEEP}\n    timeout = 200ms\n");
    let daemon = Daemon::start(&text);
    crate::common::udp(port).send(b"?").unwrap();
    let _ = daemon.wait_log(|line| line.about("timeout", port));
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGTERM"));
}
