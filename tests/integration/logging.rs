//! What is logged of served and of refused clients.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Instant;

use crate::common::clients::read_to_any_end;
use crate::common::daemon::command;
use crate::common::log::Log;
use crate::common::wait::ends_soon;
use crate::common::{
    Daemon, Folder, Line, free_port, me, procs, read_all, tcp, tcp_line, wait_until,
};

const YES: &str = "/bin/echo echo yes";

/// Serves one client with this setting; the lines about it, when the server has stopped.
fn lines_of(setting: &str) -> Vec<Line> {
    let port = free_port();
    let mut daemon = Daemon::start(&(tcp_line(port, YES) + &format!("    {setting}\n")));
    assert_eq!(read_all(tcp(port)), "yes\n");
    wait_until("the program to have ended", || daemon.count_peers() == (1, 0));
    daemon.stop();
    let about = |line: &Line| line.about("accepted", port) || line.about("ended", port);
    daemon.log.all_after(0, about)
}

/// The keys of the one line with this word; none if there is none.
fn keys(lines: &[Line], word: &str) -> Option<String> {
    let found: Vec<_> = lines.iter().filter(|line| line.is(word)).collect();
    assert!(found.len() < 2);
    let line = found.first()?;
    let all = ["peer", "pid", "status", "time"];
    let said: Vec<_> = all.into_iter().filter(|key| line.get(key).is_some()).collect();
    Some(said.join(" "))
}

#[test]
fn of_a_served_client_that_much_is_logged_as_the_service_says() {
    for (setting, accepted, ended) in [
        ("log_on_success += PID", Some("peer pid"), Some("peer pid status time")),
        ("log_on_success = HOST", Some("peer"), None),
        ("log_on_success = PID", Some("pid"), None),
        ("log_on_success = EXIT", None, Some("status")),
        ("log_on_success = HOST DURATION", Some("peer"), Some("peer time")),
        ("log_on_success -= PID EXIT", Some("peer"), Some("peer time")),
        ("log_on_success =", None, None),
    ] {
        let lines = lines_of(setting);
        assert_eq!(keys(&lines, "accepted").as_deref(), accepted, "{setting}");
        assert_eq!(keys(&lines, "ended").as_deref(), ended, "{setting}");
    }
}

#[test]
fn of_a_refused_client_that_much_is_logged_as_the_service_says() {
    for (setting, wanted) in [
        ("log_on_failure = HOST ATTEMPT", Some(true)),
        ("log_on_failure = HOST", Some(true)),
        ("log_on_failure -= HOST", Some(false)),
        ("log_on_failure =", None),
    ] {
        let port = free_port();
        let text = tcp_line(port, YES) + &format!("    no_access = 127.0.0.1\n    {setting}\n");
        let mut daemon = Daemon::start(&text);
        assert_eq!(read_to_any_end(tcp(port)), "");
        daemon.stop();
        let lines = daemon.log.all_after(0, |line| line.about("refused", port));
        assert_eq!(lines.first().map(|line| line.get("peer").is_some()), wanted, "{setting}");
    }
}

#[test]
fn a_flood_of_refusals_is_a_line_a_second_and_everybody_is_counted() {
    const FLOOD: u32 = 1_000;
    let port = free_port();
    let text = tcp_line(port, YES) + "    no_access = 127.0.0.1\n";
    let mut daemon = Daemon::start(&text);
    let started = Instant::now();
    for _ in 0..FLOOD {
        assert_eq!(read_to_any_end(tcp(port)), "");
    }
    daemon.stop();
    let seconds = started.elapsed().as_secs();
    let lines = daemon.log.all_after(0, |line| line.about("refused", port));
    let counted: u32 = lines.iter().map(|line| 1 + line.number("left_out").unwrap()).sum();
    assert_eq!(counted, FLOOD);
    let most = usize::try_from(seconds + 3).unwrap();
    assert!(lines.len() <= most, "{} lines in {seconds} seconds", lines.len());
}

#[test]
fn the_last_of_a_flood_are_told_without_another_refusal() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, YES) + "    no_access = 127.0.0.1\n"));
    for _ in 0..5 {
        assert_eq!(read_to_any_end(tcp(port)), "");
    }
    let told = || {
        let lines = daemon.log.all_after(0, |line| line.about("refused", port));
        lines.iter().map(|line| 1 + line.number("left_out").unwrap()).sum::<u32>()
    };
    wait_until("all five told", || told() == 5);
}

#[test]
fn what_is_said_while_starting_is_read_later_though_nobody_comes() {
    let folder = Folder::new();
    // More than fits into a pipe: paths as long as those of sockets may be, almost.
    let width = 100 - folder.path().as_os_str().len();
    let path = |n: usize| folder.name(&format!("{n:0width$}"));
    let mut text = String::new();
    for n in 0..400 {
        let _ = writeln!(text, "{} stream unix nowait {} /bin/true true", path(n), me());
    }
    let file = folder.write("many.conf", &text);
    let mut daemon =
        command(&[]).arg(file).args(["--control", "none"]).stderr(Stdio::piped()).spawn().unwrap();
    let last = std::path::PathBuf::from(path(399));
    wait_until("the server to rest", || last.exists() && procs::state(daemon.id()) == Some('S'));
    let log = Log::follow(daemon.stderr.take().unwrap());
    let is_told = ends_soon(|| !log.all_after(0, |line| line.is("ready")).is_empty());
    let _ = (daemon.kill(), daemon.wait());
    assert!(is_told, "the last lines never came");
}
