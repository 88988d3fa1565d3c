//! Programs that end with their server, whether they want to or not.

use nix::sys::signal::Signal;

use crate::common::clients::read_to_any_end;
use crate::common::{
    Daemon, Folder, Setup, free_port, own_line, procs, read_line, shell, tcp, wait_until,
};

/// It says that it is there, and does not hear TERM.
const DEAF: &str = "trap : TERM; echo here; while :; do sleep 600 & wait; done";

fn line(port: u16, script: &str, kill_after: &str) -> String {
    own_line(port, &shell(script))
        + &format!("    on_stop = terminate\n    kill_after = {kill_after}\n")
}

#[test]
fn a_program_that_does_not_hear_term_is_killed_before_the_server_is_gone() {
    let port = free_port();
    let mut daemon = Daemon::start(&line(port, "trap \"\" TERM; echo here; sleep 600", "100ms"));
    let mut client = tcp(port);
    assert_eq!(read_line(&mut client), "here\n");
    let pid = daemon.accepted(port, 1)[0];
    daemon.stop();
    assert!(!procs::is_alive(pid), "{}", daemon.log.text());
    let killed = daemon.wait_log(|line| line.about("timeout", port));
    assert_eq!(killed.get("signal"), Some("KILL"), "{}", killed.raw);
    let ended = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(ended.get("signal"), Some("SIGKILL"), "{}", ended.raw);
    let draining = daemon.wait_log(|line| line.is("draining"));
    assert_eq!(draining.number("running"), Some(1), "{}", draining.raw);
    assert_eq!(read_to_any_end(client), "");
}

#[test]
fn meanwhile_nobody_is_let_in_and_the_next_server_can_have_the_port() {
    let port = free_port();
    let mut daemon = Daemon::start(&line(port, DEAF, "1h"));
    let mut client = tcp(port);
    assert_eq!(read_line(&mut client), "here\n");
    daemon.signal(Signal::SIGTERM);
    let _ = daemon.wait_log(|line| line.is("draining"));
    let next = Daemon::start(&own_line(port, "/bin/echo echo next"));
    assert_eq!(crate::common::read_all(tcp(port)), "next\n");
    drop(next);
    assert!(daemon.is_running(), "it waits for its program");
    // Who does not want to wait says so again.
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success());
    assert_eq!(read_to_any_end(client), "");
}

#[test]
fn what_a_program_leaves_in_its_group_has_its_time_and_no_more() {
    let (port, folder) = (free_port(), Folder::new());
    let done = folder.name("done");
    // Its leader ends at once; the other does something first.
    let script = format!(
        "(trap \"sleep 1; echo done >{done}; exit\" TERM; echo here; while :; do sleep 0.1; done) & exec sleep 600"
    );
    let mut daemon = Setup::new().start_in(folder, &line(port, &script, "1h"));
    let mut client = tcp(port);
    assert_eq!(read_line(&mut client), "here\n");
    daemon.stop();
    assert_eq!(std::fs::read_to_string(&done).unwrap_or_default(), "done\n");
}

#[test]
fn those_that_go_on_hold_nobody_up() {
    let port = free_port();
    let mut daemon = Daemon::start(&own_line(port, &shell(DEAF)));
    let mut client = tcp(port);
    assert_eq!(read_line(&mut client), "here\n");
    let pid = daemon.accepted(port, 1)[0];
    daemon.stop();
    assert!(procs::is_alive(pid));
    assert!(daemon.said("draining").is_empty());
    drop(client);
}

#[test]
fn a_program_of_a_service_that_goes_is_killed_if_it_does_not_hear_term() {
    let port = free_port();
    let daemon = Daemon::start(&line(port, DEAF, "100ms"));
    let mut client = tcp(port);
    assert_eq!(read_line(&mut client), "here\n");
    let pid = daemon.accepted(port, 1)[0];
    let _ = daemon.reload("");
    wait_until("its end", || !procs::is_alive(pid));
    let ended = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(ended.get("signal"), Some("SIGKILL"), "{}", ended.raw);
}
