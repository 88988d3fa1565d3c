//! Children that are made before they are needed, while clients come one after the other:
//! they become the same programs, keep nothing meanwhile, and go when nobody comes.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::common::daemon::as_pid;
use crate::common::needs::too_busy;
use crate::common::trace::{Connection, Trace};
use crate::common::{
    DEADLINE, Daemon, free_port, free_ports, need_program, own_line, procs, read_all, shell, tcp,
    wait_until,
};

/// What a program was given; the client's port first.
const SCRIPT: &str = "echo $REMOTE_PORT; env | grep -v PORT= | sort; ls -l /proc/self/fd | wc -l; \
     grep -e ^Sig[PBI] -e ^Cap -e ^NoNewPrivs -e ^Groups -e ^Uid -e ^Gid /proc/self/status; \
     pid=$$; read -r stat </proc/$$/stat; set -- $stat; [ $5 = $pid ] && [ $6 = $pid ] && echo leads; \
     umask; pwd; ulimit -n";

/// A server of the script at a port, and of a program that is quick at the next.
fn daemon(port: u16) -> Daemon {
    Daemon::start(&(own_line(port, &shell(SCRIPT)) + &own_line(port + 1, "/bin/true true")))
}

/// Two ports in a row, of which the first is told.
fn port() -> u16 {
    free_ports(2)[0]
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

/// Clients come one after the other where each comes in less than this.
const QUICK: Duration = Duration::from_millis(40);

/// After so many of them in a row there is a child that was made ahead, and more.
const ROW: usize = 40;

/// Connects until there is one; none, and a loud skip, if that takes for ever since the
/// machine lets no clients come soon after each other.
#[track_caller]
fn wait_spare(daemon: &Daemon, port: u16) -> Option<u32> {
    look_for(|| {
        let _ = read_all(tcp(port + 1));
        spare(daemon)
    })
}

/// Looks until there is something; a failure only where all looks were quick for long.
#[track_caller]
fn look_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let (begun, mut row) = (Instant::now(), 0);
    while begun.elapsed() < DEADLINE {
        let started = Instant::now();
        if let Some(found) = look() {
            return Some(found);
        }
        row = if started.elapsed() < QUICK { row + 1 } else { 0 };
        assert!(row < ROW, "{ROW} clients came soon after each other, and nothing is made ahead");
    }
    too_busy("children to be made ahead");
    None
}

#[test]
fn what_was_made_ahead_becomes_the_same_program() {
    let port = port();
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
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        let Some(waits) = wait_spare(&daemon, port) else { return };
        let (pid, answer) = ask();
        if pid == waits {
            assert_eq!(answer, usual);
            return;
        }
    }
    too_busy("a child that was made ahead to be used");
}

#[test]
fn who_waits_keeps_nothing_of_anybodys_and_goes_when_nobody_comes() {
    let port = port();
    let daemon = daemon(port);
    let mut seen = None;
    let begun = Instant::now();
    while !seen.as_deref().is_some_and(is_its_own) && begun.elapsed() < DEADLINE {
        let Some(waits) = wait_spare(&daemon, port) else { return };
        // One that has just been made has a copy of the server's for a moment.
        seen = descriptors_of(&daemon, waits).or(seen);
    }
    let Some(links) = seen else { return too_busy("a child to be looked at") };
    assert!(is_its_own(&links), "{links:?}");
    daemon.wait_childless();
}

/// The standard three, the failure pipe, and where it is sent what it needs.
fn is_its_own(links: &[String]) -> bool {
    let sockets = links.iter().filter(|link| link.starts_with("socket:")).count();
    links.len() <= 5 && sockets <= 1
}

/// What one that waits has open, if it was still there then, and still waited.
fn descriptors_of(daemon: &Daemon, waits: u32) -> Option<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{waits}/fd")).ok()?;
    let links = entries
        .map(|entry| fs::read_link(entry.ok()?.path()).ok().map(|path| path.display().to_string()));
    let links = links.collect::<Option<Vec<_>>>()?;
    (spare(daemon) == Some(waits)).then_some(links)
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
    let (mut row, mut longest) = (0, 0);
    let seen = (0..10).any(|_| {
        let Some(trace) = Trace::attach(daemon.pid()) else { return true };
        for _ in 0..CLIENTS {
            let started = Instant::now();
            assert_eq!(read_all(tcp(port)), "");
            row = if started.elapsed() < QUICK { row + 1 } else { 0 };
            longest = longest.max(row);
        }
        trace.finish(1).iter().any(Connection::makes_next_at_the_end)
    });
    if !seen && longest < CLIENTS {
        return too_busy("children to be made ahead");
    }
    assert!(seen, "children are made ahead before the last program has ended, or not at all");
}

#[test]
fn who_is_killed_while_it_waits_is_missed_by_nobody() {
    let port = port();
    let daemon = daemon(port);
    for _ in 0..5 {
        let Some(waits) = wait_spare(&daemon, port) else { return };
        let _ = kill(as_pid(waits), Signal::SIGKILL);
        wait_until("its end", || !procs::is_alive(waits));
        assert!(read_all(tcp(port)).contains("\nleads\n"));
    }
    daemon.wait_childless();
}

#[test]
fn who_waits_goes_with_the_server() {
    let port = port();
    let mut daemon = daemon(port);
    let mut found = None;
    let begun = Instant::now();
    while found.is_none() && begun.elapsed() < DEADLINE {
        let Some(waits) = wait_spare(&daemon, port) else { return };
        daemon.signal(Signal::SIGSTOP);
        wait_until("the server to stop", || procs::state(daemon.pid()) == Some('T'));
        found = (procs::state(waits) == Some('S')).then_some(waits);
        if found.is_none() {
            daemon.signal(Signal::SIGCONT);
        }
    }
    let Some(waits) = found else { return too_busy("a child to be met while it waits") };
    daemon.signal(Signal::SIGKILL);
    let _ = daemon.wait_exit();
    wait_until("its end", || !procs::is_alive(waits));
}
