//! Children that are made before they are needed, while clients come one after the other:
//! they become the same programs, keep nothing meanwhile, and go when nobody comes.

use std::fs;

use nix::sys::signal::{Signal, kill};

use crate::common::daemon::as_pid;
use crate::common::trace::{Connection, Trace};
use crate::common::{
    Daemon, free_port, need_program, own_line, procs, read_all, shell, tcp, wait_for, wait_until,
};

/// What a program was given; the client's port first.
const SCRIPT: &str = "echo $REMOTE_PORT; env | grep -v PORT= | sort; ls -l /proc/self/fd | wc -l; \
     grep -e ^Sig[PBI] -e ^Cap -e ^NoNewPrivs -e ^Groups -e ^Uid -e ^Gid /proc/self/status; \
     pid=$$; read -r stat </proc/$$/stat; set -- $stat; [ $5 = $pid ] && [ $6 = $pid ] && echo leads; \
     umask; pwd; ulimit -n";

fn daemon(port: u16) -> Daemon {
    Daemon::start(&own_line(port, &shell(SCRIPT)))
}

/// Children that wait for what they are to become; the oldest first.
fn spares(daemon: &Daemon) -> Vec<u32> {
    let waits = |pid: &u32| {
        let path = |of: u32| fs::read_to_string(format!("/proc/{of}/comm")).ok();
        procs::state(*pid) == Some('S')
            && procs::leads_session(*pid)
            && path(*pid) == path(daemon.pid())
    };
    let mut spares: Vec<u32> = procs::children(daemon.pid()).into_iter().filter(waits).collect();
    spares.sort_unstable();
    spares
}

/// The one that the next client gets.
fn spare(daemon: &Daemon) -> Option<u32> {
    spares(daemon).pop()
}

/// Connects until there is one.
fn wait_spare(daemon: &Daemon, port: u16) -> u32 {
    wait_for("a child to be made ahead", || {
        let _ = read_all(tcp(port));
        spare(daemon)
    })
}

#[test]
fn what_was_made_ahead_becomes_the_same_program() {
    let port = free_port();
    let daemon = daemon(port);
    let ask = || {
        let mark = daemon.log.mark();
        let client = tcp(port);
        let own = client.local_addr().unwrap().port();
        let answer = read_all(client);
        let (first, rest) = answer.split_once('\n').unwrap();
        assert_eq!(first, own.to_string(), "the facts are those of another client");
        let line = daemon.wait_after(mark, |line| line.about("accepted", port));
        (line.number("pid").unwrap(), rest.to_owned())
    };
    let (_, usual) = ask();
    assert!(usual.contains("\nleads\n"), "{usual}");
    let other = wait_for("a program that was made ahead", || {
        let waits = wait_spare(&daemon, port);
        let (pid, answer) = ask();
        (pid == waits).then_some(answer)
    });
    assert_eq!(other, usual);
}

#[test]
fn who_waits_keeps_nothing_of_anybodys_and_goes_when_nobody_comes() {
    let port = free_port();
    let daemon = daemon(port);
    let links = wait_for("its descriptors to be seen", || {
        let waits = wait_spare(&daemon, port);
        let entries = fs::read_dir(format!("/proc/{waits}/fd")).ok()?;
        let links: Vec<_> = entries
            .map(|entry| fs::read_link(entry.unwrap().path()).map(|it| it.display().to_string()))
            .collect::<Result<_, _>>()
            .ok()?;
        // It was still there then, and still waited.
        (spare(&daemon) == Some(waits)).then_some(links)
    });
    let sockets = links.iter().filter(|link| link.starts_with("socket:")).count();
    // The standard three, the failure pipe, and where it is sent what it needs.
    assert!(links.len() <= 5 && sockets <= 1, "{links:?}");
    daemon.wait_childless();
}

#[test]
fn the_next_is_made_when_the_program_has_ended_that_was_sent_off() {
    /// Enough for some to be made ahead, and become programs.
    const CLIENTS: usize = 20;
    if !need_program("strace") {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&own_line(port, "/bin/true true"));
    let seen = (0..10).any(|_| {
        let Some(trace) = Trace::attach(daemon.pid()) else { return true };
        for _ in 0..CLIENTS {
            assert_eq!(read_all(tcp(port)), "");
        }
        trace.finish(1).iter().any(Connection::makes_next_at_the_end)
    });
    assert!(seen, "children are made ahead before the last program has ended, or not at all");
}

#[test]
fn who_is_killed_while_it_waits_is_missed_by_nobody() {
    let port = free_port();
    let daemon = daemon(port);
    for _ in 0..5 {
        let waits = wait_spare(&daemon, port);
        let _ = kill(as_pid(waits), Signal::SIGKILL);
        wait_until("its end", || !procs::is_alive(waits));
        assert!(read_all(tcp(port)).contains("\nleads\n"));
    }
    daemon.wait_childless();
}

#[test]
fn who_waits_goes_with_the_server() {
    let port = free_port();
    let mut daemon = daemon(port);
    let waits = wait_for("one that waits when the server is killed", || {
        let waits = wait_spare(&daemon, port);
        daemon.signal(Signal::SIGSTOP);
        wait_until("the server to stop", || procs::state(daemon.pid()) == Some('T'));
        if procs::state(waits) == Some('S') {
            return Some(waits);
        }
        daemon.signal(Signal::SIGCONT);
        None
    });
    daemon.signal(Signal::SIGKILL);
    let _ = daemon.wait_exit();
    wait_until("its end", || !procs::is_alive(waits));
}
