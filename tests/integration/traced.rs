//! Programs that somebody else traces: their parent is told nothing of their end until he lets
//! go, and nothing waits for that. Whoever has the same user can do so.

use nix::sys::ptrace::{Options, seize};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::common::needs::kernel_lacks;
use crate::common::{
    Daemon, Setup, free_port, own_line, procs, read_all, read_line, shell, tcp, wait_until,
};

/// Traces a program from now on: it is for us to let go of it. False, and a skip, where that is
/// forbidden.
fn trace(pid: u32, options: Options) -> bool {
    match seize(pid_of(pid), options) {
        Ok(()) => true,
        Err(error) => kernel_lacks(&format!("ptrace(2) of somebody else's child: {error}")),
    }
}

/// Waits until it has ended, and lets go of it.
fn let_go(pid: u32) {
    let flags = Some(WaitPidFlag::__WALL);
    waitpid(pid_of(pid), flags).unwrap();
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap())
}

/// Says that it is there, and ends when its client says something.
const ONE_LINE: &str = "echo here; read line";

/// A client of such a program that is traced, and the program; None where it cannot be.
fn traced(daemon: &Daemon, port: u16) -> Option<(std::net::TcpStream, u32)> {
    let mut client = tcp(port);
    assert_eq!(read_line(&mut client), "here\n");
    let pid = *daemon.accepted(port, 1).last().unwrap();
    trace(pid, Options::empty()).then_some((client, pid))
}

fn dead(pid: u32) {
    wait_until("the program to be dead", || procs::state(pid) == Some('Z'));
}

#[test]
fn one_that_has_ended_gives_its_place_back_all_the_same() {
    for attribute in ["instances = 1", "timeout = 1s\n    kill_after = 1s\n    instances = 1"] {
        let port = free_port();
        let text = own_line(port, &shell(ONE_LINE)) + &format!("    {attribute}\n");
        let daemon = Setup::new().controlled().start(&text);
        let Some((client, pid)) = traced(&daemon, port) else { return };
        if attribute.starts_with("instances") {
            drop(client);
        }
        dead(pid);
        // Whoever comes waits until then.
        let mut next = tcp(port);
        assert_eq!(read_line(&mut next), "here\n", "{attribute}");
        let ended = daemon.wait_log(|line| line.is("ended") && line.number("pid") == Some(pid));
        assert_eq!(ended.get("status"), Some("unknown"), "{}", ended.raw);
        // It goes when its tracer does.
        let_go(pid);
        wait_until("the dead to be reaped", || procs::zombies(daemon.pid()).is_empty());
    }
}

#[test]
fn a_socket_comes_back_from_one_that_has_ended() {
    let port = free_port();
    let script = "echo here >&2; exec sleep 600";
    let text = own_line(port, &shell(script)).replace("nowait", "wait");
    let daemon = Daemon::start(&text);
    drop(tcp(port));
    let first = daemon.accepted(port, 1)[0];
    let _ = daemon.wait_log(|line| line.is("stderr"));
    if !trace(first, Options::empty()) {
        return;
    }
    kill(pid_of(first), Signal::SIGKILL).unwrap();
    dead(first);
    drop(tcp(port));
    let second = daemon.accepted(port, 2)[1];
    assert_ne!(first, second);
    let_go(first);
}

#[test]
fn the_server_ends_without_them() {
    for drain in [false, true] {
        let port = free_port();
        let text =
            own_line(port, &shell(ONE_LINE)) + "    on_stop = terminate\n    kill_after = 100ms\n";
        let mut daemon = Setup::new().controlled().start(&text);
        let Some((client, pid)) = traced(&daemon, port) else { return };
        if drain {
            assert!(daemon.ask(&["stop", "--drain=1"]).status.success());
        } else {
            daemon.signal(Signal::SIGTERM);
        }
        assert!(daemon.wait_exit().success(), "drain {drain}");
        assert_eq!(read_all(client), "");
        let_go(pid);
        wait_until("it to be gone", || procs::state(pid).is_none());
    }
}

#[test]
fn the_server_ends_without_one_that_kill_does_not_end() {
    let port = free_port();
    let text = own_line(port, &shell("trap \"\" TERM; echo here; while :; do sleep 600; done"))
        + "    on_stop = terminate\n    kill_after = 100ms\n";
    let mut daemon = Daemon::start(&text);
    let mut client = tcp(port);
    assert_eq!(read_line(&mut client), "here\n");
    let pid = daemon.accepted(port, 1)[0];
    // It stops on its way out, as one does that the kernel holds.
    if !trace(pid, Options::PTRACE_O_TRACEEXIT) {
        return;
    }
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success());
    let ended = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(ended.get("status"), Some("unknown"), "{}", ended.raw);
}
